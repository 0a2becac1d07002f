use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::FutureExt;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::advance;

use super::*;
use crate::{
    Credentials, TokenEndpoint, assertion,
    endpoint::{
        OAuth2,
        oauth2::{
            ClientAuth, Issuer, OAuth2Builder,
            testing::{ID, SECRET, Server},
        },
    },
    error::BoxError,
};

const ISSUER: &str = "https://login.example.com/realms/shop";
const TOKEN: &str = r#"{"access_token": "t"}"#;
const FIRST: &str =
    "GET https://login.example.com/.well-known/oauth-authorization-server/realms/shop";
const SECOND: &str = "GET https://login.example.com/realms/shop/.well-known/openid-configuration";
const POST: &str = "POST https://tokens.example.com/token";

fn document() -> Value {
    json!({"issuer": ISSUER, "token_endpoint": "https://tokens.example.com/token"})
}

fn builder(server: &Server) -> OAuth2Builder<Server> {
    let credentials = Credentials::new(ID, SECRET);
    OAuth2::client_credentials(Issuer::new(ISSUER), server.clone(), credentials)
}

fn issue(endpoint: &OAuth2<Server>) -> Result<(), AuthError> {
    endpoint.issue().now_or_never().expect("nothing waits here").map(|_| ())
}

fn with_document(document: &Value) -> Server {
    Server::answering(200, &document.to_string()).then(200, "application/json", TOKEN)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_until_a_token_is_asked_for_and_then_once_a_day() {
    let again = document().to_string();
    let server = with_document(&document())
        .then(200, "application/json", TOKEN)
        .then(200, "application/json", &again)
        .then(200, "application/json", TOKEN);
    let endpoint = builder(&server).build().unwrap();
    assert!(endpoint.uri().is_none() && endpoint.identity().await.unwrap().is_some());
    assert!(server.lines().is_empty());
    issue(&endpoint).unwrap();
    issue(&endpoint).unwrap();
    assert_eq!(server.lines(), [FIRST, POST, POST]);
    advance(KEPT_FOR + Duration::from_secs(1)).await;
    issue(&endpoint).unwrap();
    assert_eq!(server.lines(), [FIRST, POST, POST, FIRST, POST]);
}

#[tokio::test(start_paused = true)]
async fn the_metadata_is_fetched_without_any_secret() {
    let server = with_document(&document());
    let endpoint = builder(&server).param("key", "the-parameter").build().unwrap();
    issue(&endpoint).unwrap();
    let (first, body) = server.heads().into_iter().zip(server.bodies()).next().unwrap();
    assert!(body.is_empty());
    assert!(!first.contains("authorization"), "{first}");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_openid_connect_alone_is_found_as_well() {
    for (status, content_type, body) in [
        (404, "text/html", "<html>no</html>"),
        (400, "application/json", r#"{"error": "invalid_request"}"#),
        (403, "text/plain", "no"),
        (200, "text/html", "<html>a page</html>"),
        (200, "application/json", r#"{"issuer": "https://other"}"#),
        (301, "text/html", ""),
        (500, "text/html", "<html>no</html>"),
        (502, "text/html", ""),
    ] {
        let server = Server::default()
            .then(status, content_type, body)
            .then(200, "application/json", &document().to_string())
            .then(200, "application/json", TOKEN);
        issue(&builder(&server).build().unwrap()).unwrap();
        assert_eq!(server.lines(), [FIRST, SECOND, POST], "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_busy_is_asked_again_later_and_the_secret_is_not_blamed() {
    let busy = Response::builder().status(503).header("retry-after", "7");
    let server = Server::default().then_this(busy.body(String::new()).unwrap());
    let error = issue(&builder(&server).build().unwrap()).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(server.lines(), [FIRST]);
    let failing = Server::answering(500, "");
    let error = issue(&builder(&failing).build().unwrap()).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(failing.lines(), [FIRST, SECOND]);
    for status in [401, 404] {
        let error = issue(&builder(&Server::answering(status, "{}")).build().unwrap()).unwrap_err();
        assert!(error.is_permanent(), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(error.fate(), Fate::NotIssued);
    }
}

/// A hostile server that is some client's own names another's token endpoint as its own, or another
/// issuer.
#[tokio::test(start_paused = true)]
async fn a_document_of_another_issuer_is_not_trusted() {
    for (issuer, token_endpoint) in [
        ("https://evil.example", "https://tokens.example.com/token"),
        ("https://login.example.com/realms/other", "https://tokens.example.com/token"),
        ("https://login.example.com/realms/shop/", "https://tokens.example.com/token"),
        (ISSUER, "/token"),
        (ISSUER, ""),
    ] {
        let document = json!({"issuer": issuer, "token_endpoint": token_endpoint});
        let server = Server::answering(200, &document.to_string());
        let error = issue(&builder(&server).build().unwrap()).unwrap_err();
        assert!(error.is_permanent(), "{issuer}: {error}");
        assert_eq!(server.lines(), [FIRST, SECOND], "the secret was not sent");
    }
}

/// Anybody on the way, or on this machine, would read the secret.
#[tokio::test(start_paused = true)]
async fn an_https_issuer_with_a_token_endpoint_over_plain_http_is_sent_no_secret() {
    for token_endpoint in ["http://tokens.internal/token", "http://localhost:8080/token"] {
        let plain = json!({"issuer": ISSUER, "token_endpoint": token_endpoint});
        let server = with_document(&plain);
        let error = issue(&builder(&server).build().unwrap()).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("plain http"), "{error}");
        assert_eq!(server.lines(), [FIRST, SECOND]);
        let server = with_document(&plain);
        issue(&builder(&server).allow_plain_http().build().unwrap()).unwrap();
        assert_eq!(server.lines()[1], format!("POST {token_endpoint}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_has_moved_is_looked_for_again() {
    let moved = json!({"issuer": ISSUER, "token_endpoint": "https://new.example.com/token"});
    let server = Server::answering(200, &document().to_string())
        .then(404, "text/html", "")
        .then(200, "application/json", &moved.to_string())
        .then(200, "application/json", TOKEN);
    let endpoint = builder(&server).build().unwrap();
    assert!(issue(&endpoint).unwrap_err().is_permanent());
    issue(&endpoint).unwrap();
    assert_eq!(server.lines(), [FIRST, POST, FIRST, "POST https://new.example.com/token"]);
}

#[tokio::test(start_paused = true)]
async fn metadata_of_yesterday_is_used_while_its_server_is_down_and_not_after_a_lie() {
    let server = with_document(&document())
        .then(503, "text/html", "")
        .then(200, "application/json", TOKEN)
        .then(404, "text/html", "")
        .then(200, "text/html", "<html>a page</html>")
        .then(200, "application/json", TOKEN)
        .then(200, "application/json", r#"{"issuer": "https://evil.example"}"#);
    let endpoint = builder(&server).build().unwrap();
    issue(&endpoint).unwrap();
    advance(KEPT_FOR + Duration::from_secs(1)).await;
    issue(&endpoint).unwrap();
    issue(&endpoint).unwrap();
    assert_eq!(server.lines(), [FIRST, POST, FIRST, POST, FIRST, SECOND, POST]);
    assert!(issue(&endpoint).unwrap_err().is_permanent());
    assert_eq!(server.lines()[7..], [FIRST, SECOND]);
}

/// Answers documents and tokens, or hangs, or has no address.
fn odd_server<F>(answer: F) -> impl HttpService
where
    F: Fn(&Request<Full<Bytes>>) -> Option<Result<String, BoxError>> + Clone + Send + 'static,
{
    tower::service_fn(move |request: Request<Full<Bytes>>| {
        let answer = answer(&request);
        async move {
            match answer {
                Some(answer) => answer.map(|body| Response::new(Full::<Bytes>::from(body))),
                None => std::future::pending().await,
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_metadata_server_that_hangs_holds_up_a_renewal_for_two_seconds() {
    let hangs = Arc::new(AtomicBool::new(false));
    let is_hanging = Arc::clone(&hangs);
    let service = odd_server(move |request| {
        if request.method() == http::Method::POST {
            return Some(Ok(TOKEN.into()));
        }
        (!is_hanging.load(Ordering::Relaxed)).then(|| Ok(document().to_string()))
    });
    let credentials = Credentials::new(ID, SECRET);
    let endpoint = OAuth2::client_credentials(Issuer::new(ISSUER), service, credentials);
    let endpoint = endpoint.build().unwrap();
    endpoint.issue().await.unwrap();
    hangs.store(true, Ordering::Relaxed);
    advance(KEPT_FOR + Duration::from_secs(1)).await;
    let started = clock::now();
    endpoint.issue().await.unwrap();
    assert!(clock::now() - started < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_hangs_holds_up_the_other_one_for_a_second() {
    for (hangs, after) in [("oauth-authorization-server", 1), ("openid-configuration", 3)] {
        let service = tower::service_fn(move |request: Request<Full<Bytes>>| async move {
            let path = request.uri().path();
            if path.contains(hangs) {
                std::future::pending::<()>().await;
            }
            // A slow server, which is still the first one to answer.
            if path.contains("oauth-authorization-server") {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            let is_post = request.method() == http::Method::POST;
            let body = if is_post { TOKEN.to_owned() } else { document().to_string() };
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(body)))
        });
        let credentials = Credentials::new(ID, SECRET);
        let endpoint = OAuth2::client_credentials(Issuer::new(ISSUER), service, credentials);
        let started = clock::now();
        endpoint.build().unwrap().issue().await.unwrap();
        assert_eq!((clock::now() - started).as_secs(), after, "{hangs}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_can_not_be_fetched_is_named_and_the_token_in_use_is_as_good_as_before() {
    let huge = || Some(Ok("a".repeat(70_000)));
    let reset = || Some(Err(BoxError::from("connection reset")));
    let credentials = Credentials::new(ID, SECRET);
    for (name, answer) in
        [("hangs", None), ("huge", Some(huge as fn() -> _)), ("reset", Some(reset))]
    {
        let service = odd_server(move |_| answer.and_then(|answer| answer()));
        let issuer = Issuer::new(ISSUER);
        let endpoint = OAuth2::client_credentials(issuer, service, credentials.clone());
        let endpoint = endpoint.build().unwrap();
        let ends = clock::later(clock::now(), Duration::from_secs(5));
        let attempt = timeout(Duration::from_secs(6), credentials::bounded(ends, endpoint.issue()));
        let error = attempt.await.unwrap().map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the metadata of the issuer at https://login"), "{name}: {text}");
        assert_eq!(error.fate(), Fate::NotIssued, "{name}");
        assert_eq!(error.is_transient(), name != "huge", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_whose_host_is_gone_is_looked_for_again() {
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = Arc::clone(&has_moved);
    let service = odd_server(move |request| {
        let host = request.uri().host().unwrap_or_default();
        let is_moved = moved.load(Ordering::Relaxed);
        Some(match (request.method().as_str(), host, is_moved) {
            ("POST", "tokens.example.com", true) => {
                Err(std::io::Error::other("failed to lookup address information: gone").into())
            }
            ("POST", ..) => Ok(TOKEN.into()),
            (_, _, false) => Ok(document().to_string()),
            _ => {
                let to = "https://new.example.com/token";
                Ok(json!({"issuer": ISSUER, "token_endpoint": to}).to_string())
            }
        })
    });
    let credentials = Credentials::new(ID, SECRET);
    let endpoint = OAuth2::client_credentials(Issuer::new(ISSUER), service, credentials);
    let endpoint = endpoint.build().unwrap();
    endpoint.issue().await.unwrap();
    has_moved.store(true, Ordering::Relaxed);
    assert!(endpoint.issue().await.is_err());
    endpoint.issue().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_metadata_chooses_only_where_nobody_has() {
    let mut post_only = document();
    post_only["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
    post_only["mtls_endpoint_aliases"] = json!({"token_endpoint": "https://mtls.example.com/t"});
    for (auth, in_form, target) in [
        (None, true, POST),
        (Some(ClientAuth::Basic), false, POST),
        (Some(ClientAuth::Tls), false, "POST https://mtls.example.com/t"),
    ] {
        let server = with_document(&post_only);
        let builder = builder(&server);
        let builder = match auth {
            Some(auth) => builder.client_auth(auth),
            None => builder,
        };
        issue(&builder.build().unwrap()).unwrap();
        assert_eq!(server.bodies()[1].contains(SECRET), in_form);
        assert_eq!(server.lines()[1], target);
    }
}

#[tokio::test(start_paused = true)]
async fn the_issuer_is_the_audience_of_an_assertion_and_makes_another_identity() {
    let source = assertion::from_fn(|ask| {
        let ask = format!("{:?} {}", ask.issuer, ask.token_uri);
        async move { Ok(ask.into()) }
    });
    let server = with_document(&document());
    let auth = ClientAuth::assertion(source);
    issue(&builder(&server).client_auth(auth).build().unwrap()).unwrap();
    let sent = &server.bodies()[1];
    assert!(sent.contains("realms%2Fshop") && sent.contains("tokens.example.com"), "{sent}");
    let other = OAuth2::client_credentials(
        Issuer::new("https://login.example.com/realms/other"),
        server.clone(),
        Credentials::new(ID, SECRET),
    );
    let one = builder(&server).build().unwrap().identity().await.unwrap();
    assert_ne!(one, other.build().unwrap().identity().await.unwrap());
}

#[path = "discovery_doubt_tests.rs"]
mod doubts;
