//! An error of the service says which request it is of, and shows no secret of it.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response, header};
use support::{Endpoint, Step, get};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, CallerAuthorization, CrossOriginRequests, Error, TokenCache,
};

const SECRET: &str = "hunter2";

fn layer(endpoint: &Endpoint) -> AuthLayer {
    AuthLayer::new(TokenCache::new(endpoint.clone()))
}

/// A service that fails from call `first` on, and answers 401 before that.
fn failing(
    first: usize,
) -> impl Service<Request<String>, Response = Response<()>, Error = BoxError, Future: Send> + Clone
{
    let calls = Arc::new(AtomicUsize::new(0));
    service_fn(move |_: Request<String>| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let refusal = Response::builder().status(401).body(()).map_err(BoxError::from);
        ready(if call < first { refusal } else { Err("connection reset".into()) })
    })
}

fn to_api() -> Request<String> {
    get(&format!("https://me:{SECRET}@api.example.com/accounts/1?key={SECRET}"))
}

fn named(error: &Error) -> String {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(error.to_string().starts_with(error.request().unwrap_or("the request")));
    error.request().unwrap_or_default().to_owned()
}

const LINE: &str = "GET https://api.example.com/accounts/1";

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_fails_is_named() {
    // With a token that is waited for, and with one that is there.
    let auth = layer(&Endpoint::exclusive());
    for _ in 0..2 {
        let error = auth.layer(failing(1)).oneshot(to_api()).await.unwrap_err();
        assert_eq!(named(&error), LINE);
    }
    // Without replay nothing is kept that could be named.
    let error =
        auth.clone().without_replay().layer(failing(1)).oneshot(to_api()).await.unwrap_err();
    assert_eq!(named(&error), "");
    // When it is sent again after a 401.
    let error = auth.layer(failing(2)).oneshot(to_api()).await.unwrap_err();
    assert_eq!(named(&error), LINE);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_token_is_named() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Fail(AuthError::rejected("unknown client")));
    let error = layer(&endpoint).layer(failing(1)).oneshot(to_api()).await.unwrap_err();
    assert!(error.as_auth().is_some_and(AuthError::is_rejected));
    assert_eq!(named(&error), LINE);
}

#[tokio::test(start_paused = true)]
async fn of_a_request_that_is_not_signed_no_path_is_shown() {
    let auth = layer(&Endpoint::exclusive());
    let foreign = || get(&format!("https://me:{SECRET}@hooks.example/{SECRET}?key={SECRET}"));
    let line = "GET https://hooks.example/...";
    let error = auth.layer(failing(1)).oneshot(foreign()).await.unwrap_err();
    assert!(error.as_auth().is_some_and(AuthError::is_refused_origin));
    assert_eq!(named(&error), line);
    let passing = auth.clone().cross_origin_requests(CrossOriginRequests::PassUnsigned);
    let error = passing.layer(failing(1)).oneshot(foreign()).await.unwrap_err();
    assert!(error.as_auth().is_none());
    assert_eq!(named(&error), line);
    let mut own = get(&format!("https://api.example.com/{SECRET}"));
    own.headers_mut().insert(header::AUTHORIZATION, "Basic eA==".parse().unwrap());
    let keeping = auth.caller_authorization(CallerAuthorization::Keep);
    let error = keeping.layer(failing(1)).oneshot(own).await.unwrap_err();
    assert_eq!(named(&error), "GET https://api.example.com/...");
}

/// A service that fails to become ready, once it has been cloned.
struct Unready(usize);

impl Clone for Unready {
    fn clone(&self) -> Self {
        Self(self.0 + 1)
    }
}

impl Service<Request<String>> for Unready {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(if self.0 == 0 { Ok(()) } else { Err("no more".into()) })
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_has_a_request_only_once_one_waits() {
    let auth = layer(&Endpoint::exclusive());
    // The first one waits for a token, and then for a clone of the service.
    let error = auth.layer(Unready(0)).oneshot(to_api()).await.unwrap_err();
    assert_eq!(named(&error), LINE);
    let error = auth.layer(Unready(1)).oneshot(to_api()).await.unwrap_err();
    assert_eq!(error.request(), None);
    assert_eq!(error.to_string(), "the request got no response from the HTTP client");
}
