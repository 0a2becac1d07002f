//! What the error of a token endpoint tells, and that it never shows the secret.

use std::{
    error::Error,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use tower::service_fn;
use tower_reauth::{AccessToken, AuthError, BoxError, RefreshPolicy, SendPayments, TokenCache};

use super::endpoint_answers::{Body, SECRET, answer, base64, cache, credentials, shown};

#[tokio::test(start_paused = true)]
async fn an_error_tells_code_and_status_and_whose_fault_it_is() {
    type Is = fn(&AuthError) -> bool;
    let html = "<html>blocked</html>";
    let cases: [(u16, &str, Option<&str>, Is); 7] = [
        (400, r#"{"error": "invalid_scope"}"#, Some("invalid_scope"), AuthError::is_permanent),
        (500, r#"{"error": "invalid_client"}"#, Some("invalid_client"), AuthError::is_rejected),
        (400, r#"{"message": "no"}"#, None, AuthError::is_rejected),
        (401, html, None, AuthError::is_rejected),
        (403, html, None, AuthError::is_permanent),
        (403, "", None, AuthError::is_permanent),
        (404, "", None, AuthError::is_permanent),
    ];
    for (status, body, code, is) in cases {
        let error = cache(move |_| answer(status, &[], body.to_owned())).token().await.unwrap_err();
        assert!(is(&error) && !error.is_transient(), "{status} {body}: {error:?}");
        assert_eq!((error.status().unwrap().as_u16(), error.code()), (status, code));
        let blames_the_secret = error.to_string().contains("secret");
        assert_eq!(blames_the_secret, error.is_rejected(), "{error}");
    }
}

#[derive(Debug)]
struct Outer(io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request failed")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_below_shows_no_part_of_the_secret() {
    let percent: Vec<_> = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let percent = percent.concat();
    let spellings = [
        SECRET.to_owned(),
        SECRET.to_uppercase(),
        SECRET[4..12].to_lowercase(),
        percent.clone(),
        percent.to_uppercase(),
        "Tr0ub4dor%263-secret".into(),
        base64(SECRET),
        base64(&format!("my-client-id:{SECRET}")),
        base64(&format!("id:{percent}")),
        base64(SECRET).replace('-', "%2B"),
    ];
    for spelling in spellings {
        for wrapped in [false, true] {
            let text = format!("error sending request for url (https://x/token?s={spelling})");
            let failing = service_fn(move |_: Request<Body>| {
                let error = io::Error::new(io::ErrorKind::ConnectionReset, text.clone());
                let error: BoxError = if wrapped { Outer(error).into() } else { error.into() };
                std::future::ready(Err::<Response<Body>, _>(error))
            });
            let endpoint =
                SendPayments::new("https://api.example.com", failing, credentials()).unwrap();
            let policy = RefreshPolicy::default().deadline(Duration::from_secs(1));
            let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
            let error = cache.token().await.unwrap_err();
            let text = shown(&error);
            assert!(!text.contains(&spelling), "{text}");
            assert!(text.contains("connection reset"), "the kind is left: {text}");
            assert!(error.is_transient() && text.contains("api.example.com:443"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_shows_nothing_of_the_secret_is_kept_whole() {
    let failing = service_fn(|_: Request<Body>| {
        let error = io::Error::new(io::ErrorKind::ConnectionReset, "reset by pier 7");
        std::future::ready(Err::<Response<Body>, _>(Outer(error)))
    });
    let endpoint = SendPayments::new("https://api.example.com", failing, credentials()).unwrap();
    let policy = RefreshPolicy::default().deadline(Duration::from_secs(1));
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
    let error = cache.token().await.unwrap_err();
    assert!(error.source().unwrap().is::<Outer>());
    assert!(shown(&error).contains("reset by pier 7"));
}

#[tokio::test(start_paused = true)]
async fn whether_a_token_may_be_lost_is_decided_before_an_error_is_replaced() {
    // Refused connections sent nothing, so the token in use is as good as before.
    for (kind, is_suspect) in
        [(io::ErrorKind::ConnectionRefused, false), (io::ErrorKind::ConnectionReset, true)]
    {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let http = service_fn(move |_: Request<Body>| {
            let result: Result<_, BoxError> = match counter.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(answer(201, &[], r#"{"accessToken": "abc"}"#)),
                _ => Err(Outer(io::Error::new(kind, format!("?secret={SECRET}"))).into()),
            };
            std::future::ready(result)
        });
        let endpoint = SendPayments::new("https://api.example.com", http, credentials()).unwrap();
        let policy = RefreshPolicy::default().deadline(Duration::from_secs(1));
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        let token: AccessToken = cache.token().await.unwrap();
        assert!(!shown(&cache.refresh().await.unwrap_err()).contains("Tr0ub4d"));
        cache.invalidate(&token);
        let counters = cache.counters();
        assert_eq!((counters.unauthorized_replaced == 1), is_suspect, "{kind:?}: {counters:?}");
    }
}
