//! OAuth 2's endpoint below the layer: where the token goes, who shares it, and what is logged.

use std::{
    collections::VecDeque,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use support::{Resource, get, log::Log, ok, settle, unauthorized};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, Error, RefreshPolicy, TokenCache, assertion,
    endpoint::{
        OAuth2, Rotation,
        oauth2::{ClientAuth, OAuth2Builder},
    },
    store::MemoryStore,
};
use tracing::Level;

const TOKEN_URI: &str = "https://login.example.com/oauth/token";
const API: &str = "https://api.example.com/orders";
const SECRET: &str = "s3cret-of-the-client";

/// What the server answers: a status and a body, and a token of its own if there is none left.
type Script = Arc<Mutex<VecDeque<(u16, String)>>>;

/// An authorization server that issues `token-1`, `token-2`, ... unless it is told otherwise, and
/// the forms that it was sent.
#[derive(Clone, Default)]
struct Server {
    script: Script,
    forms: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn then(self, status: u16, body: impl Into<String>) -> Self {
        self.script.lock().unwrap().push_back((status, body.into()));
        self
    }

    fn forms(&self) -> Vec<String> {
        self.forms.lock().unwrap().clone()
    }

    fn answer(&self, form: String) -> Response<Full<Bytes>> {
        let mut forms = self.forms.lock().unwrap();
        forms.push(form);
        let token = format!(r#"{{"access_token": "token-{}", "expires_in": "300"}}"#, forms.len());
        let (status, body) = self.script.lock().unwrap().pop_front().unwrap_or((200, token));
        Response::builder().status(status).body(Full::from(body)).unwrap()
    }

    fn service(
        &self,
    ) -> impl Service<
        Request<Full<Bytes>>,
        Response = Response<Full<Bytes>>,
        Error = BoxError,
        Future: Send,
    > + Clone
    + Send
    + 'static {
        let server = self.clone();
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let server = server.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, BoxError>(server.answer(String::from_utf8(body.to_vec())?))
            }
        })
    }
}

macro_rules! builder {
    ($server:expr) => {
        OAuth2::client_credentials(
            TOKEN_URI,
            $server.service(),
            Credentials::new("my-client-id", SECRET),
        )
    };
}

#[tokio::test(start_paused = true)]
async fn the_api_sees_the_token_and_the_authorization_server_does_not() {
    let server = Server::default();
    let auth = AuthLayer::oauth2(builder!(server).for_api(API).build().unwrap());
    let resource = Resource::new(|_, _| ok());
    let service = auth.layer(resource.clone());
    let response = service.clone().oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for uri in ["https://login.example.com/userinfo", TOKEN_URI, "https://evil.example/"] {
        let error = service.clone().oneshot(get(uri)).await.unwrap_err();
        assert!(matches!(error, Error::Auth { error, .. } if error.is_refused_origin()), "{uri}");
    }
    assert_eq!(resource.tokens(), ["Bearer token-1"]);
    // The request for a token passes, unsigned.
    let form = Request::post(TOKEN_URI).body(String::new()).unwrap();
    service.oneshot(form).await.unwrap();
    assert_eq!(resource.tokens(), ["Bearer token-1", ""]);

    let server = Server::default();
    let nowhere = AuthLayer::oauth2(builder!(server).build().unwrap());
    let error = nowhere.clone().layer(resource.clone()).oneshot(get(API)).await.unwrap_err();
    let Error::Auth { error, .. } = error else { panic!("it was sent") };
    assert!(error.to_string().contains("OAuth2Builder::for_api"), "{error}");
    assert!(server.forms().is_empty(), "a refused request costs no token");
    let named = nowhere.allow_origin("https://login.example.com").unwrap();
    named.layer(resource).oneshot(get("https://login.example.com/userinfo")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_scopes_never_share_a_token_in_a_fleet_and_the_same_scope_does() {
    let (server, store) = (Server::default(), MemoryStore::new());
    let token = async |scope: &str, rotation| {
        let builder = builder!(server).scope(scope).rotation(rotation);
        let cache = TokenCache::builder(builder.build().unwrap());
        let cache = cache.shared(store.clone()).build().unwrap();
        let token = cache.token().await.unwrap();
        settle().await;
        token.expose_secret().to_owned()
    };
    for rotation in [Rotation::Overlapping, Rotation::Exclusive] {
        let before = server.forms().len();
        let read = token("read", rotation).await;
        if rotation == Rotation::Overlapping {
            assert_ne!(read, token("write", rotation).await);
            assert_ne!(read, token("read write", rotation).await);
            assert_eq!(server.forms().len(), before + 3);
        }
        assert_eq!(token("read", rotation).await, read);
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_brings_a_new_token_and_a_passing_failure_is_retried() {
    let server = Server::default()
        .then(200, r#"{"access_token": "first"}"#)
        .then(400, r#"{"error": "temporarily_unavailable"}"#)
        .then(200, r#"{"access_token": "second", "token_type": "BearerToken"}"#);
    let cache = support::known_at_once(builder!(server).for_api(API).build().unwrap());
    let service = AuthLayer::new(cache).layer(Resource::new(|_, request| {
        if support::authorization(request) == "Bearer second" { ok() } else { unauthorized() }
    }));
    let response = service.oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(server.forms().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_scope_is_asked_for_once_and_then_left_alone() {
    let refusal = r#"{"error": "invalid_scope"}"#;
    let server = Server::default().then(400, refusal).then(400, refusal);
    let cache = support::known_at_once(builder!(server).scope("x").build().unwrap());
    for _ in 0..5 {
        let error = cache.token().await.unwrap_err();
        assert!(error.is_misconfigured() && !error.is_rejected(), "{error}");
    }
    assert_eq!(server.forms().len(), 1, "neither a retry nor a question per caller");
}

#[tokio::test(start_paused = true)]
async fn a_source_of_assertions_that_is_not_there_yet_is_asked_again_within_two_seconds() {
    let server = Server::default();
    let is_there = Arc::new(Mutex::new(false));
    let asked = Arc::clone(&is_there);
    let source = assertion::from_fn(move |_| {
        let missing = || BoxError::from("the file is not there");
        ready(asked.lock().unwrap().then(|| "an-assertion".into()).ok_or_else(missing))
    });
    let builder = builder!(server).client_auth(ClientAuth::assertion(source));
    let cache = TokenCache::new(builder.build().unwrap());
    assert!(cache.token().await.unwrap_err().is_credentials());
    *is_there.lock().unwrap() = true;
    tokio::time::advance(Duration::from_secs(2)).await;
    cache.token().await.unwrap();
    assert_eq!(server.forms().len(), 1);
}

/// Everything secret that these requests hold.
const HIDDEN: [&str; 5] =
    [SECRET, "the-assertion-itself", "the-parameter", "the-header-key", "the-access-token"];

fn with_secrets<S>(builder: OAuth2Builder<S>) -> OAuth2Builder<S> {
    let assertion = assertion::from_fn(|_| ready(Ok(HIDDEN[1].into())));
    builder
        .client_auth(ClientAuth::assertion(assertion))
        .param("key", HIDDEN[2])
        .header("x-key".parse().unwrap(), HIDDEN[3].parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn no_log_holds_secret_assertion_parameter_header_or_token() {
    let (log, _guard) = Log::of_this_thread(Level::TRACE);
    let everything = HIDDEN.join(" and ");
    let shown = format!(r#"{{"error": "invalid_client", "error_description": "{everything}"}}"#);
    let token = format!(r#"{{"access_token": "{}", "key": "{}"}}"#, HIDDEN[4], HIDDEN[2]);
    for (status, body) in [
        (200, token),
        (401, shown.clone()),
        (503, shown.clone()),
        (200, shown),
        (200, format!("<html>{everything}</html>")),
        (302, everything),
    ] {
        let server = Server::default().then(status, body);
        let builder = with_secrets(builder!(server)).for_api(API);
        log.add_debug(&builder);
        let endpoint = builder.build().unwrap();
        log.add_debug(&endpoint);
        let policy = RefreshPolicy::default().deadline(Duration::from_millis(50));
        let policy = policy.attempt_timeout(Duration::from_millis(50));
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        log.add_debug(&cache);
        match cache.token().await {
            Ok(token) => log.add_debug(&token),
            Err(error) => log.add_error(&error),
        }
        settle().await;
    }
    let text = log.text();
    assert!(text.contains("token_refresh") && text.contains("401"), "{text}");
    for hidden in HIDDEN {
        assert!(!text.contains(hidden), "{hidden} is in {text}");
    }
}
