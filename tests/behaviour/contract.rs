//! The layer over services that keep Tower's contract to the letter, and hold the layer to it:
//! readiness is asked for before each call, used once or dropped, and never taken over by a clone.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use support::{Endpoint, Step, URI, authorization, get, known_at_once, ok, unauthorized};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_reauth::{Auth, AuthError, AuthLayer, BoxError, Error, TokenCache};

/// Accepts `token-2` alone.
struct Strict {
    kind: Kind,
    ready: bool,
    /// Of all clones: how often readiness was given, and how it ended.
    given: Arc<AtomicUsize>,
    used: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    /// How many more calls get to be ready.
    left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A clone of a ready service isn't ready.
    Forgetful,
    /// Must not be asked again once it is ready, until it is called.
    ReadyOnce,
    /// Becomes ready only when asked a second time.
    Slow,
}

impl Strict {
    fn new(kind: Kind, left: usize) -> Self {
        Self {
            kind,
            ready: false,
            given: Arc::default(),
            used: Arc::default(),
            dropped: Arc::default(),
            left,
        }
    }

    /// Every readiness was used or given back.
    fn check(&self) {
        let [given, used, dropped] =
            [&self.given, &self.used, &self.dropped].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(given, used + dropped, "{:?}: {used} used, {dropped} dropped", self.kind);
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let [given, used, dropped] = [&self.given, &self.used, &self.dropped].map(Arc::clone);
        Self { kind: self.kind, ready: false, given, used, dropped, left: self.left }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        if self.ready {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Service<Request<String>> for Strict {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready {
            assert_ne!(self.kind, Kind::ReadyOnce, "asked again though it was ready");
            return Poll::Ready(Ok(()));
        }
        if self.used.load(Ordering::SeqCst) >= self.left {
            return Poll::Ready(Err("no more".into()));
        }
        if self.kind == Kind::Slow {
            self.kind = Kind::Forgetful;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        self.given.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.used.fetch_add(1, Ordering::SeqCst);
        let accepted = authorization(&request) == "Bearer token-2";
        std::future::ready(Ok(if accepted { ok() } else { unauthorized() }))
    }
}

const KINDS: [Kind; 3] = [Kind::Forgetful, Kind::ReadyOnce, Kind::Slow];

#[tokio::test(start_paused = true)]
async fn readiness_is_asked_for_once_before_each_call_and_used_or_given_back() {
    for kind in KINDS {
        let strict = Strict::new(kind, usize::MAX);
        let mut service =
            AuthLayer::new(known_at_once(Endpoint::exclusive())).layer(strict.clone());
        // Without a token; refused, and replayed; with a good one; to a foreign origin; again.
        for (uri, status) in
            [(URI, Some(200)), (URI, Some(200)), ("https://evil.example/", None), (URI, Some(200))]
        {
            let answer = service.ready().await.unwrap().call(get(uri)).await;
            assert_eq!(
                answer.ok().map(|response| response.status().as_u16()),
                status,
                "{kind:?} {uri}"
            );
        }
        drop(service);
        strict.check();
        assert_eq!(
            strict.used.load(Ordering::SeqCst),
            4,
            "{kind:?}: three requests, one of them twice"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_give_readiness_back() {
    for kind in KINDS {
        for polls in 0..8 {
            let endpoint = Endpoint::exclusive();
            endpoint.answer_after(Duration::from_millis(10));
            let strict = Strict::new(kind, usize::MAX);
            let mut service = AuthLayer::new(TokenCache::new(endpoint)).layer(strict.clone());
            let mut call = Box::pin(service.ready().await.unwrap().call(get(URI)));
            let mut left = polls;
            poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                call.as_mut().poll(cx).map(|_| left = 0)
            })
            .await;
            drop((call, service));
            strict.check();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_is_the_callers_error_wherever_it_happens() {
    let broken = |left| {
        AuthLayer::new(TokenCache::new(Endpoint::exclusive()))
            .layer(Strict::new(Kind::Forgetful, left))
    };
    let is_inner = |error: &Error| match error {
        Error::Inner { error, .. } => error.to_string() == "no more",
        Error::Auth { .. } => false,
    };
    // Before the first attempt: `poll_ready` itself.
    assert!(is_inner(&broken(0).ready().await.err().unwrap()));
    // Before the replay: the request's error.
    let mut service = broken(1);
    let error = service.ready().await.unwrap().call(get(URI)).await.unwrap_err();
    assert!(is_inner(&error), "{error:?}");
    // While a request waits for its token.
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let strict = Strict::new(Kind::Forgetful, 1);
    let mut service = AuthLayer::new(TokenCache::new(endpoint)).layer(strict.clone());
    let mut call = Box::pin(service.ready().await.unwrap().call(get(URI)));
    assert!(futures_util::poll!(&mut call).is_pending());
    strict.used.fetch_add(1, Ordering::SeqCst);
    drop(gate);
    let error = call.await.unwrap_err();
    assert!(is_inner(&error), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_ready_service_is_not_kept_and_not_called() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Fail(AuthError::rejected("no such client")));
    let strict = Strict::new(Kind::ReadyOnce, usize::MAX);
    let auth = AuthLayer::new(TokenCache::new(endpoint));
    let mut service = BoxCloneService::new(auth.layer(strict.clone()));
    assert!(service.ready().await.unwrap().call(get(URI)).await.is_err());
    strict.check();
    assert_eq!(strict.used.load(Ordering::SeqCst), 0);
}

/// Takes one request, and is busy after it; a clone knows nothing of that.
#[derive(Default)]
struct OneRequest {
    busy: bool,
}

impl Clone for OneRequest {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for OneRequest {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.busy { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.busy = true;
        std::future::ready(Ok(Response::new(())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_busy_after_a_call_holds_the_next_one_back_and_no_clone_takes_its_place()
{
    let cache = TokenCache::new(Endpoint::exclusive());
    cache.token().await.unwrap();
    let mut service = AuthLayer::new(cache).layer(OneRequest::default());
    ServiceExt::<Request<String>>::ready(&mut service).await.unwrap().call(get(URI)).await.unwrap();
    assert!(futures_util::poll!(ServiceExt::<Request<String>>::ready(&mut service)).is_pending());
}

/// Says its name, to `token-2` alone.
#[derive(Clone)]
struct Named(&'static str);

impl Service<Request<String>> for Named {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let accepted = authorization(&request) == "Bearer token-2";
        std::future::ready(Ok(if accepted {
            Response::new(self.0.to_owned())
        } else {
            unauthorized()
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_to_the_service_below_is_seen_by_requests_that_wait_and_by_replays_of_this_clone_alone()
 {
    // The first attempt has to wait for its token, or not; the second is made through a clone
    // either way.
    for waits in [true, false] {
        for changed_first in [true, false] {
            let cache = TokenCache::new(Endpoint::exclusive());
            if !waits {
                cache.token().await.unwrap();
            }
            let mut other = AuthLayer::new(cache).layer(Named("before"));
            let mut service = other.clone();
            service.get_mut().0 = "after";
            let ask = async |service: &mut Auth<Named>| {
                service.ready().await.unwrap().call(get(URI)).await.unwrap().into_body()
            };
            let answers = if changed_first {
                (ask(&mut service).await, ask(&mut other).await)
            } else {
                let before = ask(&mut other).await;
                (ask(&mut service).await, before)
            };
            assert_eq!(
                answers,
                ("after".to_owned(), "before".to_owned()),
                "{waits} {changed_first}"
            );
            assert_eq!((service.get_ref().0, service.into_inner().0), ("after", "after"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_to_the_service_below_is_not_seen_by_requests_that_wait_already() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let mut service = AuthLayer::new(TokenCache::new(endpoint)).layer(Named("before"));
    let mut call = Box::pin(service.ready().await.unwrap().call(get(URI)));
    assert!(futures_util::poll!(&mut call).is_pending());
    service.get_mut().0 = "after";
    drop(gate);
    assert_eq!(call.await.unwrap().into_body(), "before");
}

/// Dials when it becomes ready, unless the connection that it knows is still there. Its clones know
/// the one that it knew when they were made.
#[derive(Clone, Default)]
struct Dials {
    known: usize,
    /// The connection that is there.
    alive: Arc<AtomicUsize>,
    count: Arc<AtomicUsize>,
}

impl Service<Request<String>> for Dials {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let alive = self.alive.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.known, alive) != alive {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        std::future::ready(Ok(ok()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_knows_what_the_service_had_learned_when_a_request_last_waited() {
    let service = Dials::default();
    let [alive, dials] = [&service.alive, &service.count].map(Arc::clone);
    let cache = TokenCache::new(Endpoint::exclusive());
    let mut service = AuthLayer::new(cache.clone()).layer(service);
    for connection in 1..4 {
        // The connection is another, and there is no token.
        alive.store(connection, Ordering::SeqCst);
        if let Some(token) = cache.current() {
            cache.invalidate(&token);
        }
        let mut calls = Vec::new();
        for _ in 0..3 {
            let mut call = Box::pin(service.ready().await.unwrap().call(get(URI)));
            assert!(futures_util::poll!(&mut call).is_pending());
            calls.push(call);
        }
        for response in futures_util::future::join_all(calls).await {
            assert_eq!(response.unwrap().status(), 200);
        }
        assert_eq!(dials.load(Ordering::SeqCst), connection);
    }
}

#[test]
fn the_future_can_be_sent_to_another_thread_though_the_service_can_not_be_shared_by_two() {
    fn is_send<T: Send>(_: &T) {}
    // `Send`, and not `Sync`.
    let service: BoxCloneService<Request<String>, _, BoxError> =
        BoxCloneService::new(Named("boxed"));
    let mut service = AuthLayer::new(TokenCache::new(Endpoint::exclusive())).layer(service);
    is_send(&service);
    is_send(&service.call(get(URI)));
}
