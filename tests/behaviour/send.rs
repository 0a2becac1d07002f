//! `Auth::send`: a clone that is made ready and called, in one method.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all, stream};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use support::{Endpoint, Resource, URI, get, known_at_once, ok, settle, unauthorized};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{
    Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer, service_fn, util::BoxCloneService,
};
use tower_reauth::{
    AuthLayer, BoxError, Error, TokenCache,
    replay::{ReplayBody, ReplayLayer},
};

fn auth(endpoint: &Endpoint) -> AuthLayer {
    AuthLayer::new(known_at_once(endpoint.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_signed_and_replayed_without_a_clone_of_the_callers() {
    let (endpoint, resource) = (Endpoint::exclusive(), Resource::accepting("token-2"));
    // The resource panics if it is called without being ready.
    let client = auth(&endpoint).layer(resource.clone());
    assert_eq!(client.send(get(URI)).await.unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
    let sent = join_all((0..10).map(|_| client.send(get(URI)))).await;
    assert!(sent.into_iter().all(|response| response.unwrap().status() == 200));
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for() {
    let client = ServiceBuilder::new()
        .layer(auth(&Endpoint::exclusive()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Resource::new(|_, _| ok()).taking(Duration::from_secs(1)));
    let start = Instant::now();
    let sent = join_all((0..3).map(|_| client.send(get(URI)))).await;
    assert!(sent.into_iter().all(|response| response.unwrap().status() == 200));
    assert_eq!(start.elapsed().as_secs(), 3);
}

/// Never answers, and tells how many of it there are.
#[derive(Clone, Default)]
struct Silent(Arc<()>);

impl Service<Request<String>> for Silent {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Pending<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_keeps_no_service_of_its_own() {
    let (layer, silent) = (auth(&Endpoint::exclusive()), Silent::default());
    layer.cache().token().await.unwrap();
    let client = layer.layer(silent.clone());
    let mut first = task::spawn(client.send(get(URI)));
    assert_pending!(first.poll());
    // Ours, the client's, and the one that all requests share for their replays.
    assert_eq!(Arc::strong_count(&silent.0), 3);
    let mut second = task::spawn(client.send(get(URI)));
    assert_eq!(Arc::strong_count(&silent.0), 4);
    assert_pending!(second.poll());
    assert_eq!(Arc::strong_count(&silent.0), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_before_the_first_poll_and_a_dropped_future_costs_no_token() {
    let endpoint = Endpoint::exclusive();
    let (layer, resource) = (auth(&endpoint), Resource::accepting("token-1"));
    let client = layer.layer(resource.clone());
    drop(client.send(get(URI)));
    settle().await;
    assert_eq!(endpoint.calls(), 0);

    let open = endpoint.gate();
    let mut sent = task::spawn(client.send(get(URI)));
    assert_pending!(sent.poll());
    drop(sent);
    open.send(()).unwrap();
    settle().await;
    assert!(layer.cache().current().is_some());
    assert_eq!((endpoint.calls(), resource.seen().len()), (1, 0));
}

/// Is not `Sync`, and fails before it is ready.
#[derive(Clone, Default)]
struct Broken {
    asked: Arc<AtomicUsize>,
    _not_sync: Cell<()>,
}

impl Service<Request<String>> for Broken {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.asked.fetch_add(1, SeqCst);
        Poll::Ready(Err("the connection is closed".into()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        ready(Err("called without being ready".into()))
    }
}

fn can_be_spawned<F: Future + Send + 'static>(future: F) -> F {
    future
}

#[test]
fn a_service_that_fails_before_it_is_ready_is_asked_once() {
    let broken = Broken::default();
    let client = AuthLayer::new(TokenCache::new(Endpoint::exclusive())).layer(broken.clone());
    // Compiles only if the future borrows nothing, and needs no service that is `Sync`.
    let mut sent = task::spawn(can_be_spawned(client.send(get(URI))));
    let error = assert_ready!(sent.poll()).unwrap_err();
    assert!(error.as_auth().is_none(), "{error:?}");
    // As a fused future.
    assert_pending!(sent.poll());
    assert_eq!(broken.asked.load(SeqCst), 1);
}

/// The compiler refuses to spawn the first of these without the second box.
#[tokio::test(start_paused = true)]
async fn a_request_through_a_boxed_service_is_sent_from_a_task_in_the_documented_ways() {
    type Boxed<E> = BoxCloneService<Request<String>, Response<Bytes>, E>;

    let layer = auth(&Endpoint::exclusive());
    let answer = |_| ready(Ok(Response::default()));
    let client = layer.layer(Boxed::<BoxError>::new(service_fn(answer)));
    let sent = tokio::spawn(async move { client.send(get(URI)).boxed().await.is_ok() });
    assert!(sent.await.unwrap());
    let client =
        layer.layer(Boxed::<std::io::Error>::new(service_fn(|_| ready(Ok(Response::default())))));
    let sent = tokio::spawn(async move { client.send(get(URI)).await.is_ok() });
    assert!(sent.await.unwrap());
}

type Upload = UnsyncBoxBody<Bytes, Infallible>;

/// Accepts the second token, and answers with what it was sent.
async fn echo(request: Request<ReplayBody<Upload>>) -> Result<Response<Bytes>, BoxError> {
    let is_newer = request.headers()[header::AUTHORIZATION] == "Bearer token-2";
    let body = request.into_body().collect().await?.to_bytes();
    let response = if is_newer { ok() } else { unauthorized() };
    Ok(response.map(|_| body))
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_a_replay_layer_has_the_method_too() {
    let client = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(auth(&Endpoint::exclusive()))
        .service(service_fn(|request| -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(echo(request))
        }));
    let frames = ["one ", "and ", "two"].map(|text| Ok(Frame::data(Bytes::from(text))));
    let upload: Upload = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let sent = client.send(Request::post(URI).body(upload).unwrap());
    let response: Result<_, Error> = can_be_spawned(sent).await;
    assert_eq!(response.unwrap().into_body(), "one and two");
}
