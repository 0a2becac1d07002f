use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Response, header};
use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::{
    TokenCache, assertion, clock,
    endpoint::oauth2::{
        ClientAuth, OAuth2Builder,
        server_clock::seconds_between,
        testing::{ID, SECRET, Server, URI, issue},
    },
    error::{BoxError, Fate},
};

const TOKEN: &str = r#"{"access_token": "t", "expires_in": 300}"#;
const INVALID_CLIENT: &str = r#"{"error": "invalid_client"}"#;

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits here")
}

fn identity(builder: OAuth2Builder<Server>) -> Option<Identity> {
    now(builder.build().unwrap().identity()).unwrap()
}

/// A refusal, or whatever else, by a server with this clock.
fn dated(status: u16, body: &str, date: SystemTime) -> Response<String> {
    let response = Response::builder().status(status).header("date", httpdate::fmt_http_date(date));
    response.body(body.to_owned()).unwrap()
}

/// A source that notes how each of its assertions is dated, and whose key may change.
struct Noted {
    dates: Arc<std::sync::Mutex<Vec<SystemTime>>>,
    is_changed: watch::Receiver<bool>,
}

impl AssertionSource for Noted {
    async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        let mut dates = self.dates.lock().unwrap();
        dates.push(ask.now);
        Ok(format!("an-assertion-{}", dates.len()).into())
    }

    async fn changed(&self) -> bool {
        *self.is_changed.borrow()
    }
}

fn noted() -> (Noted, Arc<std::sync::Mutex<Vec<SystemTime>>>, watch::Sender<bool>) {
    let (change, is_changed) = watch::channel(false);
    let dates = Arc::default();
    (Noted { dates: Arc::clone(&dates), is_changed }, dates, change)
}

#[test]
fn two_requests_that_differ_never_share_a_token() {
    let server = Server::answering(200, TOKEN);
    let base = || server.builder();
    let (assertion, ..) = noted();
    let bearer = OAuth2::jwt_bearer(URI, server.clone(), assertion);
    let others = vec![
        base(),
        base().scope("read"),
        base().scope("write"),
        base().scope("read write"),
        base().resource("read"),
        base().resource("a").resource("b"),
        base().audience("read"),
        base().audience("a").resource("b"),
        base().audience("b").resource("a"),
        base().param("tenant", "1"),
        base().param("tenant", "2"),
        base().param("tenant2", "1"),
        base().header(HeaderName::from_static("tenant"), HeaderValue::from_static("1")),
        base().header(HeaderName::from_static("tenant"), HeaderValue::from_static("2")),
        base().subject("alice"),
        base().subject("bob"),
        OAuth2::grant(URI, server.clone(), "other", Credentials::new(ID, SECRET)),
        OAuth2::client_credentials(URI, server.clone(), Credentials::new("other", SECRET)),
        bearer.subject("alice"),
    ];
    let identities: Vec<_> = others.into_iter().map(|it| identity(it).unwrap()).collect();
    for (index, one) in identities.iter().enumerate() {
        assert!(!identities[..index].contains(one), "{index}: {one:?}");
    }
    // Neither the order of scopes nor what does not change a token makes another.
    let same = [
        base().scope("write read").scope("read"),
        base().scope("read write").client_auth(ClientAuth::Post),
        base().scope("read write").json_request(),
        base().scope("read write").header(header::USER_AGENT, HeaderValue::from_static("app/2")),
        base().scope("read write").header(header::ACCEPT, HeaderValue::from_static("text/x")),
    ];
    for builder in same {
        assert_eq!(identity(builder).unwrap(), identities[3]);
    }
    let hidden = format!("{:?}", identity(base().param("p", "hunter2")).unwrap());
    assert!(!hidden.contains("hunter2") && hidden.len() < 120, "{hidden}");
    // An assertion does not tell whose token it brings.
    assert!(identity(OAuth2::jwt_bearer(URI, server.clone(), noted().0)).is_none());
    let issued = issue(base().scope("read")).unwrap();
    let issued_to = issued.issued_to.unwrap().with_secret(SECRET);
    assert_eq!(Some(issued_to), identity(base().scope("read")));
}

/// A secret is rolled out one process after the other, and only those with the old one are refused.
#[test]
fn a_secret_that_is_sent_is_told_apart_from_another_and_shares_its_token() {
    let server = Server::answering(200, TOKEN);
    for (auth, is_sent) in [
        (|| ClientAuth::Basic, true),
        (|| ClientAuth::BasicUnencoded, true),
        (|| ClientAuth::Post, true),
        (|| ClientAuth::Tls, false),
    ] as [(fn() -> ClientAuth, bool); 4]
    {
        let with = |secret: &str| {
            let credentials = Credentials::new(ID, secret);
            let builder = OAuth2::client_credentials(URI, server.clone(), credentials);
            identity(builder.client_auth(auth())).unwrap()
        };
        let (old, new) = (with("the old one"), with("the new one"));
        assert_eq!(old != new, is_sent, "{:?}", auth());
        assert_eq!(old.with_secret("one"), new.with_secret("one"), "{:?}", auth());
    }
}

#[cfg(feature = "sign")]
#[test]
fn assertions_with_other_claims_never_share_a_token() {
    use crate::assertion::{Audience, SignedJwt, SigningKey};

    let server = Server::answering(200, TOKEN);
    let jwt = |secret: &str| SignedJwt::new(SigningKey::hs256(secret).unwrap()).issuer("app");
    let bearer = |jwt| {
        let builder = OAuth2::jwt_bearer(URI, server.clone(), jwt).issuer("https://x");
        identity(builder.subject("alice")).unwrap()
    };
    let others = [
        jwt("a"),
        jwt("a").issuer("another app"),
        jwt("a").subject("bob"),
        jwt("a").without_subject(),
        jwt("a").claim("scope", "read"),
        jwt("a").claim("scope", "write"),
        jwt("a").audience(Audience::Other("https://y".into())),
    ];
    let identities: Vec<_> = others.into_iter().map(bearer).collect();
    for (index, one) in identities.iter().enumerate() {
        assert!(!identities[..index].contains(one), "{index}");
    }
    let same = jwt("another key").lifetime(Duration::from_secs(300));
    assert_eq!(bearer(same), identities[0]);
}

/// A gateway may stamp responses with a clock of its own, beside a server whose clock is right.
#[test]
fn a_date_that_is_not_the_servers_costs_one_request_and_not_every_token() {
    let here = clock::wall();
    let wrong = here + Duration::from_secs(600);
    let server = Server::default()
        .then_this(dated(200, TOKEN, wrong))
        .then_this(dated(400, r#"{"error": "invalid_grant"}"#, wrong))
        .then_this(dated(200, TOKEN, wrong));
    let (source, dates, _) = noted();
    let endpoint = server.builder().client_auth(ClientAuth::assertion(source)).build().unwrap();
    for _ in 0..3 {
        now(endpoint.issue()).unwrap();
    }
    let dates = dates.lock().unwrap();
    let is_here = |date: &SystemTime| seconds_between(here, *date) < 60;
    assert_eq!(dates.iter().map(is_here).collect::<Vec<_>>(), [true, false, true, true]);
}

#[test]
fn the_error_of_a_scope_that_lacks_one_shows_no_secret_and_tells_that_a_token_was_issued() {
    let body = serde_json::json!({"access_token": "t", "scope": format!("x {SECRET}")});
    let builder = Server::answering(200, &body.to_string()).builder();
    let error = issue(builder.scope("read").require_scope()).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("\"read\""), "{error}");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    assert_eq!((error.fate(), error.status()), (Fate::Issued, Some(http::StatusCode::OK)));
}

#[test]
fn an_assertion_is_new_each_time_and_asked_again_only_where_that_may_help() {
    let now_here = clock::wall();
    let ahead = now_here + Duration::from_secs(600);
    for (name, refusal, change, expected) in [
        ("another clock", dated(400, r#"{"error": "invalid_grant"}"#, ahead), false, 2),
        ("another clock", dated(401, INVALID_CLIENT, ahead), false, 2),
        ("the same clock", dated(401, INVALID_CLIENT, now_here), false, 1),
        ("another key", dated(401, INVALID_CLIENT, now_here), true, 2),
        ("another fault", dated(400, r#"{"error": "invalid_scope"}"#, ahead), true, 1),
        ("no code", dated(401, "", ahead), true, 1),
    ] {
        let (source, dates, changed) = noted();
        changed.send_replace(change);
        let server = Server::default().then_this(refusal).then_this(dated(200, TOKEN, ahead));
        let builder = server.builder().client_auth(ClientAuth::assertion(source));
        let result = issue(builder);
        assert_eq!(result.is_ok(), expected == 2, "{name}");
        let bodies = server.bodies();
        assert_eq!(bodies.len(), expected, "{name}");
        assert!(bodies[0].ends_with("client_assertion=an-assertion-1"), "{}", bodies[0]);
        if expected == 2 {
            assert!(bodies[1].ends_with("client_assertion=an-assertion-2"), "{}", bodies[1]);
        }
        if name == "another clock" {
            let late = dates.lock().unwrap()[1].duration_since(now_here).unwrap();
            assert!((595..660).contains(&late.as_secs()), "{late:?}");
        }
    }
}

#[test]
fn no_other_way_to_authenticate_is_tried_after_a_refusal() {
    for auth in [ClientAuth::Basic, ClientAuth::BasicUnencoded, ClientAuth::Post] {
        let server = Server::answering(401, INVALID_CLIENT);
        assert!(issue(server.builder().client_auth(auth)).unwrap_err().is_rejected());
        assert_eq!(server.bodies().len(), 1);
    }
}

#[test]
fn a_refusal_of_the_second_assertion_is_the_end() {
    let ahead = clock::wall() + Duration::from_secs(600);
    let server = Server::default().then_this(dated(401, INVALID_CLIENT, ahead));
    let (source, ..) = noted();
    let error = issue(server.builder().client_auth(ClientAuth::assertion(source))).unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(server.bodies().len(), 2);
}

#[test]
fn a_clock_that_is_off_is_remembered_and_forgotten_once_it_is_right() {
    let ahead = clock::wall() + Duration::from_secs(600);
    let server = Server::default()
        .then_this(dated(200, TOKEN, ahead))
        .then_this(dated(200, TOKEN, clock::wall()))
        .then_this(dated(200, TOKEN, clock::wall()));
    let (source, dates, _) = noted();
    let builder = server.builder().client_auth(ClientAuth::assertion(source));
    let endpoint = builder.build().unwrap();
    for _ in 0..3 {
        now(endpoint.issue()).unwrap();
    }
    let dates = dates.lock().unwrap();
    let after = |index: usize| seconds_between(dates[0], dates[index]);
    assert!((595..=660).contains(&after(1)) && after(2) < 30, "{} {}", after(1), after(2));
}

#[test]
fn what_no_server_can_accept_is_not_sent() {
    let server = Server::answering(200, TOKEN);
    let with =
        |id, secret| OAuth2::client_credentials(URI, server.clone(), Credentials::new(id, secret));
    let empty = ClientAuth::assertion(assertion::from_fn(|_| async { Ok(String::new().into()) }));
    let failing =
        ClientAuth::assertion(assertion::from_fn(|_| async { Err(BoxError::from("no key")) }));
    for builder in [
        with("", "x"),
        with("a\nb", "x"),
        with("a", ""),
        with("a", "").client_auth(ClientAuth::Post),
        with("", "").client_auth(ClientAuth::Tls),
        with("a:b", "x").client_auth(ClientAuth::BasicUnencoded),
        with("a", "").client_auth(empty),
        with("a", "").client_auth(failing),
    ] {
        let error = issue(builder).unwrap_err();
        assert!(error.is_credentials(), "{error}");
    }
    assert!(server.bodies().is_empty());
    // A client without a secret has none to check.
    issue(with("a", "").client_auth(ClientAuth::Tls)).unwrap();
    issue(with("", "").client_auth(ClientAuth::None)).unwrap();
}

#[test]
fn corrected_credentials_and_a_corrected_key_are_news() {
    let server = Server::answering(401, INVALID_CLIENT);
    let (secret, supplied) = watch::channel("wrong");
    let source = crate::credentials::from_fn(move || {
        let secret = *supplied.borrow();
        async move { Ok::<_, BoxError>(Credentials::new(ID, secret)) }
    });
    let endpoint = OAuth2::client_credentials(URI, server.clone(), source).build().unwrap();
    now(endpoint.issue()).unwrap_err();
    assert!(!now(endpoint.credentials_changed()));
    secret.send_replace("");
    assert!(!now(endpoint.credentials_changed()), "an empty secret is none");
    secret.send_replace("right");
    assert!(now(endpoint.credentials_changed()));

    let (source, _, change) = noted();
    let builder = server.builder().client_auth(ClientAuth::assertion(source));
    let endpoint = builder.build().unwrap();
    now(endpoint.issue()).unwrap_err();
    assert!(!now(endpoint.credentials_changed()));
    change.send_replace(true);
    assert!(now(endpoint.credentials_changed()));
}

#[tokio::test(start_paused = true)]
async fn a_token_carries_what_was_granted() {
    let body = r#"{"access_token": "t", "scope": "read", "instance_url": "https://eu7"}"#;
    let cache = TokenCache::new(Server::answering(200, body).builder().build().unwrap());
    let token = cache.token().await.unwrap();
    let granted = token.get::<crate::endpoint::oauth2::Granted>().unwrap();
    assert_eq!(
        (granted.scope(), granted.extra("instance_url")),
        (Some("read"), Some("https://eu7"))
    );
    assert_eq!(token.lifetime(), Duration::from_secs(3600));
    assert_eq!(token.header_value(), "Bearer t");
}

#[test]
fn every_origin_is_refused_until_an_api_is_named() {
    let server = Server::answering(200, TOKEN);
    let none = server.builder().build().unwrap();
    assert_eq!(none.api_origins(), ApiOrigins::none());
    let api = server.builder().for_api("https://api.example.com/v1").build().unwrap();
    let expected = ApiOrigins::none().and("https://api.example.com").unwrap();
    assert_eq!(api.api_origins(), expected);
}

fn spell(text: &str, spelling: u8) -> String {
    match spelling {
        0 => text.to_owned(),
        1 => text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat(),
        2 => text.to_uppercase(),
        _ => format!("x{text}y"),
    }
}

proptest! {
    /// The server shows everything that it was sent, in whatever field and spelling.
    #[test]
    fn no_error_and_no_debug_holds_secret_assertion_parameter_or_header(
        secret in "[a-zA-Z0-9/+=&% -]{12,40}",
        assertion in "[a-zA-Z0-9_.-]{12,40}",
        param in "[a-zA-Z0-9/+=&% -]{12,40}",
        header in "[a-zA-Z0-9]{12,40}",
        spelling in 0_u8..4,
        field in prop::sample::select(vec!["error", "error_description", "message", "code"]),
        status in prop::sample::select(vec![200_u16, 302, 400, 401, 403, 429, 500]),
        shown in 0_usize..4,
        has_assertion in any::<bool>(),
    ) {
        let secret_like = [&secret, &assertion, &param, &header];
        // Without an assertion the source's own text was never sent.
        prop_assume!(has_assertion || shown != 1);
        prop_assume!(secret_like.iter().all(|it| !it.trim().is_empty()));
        let text = spell(secret_like[shown], spelling);
        let body = serde_json::json!({ field: text }).to_string();
        let server = Server::default().then(status, "application/json", &body);
        let credentials = Credentials::new(ID, secret.clone());
        let sent = assertion.clone();
        let source = assertion::from_fn(move |_| {
            let sent = sent.clone();
            async move { Ok(sent.into()) }
        });
        let auth = if has_assertion { ClientAuth::assertion(source) } else { ClientAuth::Post };
        let key = HeaderValue::from_str(&header).unwrap();
        let builder = OAuth2::client_credentials(URI, server.clone(), credentials)
            .client_auth(auth)
            .param("key", param.clone())
            .header(HeaderName::from_static("x-key"), key)
            .fields(crate::endpoint::oauth2::ResponseFields::default().success_code("/code", 0));
        let mut texts = vec![format!("{builder:?}")];
        let endpoint = builder.build().unwrap();
        texts.push(format!("{endpoint:?}"));
        let error = now(endpoint.issue()).unwrap_err();
        texts.extend([error.to_string(), format!("{error:?}")]);
        for text in texts {
            for hidden in secret_like {
                prop_assert!(!text.to_lowercase().contains(&hidden.to_lowercase()), "{}", text);
                let percent = spell(hidden, 1);
                prop_assert!(!text.contains(&percent), "{}", text);
            }
        }
    }
}
