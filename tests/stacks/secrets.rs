//! No secret and no token in any `Debug`, `Display`, log line, panic or error chain, at trace
//! level.
//!
//! In a process of its own: the log, and the hook for panics, are the process's.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use support::{child::is_own_process, log::Log};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, RefreshPolicy, SecretString, SendPayments, TokenCache,
    TokenEndpoint, assertion,
    client::{self, HttpsClient},
    credentials::{EnvCredentials, FileCredentials, from_fn},
    endpoint::{
        IssuedToken, OAuth2, TokenClient,
        oauth2::{ClientAuth, Granted, Issuer, RefreshTokens},
    },
    sandbox::{AuthFault, OAuth2Server, Sandbox, ScriptedResponse},
};

const SECRET: &str = "hunter2-the-secret-of-the-client";

fn policy() -> RefreshPolicy {
    RefreshPolicy::default()
        .propagation_delay(Duration::ZERO)
        .attempt_timeout(Duration::from_millis(200))
        .deadline(Duration::from_millis(400))
        .retry_base(Duration::from_millis(1))
}

fn create(sandbox: &Sandbox) -> Request<Full<Bytes>> {
    Request::post(format!("{}/accounts", sandbox.base_url()))
        .body(Full::from(r#"{"name": "Ada"}"#))
        .unwrap()
}

#[tokio::test]
async fn no_secret_and_no_token_is_ever_printed() {
    if !is_own_process(module_path!(), "no_secret_and_no_token_is_ever_printed") {
        return;
    }
    let log = Log::default();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.add(&format!("{panic}\n"))));

    let faults = [
        None,
        Some(AuthFault::Status { status: StatusCode::UNAUTHORIZED, retry_after: None }),
        Some(AuthFault::Status {
            status: StatusCode::BAD_GATEWAY,
            retry_after: Some(Duration::from_secs(9)),
        }),
        Some(AuthFault::Html(StatusCode::OK)),
        Some(AuthFault::ResetBeforeIssuing),
        Some(AuthFault::ResetAfterIssuing),
        Some(AuthFault::Hang),
        Some(AuthFault::EmptyBody),
        Some(AuthFault::CutBody),
        Some(AuthFault::Garbage),
        Some(AuthFault::UnsendableToken),
        Some(AuthFault::BadExpiry),
        Some(AuthFault::Expired),
        Some(AuthFault::Oversized),
        Some(AuthFault::Redirect("/elsewhere".into())),
    ];
    // Each at a server of its own, at the same time: some have to be waited for.
    let tokens = join_all(faults.map(|fault| requests_under(fault, &log))).await;
    let mut tokens: Vec<_> = tokens.into_iter().flatten().collect();
    sources_and_panics(&log).await;

    // From here on a panic is this test's own.
    let _ = std::panic::take_hook();
    tokens.extend(oauth2(&log).await);
    let text = log.text();
    assert!(tokens.len() > 20 && tokens.iter().all(|token| token.len() > 50));
    assert!(text.contains("a token was issued") && text.contains("hyper"), "the log is read");
    assert!(text.contains("told to panic"), "panics are read");
    assert!(!text.contains("hunter2"), "{}", around(&text, "hunter2"));
    for token in tokens {
        // The signature alone would give it away.
        let signature = token.rsplit('.').next().unwrap();
        assert!(!text.contains(signature), "{}", around(&text, signature));
    }
}

/// Sends requests while each request for a token goes wrong in this way, or none does. Returns the
/// tokens that there were.
async fn requests_under(fault: Option<AuthFault>, log: &Log) -> Vec<String> {
    let id = "test_00000000-0000-4000-8000-000000000009";
    let sandbox = Sandbox::builder().client(id, SECRET).start().await.unwrap();
    let mut tokens = Vec::new();
    sandbox.fail_every_auth(fault);
    let http: HttpsClient<Full<Bytes>> = client::https().unwrap();
    let credentials = Credentials::new(id, SECRET);
    let endpoint =
        SendPayments::new(sandbox.base_url(), http.clone(), credentials.clone()).unwrap();
    log.add_debug(&credentials);
    log.add_debug(&endpoint);
    let cache = TokenCache::builder(endpoint).refresh_policy(policy()).build().unwrap();
    let layer = AuthLayer::new(cache.clone());
    let service = layer.layer(http);
    // A first request, one that is answered 401 and replayed, and a refused one.
    for _ in 0..2 {
        let response = service.clone().oneshot(create(&sandbox)).await;
        match &response {
            Ok(response) => log.add_debug(&response.headers()),
            Err(error) => log.add_error(error),
        }
        if let Some(token) = cache.current() {
            log.add_debug(&token);
            log.add_debug(&token.header_value());
            if let Err(error) = token.claims::<u8>() {
                log.add_error(&error);
            }
            tokens.push(token.expose_secret().to_owned());
        }
        log.add_debug(&layer);
        log.add_debug(&service);
        log.add_debug(&cache.subscribe());
        tokens.extend(sandbox.issue_elsewhere(id));
    }
    let refused = Request::get("https://evil.example/").body(Full::default()).unwrap();
    log.add_error(&service.oneshot(refused).await.unwrap_err());
    tokens
}

/// Custom endpoints, sources that fail and that panic.
async fn sources_and_panics(log: &Log) {
    struct Panics(Credentials, http::Uri);
    impl TokenEndpoint for Panics {
        async fn issue(&self) -> Result<IssuedToken, tower_reauth::AuthError> {
            panic!("told to panic with {:?} {:?}", self.0, IssuedToken::new(SECRET))
        }
        fn rotation(&self) -> tower_reauth::endpoint::Rotation {
            tower_reauth::endpoint::Rotation::Exclusive
        }
        fn uri(&self) -> Option<&http::Uri> {
            Some(&self.1)
        }
    }
    let uri =
        format!("https://id:{SECRET}@api.example.com/{SECRET}?secret={SECRET}").parse().unwrap();
    let cache = TokenCache::new(Panics(Credentials::new("id", SECRET), uri));
    let layer = AuthLayer::new(cache.clone());
    log.add_debug(&cache);
    log.add_debug(&layer);
    let foreign = Request::get(format!("https://evil.example/{SECRET}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let inner: HttpsClient<Full<Bytes>> = client::https().unwrap();
    log.add_error(&layer.layer(inner).oneshot(foreign).await.unwrap_err());
    log.add_error(&cache.token().await.unwrap_err());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials.json");
    std::fs::write(&file, format!(r#"{{"clientId": "{SECRET}", "clientSecret": ["{SECRET}"]}}"#))
        .unwrap();
    let http: HttpsClient<Full<Bytes>> = client::https().unwrap();
    log.add_debug(&TokenClient::new(http.clone()));
    let base = "https://api.example.com";
    let broken = from_fn(|| async { Err("the vault is sealed") });
    log.add_debug(&broken);
    for cache in [
        TokenCache::new(
            SendPayments::new(base, http.clone(), FileCredentials::json(&file)).unwrap(),
        ),
        TokenCache::new(SendPayments::new(base, http.clone(), broken).unwrap()),
        TokenCache::new(
            SendPayments::new(base, http.clone(), EnvCredentials::new("NO_SUCH_A", "NO_SUCH_B"))
                .unwrap(),
        ),
        TokenCache::new(
            SendPayments::new(base, http, Credentials::new(format!("{SECRET}\n"), SECRET)).unwrap(),
        ),
    ] {
        let error = cache.token().await.unwrap_err();
        assert!(error.is_credentials());
        log.add_error(&error);
    }
}

/// Everything secret that an endpoint of OAuth 2 can send, to a server that shows it again.
async fn oauth2(log: &Log) -> Vec<String> {
    struct Row;
    impl RefreshTokens for Row {
        async fn load(&self) -> Result<SecretString, BoxError> {
            Ok(SECRET.into())
        }
        async fn store(&self, _: &SecretString, _: &SecretString) -> Result<(), BoxError> {
            Err("the disk is full".into())
        }
    }
    let server = OAuth2Server::builder().jwt_tokens().start().await.unwrap();
    let uri = server.token_uri();
    let client = || Credentials::new(OAuth2Server::CLIENT_ID, SECRET);
    let known = Credentials::new(OAuth2Server::CLIENT_ID, OAuth2Server::CLIENT_SECRET);
    let source = || assertion::from_fn(|_| async { Ok(SECRET.into()) });
    let http = || client::https::<Full<Bytes>>().unwrap();
    let shows = |status| {
        let shown = ScriptedResponse::object(status).field("error", SECRET);
        shown.field("error_description", SECRET).field("refresh_token", SECRET)
    };
    let (gone, fine) = (StatusCode::BAD_REQUEST, StatusCode::OK);
    let odd = ScriptedResponse::object(fine).field("access_token", "t").field("scope", SECRET);
    let rotated = ScriptedResponse::object(fine).field("access_token", "t");
    let rotated = rotated.field("refresh_token", format!("{SECRET}-2"));
    let mut tokens = Vec::new();
    for response in [None, Some(shows(gone)), Some(shows(fine)), Some(odd), Some(rotated)] {
        server.respond_every(response);
        let exchange = OAuth2::token_exchange(&uri, http(), source(), "jwt");
        for builder in [
            OAuth2::client_credentials(&uri, http(), known.clone()),
            OAuth2::client_credentials(&uri, http(), client()),
            OAuth2::client_credentials(&uri, http(), client()).client_auth(ClientAuth::Post),
            OAuth2::client_credentials(&uri, http(), client())
                .client_auth(ClientAuth::assertion(source())),
            OAuth2::client_credentials(Issuer::new(server.issuer()), http(), client()),
            OAuth2::jwt_bearer(&uri, http(), source()),
            OAuth2::refresh_token(&uri, http(), client(), Row),
            exchange.credentials(client()).client_auth(ClientAuth::Basic).json_request(),
        ] {
            let header = HeaderValue::from_static(SECRET);
            let builder = builder.param("key", SECRET).header("x-key".parse().unwrap(), header);
            let builder = builder.scope("read").require_scope().for_api(server.base_url());
            log.add_debug(&builder);
            let endpoint = builder.build().unwrap();
            log.add_debug(&endpoint);
            match endpoint.identity().await {
                Ok(identity) => log.add_debug(&identity),
                Err(error) => log.add_error(&error),
            }
            let cache = TokenCache::builder(endpoint).refresh_policy(policy()).build().unwrap();
            log.add_debug(&AuthLayer::new(cache.clone()));
            match cache.token().await {
                Ok(token) => {
                    log.add_debug(&token);
                    log.add_debug(&token.get::<Granted>());
                    tokens.push(token.expose_secret().to_owned());
                }
                Err(error) => log.add_error(&error),
            }
        }
    }
    assert!(tokens.iter().any(|token| token.len() > 50), "one was issued as it should be");
    tokens.into_iter().filter(|token| token.len() > 50).collect()
}

/// The log around `needle`, which itself is not shown.
fn around(text: &str, needle: &str) -> String {
    let (before, after) = text.split_once(needle).unwrap_or_default();
    let mut from: Vec<_> = before.chars().rev().take(300).collect();
    from.reverse();
    from.into_iter().chain("<HERE>".chars()).chain(after.chars().take(200)).collect()
}
