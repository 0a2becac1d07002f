//! Tokens that there are not, without a socket.

use std::{
    fs,
    future::{pending, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Full;
use support::one_attempt;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, CredentialsSource, RefreshPolicy, SendPayments,
    TokenCache,
    assertion::{self, AssertionAsk, AssertionSource, SignedJwt, SigningKey},
    credentials::{EnvCredentials, FileCredentials, from_fn},
    endpoint::TokenEndpoint,
    store::StoreDown,
};

use super::{
    SECRET, Section, credentials,
    fake::{Act, Down, Fake, GOOD},
};

const API: &str = "https://api.example.com";

fn cache(endpoint: impl TokenEndpoint) -> TokenCache {
    TokenCache::builder(endpoint).refresh_policy(one_attempt()).build().unwrap()
}

/// The error of a caller on a clock that stands still, where a bound passes to the millisecond.
async fn when_time_is_up<F: Future<Output = AuthError> + 'static>(error: fn() -> F) -> AuthError {
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(error())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn fault(endpoint: impl TokenEndpoint) -> AuthError {
    cache(endpoint).token().await.unwrap_err()
}

/// The error of an endpoint that answers so.
async fn answered(status: u16, content_type: &'static str, body: &'static str) -> AuthError {
    let http = service_fn(move |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(status).header("content-type", content_type);
        ready(response.body(Full::<Bytes>::from(body)))
    });
    fault(SendPayments::new(API, http, credentials()).unwrap()).await
}

async fn of_source(source: impl CredentialsSource) -> AuthError {
    let http = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default())))
    });
    fault(SendPayments::new(API, http, source).unwrap()).await
}

/// Requests that the layer does not sign, and those that their client fails.
pub(super) async fn requests() -> Section {
    let mut section = Section::new("Requests, with their causes");
    let send = async |layer: AuthLayer, request: Request<Full<Bytes>>| {
        let client = layer.layer(service_fn(|_: Request<Full<Bytes>>| {
            ready(Err::<Response<()>, _>(std::io::Error::other("connection reset")))
        }));
        super::chain(&client.oneshot(request).await.unwrap_err())
    };
    let to = |uri: &str| Request::post(uri).body(Full::<Bytes>::default()).unwrap();
    let url = format!("https://me:{SECRET}@api.example.com/accounts?key={SECRET}");
    let of = |act| AuthLayer::new(cache(Fake::at("https://api.example.com/auth", act)));
    let good = || of(GOOD);
    section.row("the HTTP client fails", send(good(), to(&url)).await);
    let rejected = Act::Fail(AuthError::rejected("unknown client"));
    section.row("there is no token", send(of(rejected), to(&url)).await);
    section.row("another origin", send(good(), to("https://evil.example/accounts")).await);
    let mut elsewhere = to("/accounts");
    elsewhere.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example"));
    section.row("another origin in `Host`", send(good(), elsewhere).await);
    let plain = AuthLayer::new(cache(Fake::at("http://api.internal/auth", GOOD)));
    section.row("plain http", send(plain, to("http://api.internal/accounts")).await);
    let nobody = AuthLayer::new(cache(Fake::new(GOOD)));
    section.row("no origin that may see the token", send(nobody, to(&url)).await);
    let mut full = to(&url);
    for number in 0..24_576 {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if full.headers_mut().try_insert(name, HeaderValue::from_static("1")).is_err() {
            break;
        }
    }
    section.row("no place for another header", send(good(), full).await);
    section
}

/// Responses of the token endpoint that hold no token.
pub(super) async fn responses() -> Section {
    let mut section = Section::new("Responses of the token endpoint");
    let json = "application/json";
    for (situation, status, content_type, body) in [
        ("a documented refusal", 400, json, r#"{"message": "Invalid input"}"#),
        ("a wrong secret", 401, json, r#"{"error": "invalid_client"}"#),
        ("a wrong scope", 400, json, r#"{"error": "invalid_scope"}"#),
        ("a wrong grant", 400, json, r#"{"error": "invalid_grant"}"#),
        ("a firewall", 403, "text/html", "<h1>Forbidden</h1>"),
        ("a wrong path", 404, "text/html", "<h1>Not found</h1>"),
        ("a redirect", 302, "text/html", ""),
        ("too many requests", 429, json, "{}"),
        ("too many requests, by a code", 400, json, r#"{"error": "slow_down"}"#),
        ("an outage", 503, "text/html", "<h1>Sorry</h1>"),
        ("a status that makes no sense", 418, "text/plain", "tea"),
        ("a page in place of a token", 200, "text/html", "<h1>Welcome</h1>"),
        ("JSON without a token", 201, json, "{}"),
        ("an empty token", 201, json, r#"{"accessToken": ""}"#),
        ("a token with a line feed", 201, json, r#"{"accessToken": "a\nb"}"#),
        ("another type of token", 201, json, r#"{"accessToken": 1}"#),
        ("a body that was cut off", 201, json, r#"{"access"#),
        ("an empty body", 201, json, ""),
        ("no content", 204, json, ""),
    ] {
        section.row(situation, answered(status, content_type, body).await);
    }
    let large: &'static str = Box::leak("x".repeat(70_000).into_boxed_str());
    section.row("a large body", answered(200, "text/html", large).await);
    let at = |act| fault(Fake::at("https://login.example.com/token", act));
    section.row("a token that has expired", at(Act::Issue(Duration::ZERO)).await);
    let hangs = || fault(Fake::at("https://login.example.com/token", Act::Hang));
    section.row("no response in time", when_time_is_up(hangs).await);
    section
}

/// Refreshes that fail for other reasons.
pub(super) async fn tokens() -> Section {
    let mut section = Section::new("Refreshes");
    let says = async |error| fault(Fake::new(Act::Fail(error))).await;
    section.row("`AuthError::transient`", says(AuthError::transient("x")).await);
    section.row("`AuthError::rejected`", says(AuthError::rejected("x")).await);
    section.row("`AuthError::invalid_response`", says(AuthError::invalid_response("x")).await);
    section.row("`AuthError::credentials`", says(AuthError::credentials("x")).await);
    section.row("`AuthError::permanent`", says(AuthError::permanent("x")).await);
    section.row("a panic", fault(Fake::new(Act::Panic)).await);
    let outside = std::thread::spawn(|| {
        let cache = cache(Fake::new(GOOD));
        let mut token = pin!(cache.token());
        match token.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.unwrap_err(),
            Poll::Pending => panic!("it has no runtime"),
        }
    });
    section.row("no runtime", outside.join().unwrap());
    let timeless = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { cache(Fake::new(GOOD)).token().await.unwrap_err() })
    });
    section.row("a runtime without timers", timeless.join().unwrap());
    let builder = TokenCache::builder(Fake::new(GOOD)).refresh_policy(one_attempt());
    let shared = builder.shared(Down).store_down(StoreDown::Fail).build().unwrap();
    section.row("a store that is down", super::chain(&shared.token().await.unwrap_err()));
    section.row("a token that is refused and issued again", refused_for_good().await);
    section
}

/// The reason in the extensions of a 401 for a token that the endpoint issues again and again.
async fn refused_for_good() -> AuthError {
    let policy = RefreshPolicy::default().propagation_delay(Duration::ZERO);
    let endpoint = Fake::at("https://api.example.com/auth", GOOD);
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
    let client = AuthLayer::new(cache).layer(service_fn(|_: Request<Full<Bytes>>| {
        ready(Response::builder().status(401).body(()))
    }));
    let request = Request::get("https://api.example.com/x").body(Full::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    response.extensions().get::<AuthError>().expect("a reason").clone()
}

/// Credentials and assertions that can't be had, with the cause.
pub(super) async fn sources() -> Section {
    let mut section = Section::new("Credentials and assertions, with their causes");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let shown = |error: AuthError| {
        super::chain(&error).replace(folder.path().to_str().unwrap(), "/etc/send")
    };
    let unset = EnvCredentials::new("TOWER_REAUTH_UNSET", "TOWER_REAUTH_UNSET");
    section.row("a variable that is not set", shown(of_source(unset).await));
    let missing = FileCredentials::json(path("missing.json"));
    section.row("a file that is missing", shown(of_source(missing).await));
    fs::write(path("broken.json"), format!(r#"{{"clientId": "{SECRET}"}}"#)).unwrap();
    let broken = FileCredentials::json(path("broken.json"));
    section.row("a file without the secret", shown(of_source(broken).await));
    fs::write(path("empty"), "\n").unwrap();
    let empty = FileCredentials::secret("my-client", path("empty"));
    section.row("a file that is empty", shown(of_source(empty).await));
    section.row("an empty id", shown(of_source(Credentials::new("", SECRET)).await));
    section.row("an empty secret", shown(of_source(Credentials::new("my-client", "")).await));
    section.row("an id with a line feed", shown(of_source(Credentials::new("a\n", SECRET)).await));
    let sealed = from_fn(|| async { Err("the vault is sealed") });
    section.row("a function that fails", shown(of_source(sealed).await));
    let hangs = || of_source(from_fn(pending::<Result<Credentials, BoxError>>));
    section.row("a source that hangs", shown(when_time_is_up(hangs).await));
    let read = |json: &str| serde_json::from_str::<Credentials>(json).unwrap_err();
    section.row("a configuration without the secret", read(r#"{"clientId": "my-client"}"#));
    section.row("a configuration with a number", read(r#"{"clientSecret": 12345678}"#));
    section.row("a configuration with more", read(r#"{"client-id": "my-client"}"#));

    let uri = http::Uri::from_static("https://login.example.com/token");
    let ask = AssertionAsk::new("my-client", &uri, std::time::SystemTime::now());
    let shown =
        |error: BoxError| error.to_string().replace(folder.path().to_str().unwrap(), "/etc/send");
    let missing = assertion::file(path("missing")).assertion(&ask).await.unwrap_err();
    section.row("an assertion's file that is missing", shown(missing));
    let key = SigningKey::hs256(SECRET).unwrap();
    let nobodys = SignedJwt::new(key).assertion(&ask).await.unwrap_err();
    section.row("an assertion for an unknown issuer", shown(nobodys));
    section
}
