//! What the token endpoint answers, and what stands in front of it: clocks that differ, pages in
//! place of tokens, pauses, and refusals that pass. `endpoint_errors` has the same doubles.

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use support::Resource;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    AuthLayer, Credentials, RefreshPolicy, SendPayments, TokenCache, endpoint::HttpService,
};

pub(super) type Body = Full<Bytes>;

pub(super) const SECRET: &str = "Tr0ub4dor&3-secret";

pub(super) fn credentials() -> Credentials {
    Credentials::new("my-client-id", SECRET)
}

pub(super) fn answer(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).unwrap()
}

/// An endpoint whose n-th answer, from 1, is `answers(n)`, and the count of its requests.
fn answering(
    answers: impl Fn(usize) -> Response<Body> + Clone + Send + 'static,
) -> (SendPayments<impl HttpService, Credentials>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let http = service_fn(move |_: Request<Body>| {
        let response = answers(counter.fetch_add(1, Ordering::SeqCst) + 1);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    (SendPayments::new("https://api.example.com", http, credentials()).unwrap(), calls)
}

pub(super) fn cache(
    answers: impl Fn(usize) -> Response<Body> + Clone + Send + 'static,
) -> TokenCache {
    TokenCache::new(answering(answers).0)
}

/// The error and its causes, in every way in which they can be printed.
pub(super) fn shown(error: &(dyn Error + 'static)) -> String {
    let mut texts = vec![format!("{error} {error:?} {error:#?}")];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(format!("{cause} {cause:?} {cause:#?}"));
        source = cause.source();
    }
    texts.join(" <- ")
}

pub(super) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

fn jwt(iat: u64, exp: u64) -> String {
    let claims = format!(r#"{{"iat": {iat}, "exp": {exp}}}"#);
    format!("{}.{}.c2ln", base64(r#"{"alg": "HS256"}"#), base64(&claims))
}

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn rfc3339(seconds: u64) -> String {
    jiff::Timestamp::from_second(seconds.try_into().unwrap()).unwrap().to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

// ---- Clocks that differ.

#[tokio::test(start_paused = true)]
async fn no_clock_alone_costs_a_token_and_none_outlives_its_issuers_clock() {
    const HOUR: i64 = 3600;
    let issuer = now();
    for jwt_clock in [-HOUR, 0, HOUR] {
        for end_clock in [-HOUR, 0, HOUR] {
            for date_clock in [None, Some(-HOUR), Some(-290), Some(0), Some(600), Some(HOUR)] {
                for opaque in [true, false] {
                    let at =
                        |clock: i64, after: u64| issuer.checked_add_signed(clock).unwrap() + after;
                    let token = if opaque {
                        "opaque".to_owned()
                    } else {
                        jwt(at(jwt_clock, 0), at(jwt_clock, 300))
                    };
                    let end = rfc3339(at(end_clock, 300));
                    let body = format!(r#"{{"accessToken": "{token}", "expiresAt": "{end}"}}"#);
                    let date = date_clock.map(|clock| http_date(at(clock, 0)));
                    let answers = move |_| match &date {
                        Some(date) => answer(201, &[("date", date)], body.clone()),
                        None => answer(201, &[], body.clone()),
                    };
                    let lifetime = cache(answers).token().await.map(|token| token.lifetime());
                    let case = format!("{jwt_clock} {end_clock} {date_clock:?} {opaque}");
                    if !opaque {
                        let lifetime = lifetime.expect(&case);
                        assert!(lifetime <= Duration::from_secs(300), "{case}: {lifetime:?}");
                    } else if end_clock > -HOUR {
                        // The local clock, if no other, says that it lives.
                        assert!(lifetime.is_ok(), "{case}");
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_over_which_the_clocks_disagree_lives_for_a_minute() {
    let token = jwt(1_800_000_000, 1_800_000_300);
    let body =
        format!(r#"{{"accessToken": "{token}", "expiresAt": "{}"}}"#, rfc3339(1_800_000_300));
    // A gateway stamps `Date` ten minutes ahead of the issuer's clock.
    let date = http_date(1_800_000_600);
    let ahead = cache(move |_| answer(201, &[("date", &date)], body.clone()));
    assert_eq!(ahead.token().await.unwrap().lifetime().as_secs(), 60);
    // Opaque, without a `Date`, and this machine's clock ten minutes fast.
    let end = rfc3339(now() - 300);
    let body = format!(r#"{{"accessToken": "opaque", "expiresAt": "{end}"}}"#);
    let fast = cache(move |_| answer(201, &[], body.clone()));
    assert_eq!(fast.token().await.unwrap().lifetime().as_secs(), 60);
}

// ---- A 2xx without a token.

#[tokio::test(start_paused = true)]
async fn a_page_in_place_of_a_renewal_costs_no_request() {
    type Page = fn() -> Response<Body>;
    let pages: [Page; 6] = [
        || answer(200, &[("content-type", "text/html")], "<html>We will be back soon</html>"),
        || answer(200, &[("content-type", "application/json")], r#"{"status": "maintenance"}"#),
        || answer(204, &[], ""),
        || answer(200, &[], vec![b' '; 70_000]),
        || answer(202, &[("content-encoding", "br")], &b"\x0b\x02\x80"[..]),
        || answer(200, &[], ""),
    ];
    for page in pages {
        // Tokens of 300 s. From the first renewal on, 20 s of pages, which issue nothing.
        let (issued, since) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let counter = Arc::clone(&issued);
        let cache = cache(move |n| {
            let mut since = since.lock().unwrap();
            if n > 1 && since.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(20) {
                return page();
            }
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let end = rfc3339(1_800_000_300);
            let body = format!(r#"{{"accessToken": "token-{number}", "expiresAt": "{end}"}}"#);
            answer(201, &[("date", &http_date(1_800_000_000))], body)
        });
        let resource = Resource::new(move |_, request| {
            let alive = format!("Bearer token-{}", issued.load(Ordering::SeqCst));
            let is_alive = support::authorization(request) == alive;
            if is_alive { support::ok() } else { support::unauthorized() }
        });
        let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
        let started = Instant::now();
        for _ in 0..3000 {
            let response = service.clone().oneshot(support::get(support::URI)).await;
            let response = response.unwrap_or_else(|error| {
                panic!("after {:?}: {error}; {:?}", started.elapsed(), cache.counters())
            });
            assert_eq!(response.status(), 200);
            sleep(Duration::from_millis(100)).await;
        }
        let counters = cache.counters();
        assert_eq!((counters.unauthorized, counters.tokens_issued), (0, 2), "{counters:?}");
        assert!((2..10).contains(&counters.refreshes_failed), "{counters:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_error_object_with_200_says_is_shown() {
    for body in [
        r#"{"error": "incorrect_client_credentials"}"#,
        r#"{"message": "incorrect_client_credentials"}"#,
        r#"{"errors": [{"message": "incorrect_client_credentials", "type": "x"}]}"#,
    ] {
        let error = cache(move |_| answer(200, &[], body)).token().await.unwrap_err();
        assert!(error.to_string().contains("incorrect_client_credentials"), "{error}");
        assert_eq!(error.status().unwrap(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_or_a_doubled_key_costs_no_token() {
    let json = r#"{"accessToken": "abc", "expiresAt": "2099-01-01T00:00:00Z"}"#;
    let marked = format!("\u{feff}{json}");
    let bodies: [Vec<u8>; 5] = [
        marked.as_bytes().to_vec(),
        marked.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        marked.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        br#"{"accessToken": "ab", "expiresAt": "", "accessToken": "abc", "expiresAt": ""}"#
            .to_vec(),
        b"{\"note\": \"caf\xe9\", \"accessToken\": \"abc\"}".to_vec(),
    ];
    for body in bodies {
        let token = cache(move |_| answer(201, &[("content-type", "text/plain")], body.clone()));
        assert_eq!(token.token().await.unwrap().expose_secret(), "abc");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_answer_is_named_and_none_is_asked_for() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let http = service_fn(move |request: Request<Body>| {
        seen.lock().unwrap().push(request.headers()["accept-encoding"].clone());
        let body = &b"\x1f\x8b\x08\0\0\0\0\0\x02\xff\xab\x56"[..];
        std::future::ready(Ok::<_, Infallible>(answer(201, &[("content-encoding", "gzip")], body)))
    });
    let endpoint = SendPayments::new("https://api.example.com", http, credentials()).unwrap();
    let error = TokenCache::new(endpoint).token().await.unwrap_err();
    assert!(error.is_invalid_response() && error.to_string().contains("gzip"), "{error}");
    assert_eq!(*asked.lock().unwrap(), ["identity"]);
}

// ---- Pauses.

/// How long a cache leaves the endpoint alone after a 429 with this header.
async fn pause_after(retry_after: &'static str, policy: RefreshPolicy) -> f64 {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let (endpoint, _) = answering(move |n| {
        seen.lock().unwrap().push(Instant::now());
        match n {
            1 => answer(429, &[("retry-after", retry_after)], "{}"),
            _ => answer(201, &[], r#"{"accessToken": "opaque"}"#),
        }
    });
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
    while cache.token().await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    let times = times.lock().unwrap();
    (times[1] - times[0]).as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn every_form_of_retry_after_is_kept_up_to_its_cap() {
    let hour = RefreshPolicy::default().max_retry_after(Duration::from_secs(3600));
    let none = RefreshPolicy::default().max_retry_after(Duration::ZERO);
    for (retry_after, policy, least, most) in [
        ("2.0", RefreshPolicy::default(), 2.0, 2.1),
        ("1.2", RefreshPolicy::default(), 2.0, 2.1),
        ("86400", RefreshPolicy::default(), 600.0, 600.1),
        ("99999999999999999999", RefreshPolicy::default(), 600.0, 600.1),
        ("99999999999999999999.5", hour.clone(), 3600.0, 3600.1),
        ("Fri, 01 Jan 2100 00:00:00 GMT", hour, 3600.0, 3600.1),
        ("86400", none, 0.0, 1.0),
    ] {
        let pause = pause_after(retry_after, policy).await;
        assert!((least..=most).contains(&pause), "{retry_after}: asked again after {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_ignores_an_absurd_retry_after_at_most_once_a_second() {
    let (endpoint, calls) = answering(|n| match n {
        1..=4 => answer(503, &[("retry-after", "86400")], "{}"),
        _ => answer(201, &[], r#"{"accessToken": "opaque"}"#),
    });
    let cache = TokenCache::new(endpoint);
    let error = cache.token().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(600)));
    let started = Instant::now();
    while cache.refresh().await.is_err() {
        // Nothing else does.
        cache.token().await.unwrap_err();
        let posts = u64::try_from(calls.load(Ordering::SeqCst)).unwrap();
        assert!(posts <= 2 + started.elapsed().as_secs());
        advance(Duration::from_millis(20)).await;
    }
    assert!((3..4).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(cache.token().await.unwrap().expose_secret(), "opaque");
}

// ---- Refusals and requests.

#[tokio::test(start_paused = true)]
async fn a_refusal_that_says_it_is_temporary_is_asked_again() {
    for (status, body) in [
        (400, r#"{"error": "temporarily_unavailable"}"#),
        (400, r#"{"error": "server_error"}"#),
        (400, r#"{"error": "slow_down"}"#),
        (401, r#"{"error": "temporarily_unavailable"}"#),
        (200, r#"{"error": "server_error"}"#),
        (410, ""),
    ] {
        let (endpoint, calls) = answering(move |n| match n {
            1 => answer(status, &[], body),
            _ => answer(201, &[], r#"{"accessToken": "opaque"}"#),
        });
        TokenCache::new(endpoint).token().await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_for_a_token_says_who_sends_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let http = service_fn(move |request: Request<Body>| {
        log.lock().unwrap().push(request.headers()["user-agent"].clone());
        std::future::ready(Ok::<_, Infallible>(answer(201, &[], r#"{"accessToken": "abc"}"#)))
    });
    let endpoint =
        || SendPayments::new("https://api.example.com", http.clone(), credentials()).unwrap();
    TokenCache::new(endpoint()).token().await.unwrap();
    let named = endpoint().user_agent(HeaderValue::from_static("shop/2.1"));
    TokenCache::new(named).token().await.unwrap();
    let seen = seen.lock().unwrap();
    let version = seen[0].to_str().unwrap().strip_prefix("tower-reauth/").unwrap();
    assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3);
    assert_eq!(seen[1], "shop/2.1");
}
