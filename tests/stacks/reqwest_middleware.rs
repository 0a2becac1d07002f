//! The layer as a middleware of `reqwest-middleware`, against the sandbox on a real socket.

use std::time::Duration;

use http::Extensions;
use reqwest_middleware::{
    ClientBuilder, ClientWithMiddleware, Error as MiddlewareError, Middleware, Next,
    reqwest::{self, Request, Response},
};
use support::known_at_once;
use tower_reauth::{
    AuthError, AuthLayer, Credentials, Error, SendPayments, client,
    refusal::{self, Classify, Mark, Unauthorized},
    replay::Declined,
    sandbox::{AuthFault, Sandbox},
};

const ADA: &str = r#"{"name": "Ada"}"#;

fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn auth(sandbox: &Sandbox) -> AuthLayer {
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let http = client::https().unwrap();
    let endpoint = SendPayments::new(sandbox.base_url(), http, credentials).unwrap();
    AuthLayer::new(known_at_once(endpoint))
}

fn client_of(sandbox: &Sandbox) -> ClientWithMiddleware {
    ClientBuilder::new(http()).with(auth(sandbox)).build()
}

fn create(client: &ClientWithMiddleware, sandbox: &Sandbox) -> reqwest_middleware::RequestBuilder {
    client
        .post(format!("{}/accounts", sandbox.base_url()))
        .header("content-type", "application/json")
}

#[tokio::test]
async fn requests_are_signed_and_replayed_after_a_401() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = client_of(&sandbox);
    let timeout = Duration::from_secs(30);
    assert_eq!(
        create(&client, &sandbox).timeout(timeout).body(ADA).send().await.unwrap().status(),
        201
    );
    sandbox.revoke(Sandbox::CLIENT_ID);
    let response = create(&client, &sandbox).timeout(timeout).body(ADA).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.url().as_str().ends_with("/accounts"), "{}", response.url());
    let account: serde_json::Value =
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(account["name"], "Ada");
    let counters = sandbox.counters();
    assert_eq!(
        (counters.auth_requests, counters.unauthorized_replaced, counters.accounts_created),
        (2, 2, 2),
        "the dead token is refused twice, because it had been accepted before"
    );
}

#[tokio::test]
async fn a_stream_is_sent_once_and_its_401_is_the_callers() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = client_of(&sandbox);
    assert_eq!(create(&client, &sandbox).body(ADA).send().await.unwrap().status(), 201);
    sandbox.revoke(Sandbox::CLIENT_ID);
    let stream = || reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, Error>(ADA)]));
    let refused = create(&client, &sandbox).body(stream()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.extensions().get::<Declined>().is_some());
    assert_eq!(sandbox.counters().auth_requests, 1, "and waited for nothing");
    // The token is marked, so the next one goes with a new token.
    assert_eq!(create(&client, &sandbox).body(stream()).send().await.unwrap().status(), 201);
    assert_eq!(sandbox.counters().auth_requests, 2);
}

#[tokio::test]
async fn what_the_layer_refuses_is_a_typed_error() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = client_of(&sandbox);
    let is = |error: MiddlewareError, is: fn(&AuthError) -> bool| {
        let MiddlewareError::Middleware(error) = error else { panic!("{error:?}") };
        error.downcast_ref::<Error>().and_then(Error::as_auth).is_some_and(is)
    };
    let foreign = client.get("https://evil.example/").send().await.unwrap_err();
    assert!(is(foreign, AuthError::is_refused_origin));
    sandbox.fail_every_auth(Some(AuthFault::Status {
        status: http::StatusCode::UNAUTHORIZED,
        retry_after: None,
    }));
    let rejected = create(&client, &sandbox).body(ADA).send().await.unwrap_err();
    assert!(is(rejected, AuthError::is_rejected));
    assert_eq!(sandbox.counters().resource_requests, 0);
}

#[tokio::test]
async fn the_clients_own_errors_and_the_reason_for_a_401_come_through() {
    let slow = Sandbox::builder().resource_latency(Duration::from_secs(60)).start().await.unwrap();
    let request = create(&client_of(&slow), &slow).body(ADA).timeout(Duration::from_millis(20));
    let late = request.send().await.unwrap_err();
    assert!(late.is_timeout(), "{late:?}");

    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = client_of(&sandbox);
    assert_eq!(create(&client, &sandbox).body(ADA).send().await.unwrap().status(), 201);
    sandbox.revoke(Sandbox::CLIENT_ID);
    sandbox.fail_every_auth(Some(AuthFault::Garbage));
    let response = create(&client, &sandbox).body(ADA).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<AuthError>().is_some_and(AuthError::is_invalid_response));
}

/// Counts the attempts in the extensions that all middlewares of a request share.
struct Counts;

#[derive(Clone, Debug, PartialEq)]
struct Attempts(u32);

#[async_trait::async_trait]
impl Middleware for Counts {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        extensions.get_or_insert_with(|| Attempts(0)).0 += 1;
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn the_extensions_of_a_request_go_through_all_attempts() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = ClientBuilder::new(http()).with(auth(&sandbox)).with(Counts).build();
    assert_eq!(create(&client, &sandbox).body(ADA).send().await.unwrap().status(), 201);
    sandbox.revoke(Sandbox::CLIENT_ID);
    let mut extensions = Extensions::new();
    let request = create(&client, &sandbox).body(ADA).build().unwrap();
    assert_eq!(
        client.execute_with_extensions(request, &mut extensions).await.unwrap().status(),
        201
    );
    assert_eq!(extensions.get(), Some(&Attempts(3)), "a probe and a replay");
}

/// Marks the response to a first attempt.
struct Marks;

#[async_trait::async_trait]
impl Middleware for Marks {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let mut response = next.run(request, extensions).await?;
        response.extensions_mut().insert(Attempts(7));
        if extensions.insert(Mark).is_none() {
            response.extensions_mut().insert(Mark);
        }
        Ok(response)
    }
}

#[tokio::test]
async fn the_mark_of_an_inner_middleware_is_seen_and_a_response_keeps_its_extensions() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let auth = auth(&sandbox).refusals(Unauthorized.or(refusal::marked()));
    let client = ClientBuilder::new(http()).with(auth.clone()).with(Marks).build();
    let response = create(&client, &sandbox).body(ADA).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.extensions().get(), Some(&Attempts(7)));
    assert!(response.remote_addr().is_some());
    assert_eq!((sandbox.counters().auth_requests, auth.cache().counters().replays), (2, 1));
}
