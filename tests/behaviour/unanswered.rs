//! A request for a token that is never answered: it may have killed the token in use, and one
//! request finds out for all.

use std::{
    future::{Pending, pending},
    io,
    task::{Context, Poll},
    time::Duration,
};

use support::{Endpoint, Resource, Step, URI, authorization, get, ok, settle, unauthorized};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, BoxError, RefreshPolicy, TokenCache};

const FORBIDDEN: &str = "https://api.example.com/forbidden";

/// A cache whose token a resource has accepted, and whose next requests for one hang.
async fn accepted(endpoint: &Endpoint, hanging: usize) -> TokenCache {
    let policy = RefreshPolicy::default().jitter(0.0);
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    let service = AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| ok()));
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    for _ in 0..hanging {
        endpoint.then(Step::Hang);
    }
    cache
}

/// Sends a request, and returns its status and how long it took.
fn call(
    cache: &TokenCache,
    resource: &Resource,
    uri: &'static str,
) -> JoinHandle<(Result<u16, String>, Duration)> {
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    tokio::spawn(async move {
        let started = Instant::now();
        let response = service.oneshot(get(uri)).await;
        let status = response.map(|it| it.status().as_u16()).map_err(|error| error.to_string());
        (status, started.elapsed())
    })
}

/// Refuses everything at one address, and accepts any token at all others.
fn partly_forbidden() -> Resource {
    Resource::new(|_, request| match request.uri().path() {
        "/forbidden" => unauthorized(),
        _ => ok(),
    })
    .taking(Duration::from_millis(20))
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_after_its_hold_is_tried_by_one_request_when_the_attempt_ends() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 1).await;
    let resource = Resource::accepting("token-3").taking(Duration::from_millis(20));
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let mut callers: Vec<_> = (0..10).map(|_| call(&cache, &resource, URI)).collect();
    sleep(Duration::from_secs(5)).await;
    callers.push(call(&cache, &resource, URI));
    for caller in callers {
        let (status, took) = caller.await.unwrap();
        assert_eq!(status, Ok(200));
        assert!(took <= Duration::from_millis(10_500), "{took:?}");
    }
    let old = resource.tokens().into_iter().filter(|token| token == "Bearer token-1").count();
    assert_eq!((old, cache.counters().unauthorized), (2, 2), "one went first in each attempt");
    assert_eq!(endpoint.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_more_request_goes_first_in_each_further_attempt() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 2).await;
    let resource = Resource::accepting("token-4").taking(Duration::from_millis(20));
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let callers: Vec<_> = (0..10).map(|_| call(&cache, &resource, URI)).collect();
    for (seconds, sent, calls) in [(9, 1, 2), (2, 2, 3), (8, 2, 3)] {
        sleep(Duration::from_secs(seconds)).await;
        assert_eq!((resource.seen().len(), endpoint.calls()), (sent, calls));
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap().0, Ok(200));
    }
    assert_eq!((cache.counters().unauthorized, endpoint.calls()), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_the_first_request_keeps_the_token_from_the_others_for_one_attempt()
{
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 1000).await;
    let resource = partly_forbidden();
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let forbidden = call(&cache, &resource, FORBIDDEN);
    settle().await;
    let callers: Vec<_> = (0..10).map(|_| call(&cache, &resource, URI)).collect();
    for caller in callers {
        let (status, took) = caller.await.unwrap();
        assert_eq!(status, Ok(200));
        assert!(took <= Duration::from_millis(11_200), "{took:?}");
    }
    // From here on the token serves all, whatever becomes of its successor.
    for _ in 0..1000 {
        let (status, took) = call(&cache, &resource, URI).await.unwrap();
        assert!(status == Ok(200) && took <= Duration::from_millis(1200), "{status:?} {took:?}");
        sleep(Duration::from_millis(100)).await;
    }
    forbidden.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_replayed_lets_others_try_the_token() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 1).await;
    let resource = Resource::accepting("token-3").taking(Duration::from_millis(20));
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let service = AuthLayer::new(cache.clone()).without_replay().layer(resource.clone());
    let fragile: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    let others: Vec<_> = (0..2).map(|_| call(&cache, &resource, URI)).collect();
    for caller in fragile {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
    for caller in others {
        assert_eq!(caller.await.unwrap().0, Ok(200));
    }
    assert_eq!(cache.counters().unauthorized, 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_to_an_earlier_request_acquits_no_token_that_was_refused_since() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 1).await;
    // The token dies when the one that went first has been authenticated and not yet answered.
    let slow = Resource::new(|_, _| ok()).taking(Duration::from_millis(500));
    let resource = Resource::accepting("token-3").taking(Duration::from_millis(20));
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let first = call(&cache, &slow, URI);
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    assert_eq!(slow.seen().len(), 1);
    sleep(Duration::from_millis(150)).await;
    let refused = call(&cache, &resource, URI);
    sleep(Duration::from_millis(400)).await;
    assert_eq!(first.await.unwrap().0, Ok(200));
    let later = call(&cache, &resource, URI);
    settle().await;
    assert_eq!(resource.seen().len(), 1, "the other one waits");
    assert_eq!((refused.await.unwrap().0, later.await.unwrap().0), (Ok(200), Ok(200)));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_the_first_request_keeps_no_other_longer_than_the_endpoint_takes() {
    for fails in [true, false] {
        let endpoint = Endpoint::exclusive();
        let cache = accepted(&endpoint, 0).await;
        endpoint.answer_after(Duration::from_secs(3));
        for _ in 0..100 {
            let failure = if fails { AuthError::transient } else { AuthError::rejected };
            endpoint.then(Step::Fail(failure("it issues none")));
        }
        let _refresh = tokio::spawn(cache.refresh());
        settle().await;
        let resource = partly_forbidden();
        let forbidden = call(&cache, &resource, FORBIDDEN);
        settle().await;
        let callers: Vec<_> = (0..10).map(|_| call(&cache, &resource, URI)).collect();
        for caller in callers {
            let (status, took) = caller.await.unwrap();
            let is_soon = took <= Duration::from_millis(3200);
            assert!(status == Ok(200) && is_soon, "{status:?} {took:?}");
        }
        forbidden.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_after_a_lost_answer_is_served_on_while_the_endpoint_fails() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 0).await;
    endpoint.then(Step::Fail(AuthError::invalid_response("no token in it")));
    for _ in 0..1000 {
        endpoint.then(Step::Fail(AuthError::rejected("a wrong secret")));
    }
    assert!(cache.refresh().await.is_err());
    let resource = partly_forbidden();
    sleep(Duration::from_secs(1)).await;
    endpoint.answer_after(Duration::from_millis(100));
    let forbidden = call(&cache, &resource, FORBIDDEN);
    sleep(Duration::from_millis(50)).await;
    let callers: Vec<_> = (0..10).map(|_| call(&cache, &resource, URI)).collect();
    assert_eq!(forbidden.await.unwrap().0, Ok(401));
    for caller in callers {
        assert_eq!(caller.await.unwrap().0, Ok(200));
    }
}

/// Has all attempts of a flight end without a token, after those that went first were refused.
async fn forsaken(endpoint: &Endpoint) -> TokenCache {
    let cache = accepted(endpoint, 1).await;
    endpoint.then(Step::Fail(AuthError::rejected("a wrong secret")));
    for _ in 0..1000 {
        endpoint.then(Step::Fail(AuthError::rejected("a wrong secret")));
    }
    let refresh = tokio::spawn(cache.refresh());
    settle().await;
    let first = call(&cache, &partly_forbidden(), FORBIDDEN);
    assert!(refresh.await.unwrap().unwrap_err().is_rejected());
    assert_eq!(first.await.unwrap().0, Ok(401));
    cache
}

#[tokio::test(start_paused = true)]
async fn while_the_endpoint_is_left_alone_one_request_goes_with_a_token_that_was_refused() {
    let endpoint = Endpoint::exclusive();
    let cache = forsaken(&endpoint).await;
    let resource = Resource::accepting("none").taking(Duration::from_millis(20));
    for _ in 0..100 {
        let status = call(&cache, &resource, URI).await.unwrap().0;
        assert!(status.is_err() || status == Ok(401), "{status:?}");
        sleep(Duration::from_millis(50)).await;
    }
    let sent = resource.seen().len();
    assert!((5..=7).contains(&sent), "{sent} were sent in 5 to 7 s");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refused_the_first_request_takes_a_good_token_from_nobody_for_long() {
    for replays in [true, false] {
        let endpoint = Endpoint::exclusive();
        let cache = forsaken(&endpoint).await;
        let resource = partly_forbidden();
        let layer = AuthLayer::new(cache.clone());
        let service = layer.layer(resource.clone());
        let without_replay = layer.without_replay().layer(resource.clone());
        let (started, mut served) = (Instant::now(), None);
        while started.elapsed() < Duration::from_secs(60) {
            let response = if replays {
                service.clone().oneshot(get(URI)).await
            } else {
                without_replay.clone().oneshot(get(URI)).await
            };
            let is_served = response.is_ok_and(|response| response.status() == 200);
            assert!(is_served || served.is_none(), "it is served on once it was accepted");
            served = served.or(is_served.then(|| started.elapsed()));
            sleep(Duration::from_millis(100)).await;
        }
        assert!(served.is_some_and(|after| after <= Duration::from_secs(1)), "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_refused_within_the_hold_gives_the_token_back() {
    let endpoint = Endpoint::exclusive();
    let cache = accepted(&endpoint, 0).await;
    endpoint.then(Step::Fail(AuthError::transient("503")));
    let resource = Resource::new(|_, request| {
        if authorization(request) == "Bearer token-1" { ok() } else { unauthorized() }
    });
    assert!(cache.refresh().await.is_err());
    assert_eq!(call(&cache, &resource, URI).await.unwrap().0, Ok(200));
    assert_eq!(endpoint.calls(), 2);
}

/// Has a flight in progress whose hold has timed out, and in which the request that went first was
/// refused, 1.5 s after the flight began.
async fn refused_after_hold(endpoint: &Endpoint, resource: &Resource) -> TokenCache {
    let cache = accepted(endpoint, 1000).await;
    drop(tokio::spawn(cache.refresh()));
    settle().await;
    drop(call(&cache, resource, FORBIDDEN));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(resource.seen().len(), 1);
    cache
}

/// Has `n` requests wait that are accepted. Returns how long they took at most.
async fn longest_wait(cache: &TokenCache, resource: &Resource, n: usize) -> Duration {
    let callers: Vec<_> = (0..n).map(|_| call(cache, resource, URI)).collect();
    let mut longest = Duration::ZERO;
    for caller in callers {
        let (status, took) = caller.await.unwrap();
        assert_eq!(status, Ok(200));
        longest = longest.max(took);
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_sends_no_request_does_not_try_the_token() {
    for waits in [true, false] {
        let endpoint = Endpoint::exclusive();
        let resource = partly_forbidden();
        let cache = refused_after_hold(&endpoint, &resource).await;
        if !waits {
            // It comes when the token may be tried at once.
            sleep(Duration::from_millis(10_500)).await;
        }
        let token = tokio::spawn(cache.token());
        let warm_up = tokio::spawn(cache.warm_up());
        settle().await;
        assert!(!token.is_finished() && !warm_up.is_finished());
        let longest = longest_wait(&cache, &resource, 5).await;
        let most = if waits { 10_700 } else { 50 };
        assert!(longest <= Duration::from_millis(most), "waits: {waits}, {longest:?}");
        // The token was acquitted.
        assert!(token.await.unwrap().is_ok() && warm_up.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_endpoint_is_left_alone_a_caller_that_sends_no_request_gets_the_error() {
    let endpoint = Endpoint::exclusive();
    let cache = forsaken(&endpoint).await;
    assert!(cache.token().await.unwrap_err().is_rejected());
    assert!(cache.warm_up().await.unwrap_err().is_rejected());
    let (status, _) = call(&cache, &partly_forbidden(), URI).await.unwrap();
    assert_eq!(status, Ok(200));
}

/// A service that never becomes ready.
#[derive(Clone)]
struct Unready;

impl<B> Service<http::Request<B>> for Unready {
    type Response = http::Response<String>;
    type Error = BoxError;
    type Future = Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err("not ready".into()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_tries_the_token_and_tells_nothing_keeps_the_others_two_seconds_at_most() {
    for how in ["is dropped", "is answered 503", "fails", "is not ready"] {
        let endpoint = Endpoint::exclusive();
        let resource = partly_forbidden();
        let cache = refused_after_hold(&endpoint, &resource).await;
        let layer = AuthLayer::new(cache.clone());
        let silent = async move {
            match how {
                "is dropped" => {
                    let slow = Resource::new(|_, _| ok()).taking(Duration::from_secs(3600));
                    let send = layer.layer(slow).oneshot(get(URI));
                    assert!(timeout(Duration::from_millis(9800), send).await.is_err());
                }
                "is answered 503" => {
                    let service = layer.layer(Resource::new(|_, _| {
                        let mut response = ok();
                        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                        response
                    }));
                    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 503);
                }
                "fails" => {
                    let service = layer.layer(tower::service_fn(async |_: http::Request<_>| {
                        Err::<http::Response<String>, _>(io::Error::other("reset"))
                    }));
                    service.oneshot(get(URI)).await.unwrap_err();
                }
                _ => {
                    // The layer's own service is asked first, and is ready.
                    let mut service = layer.layer(Unready);
                    service.call(get(URI)).await.unwrap_err();
                }
            }
        };
        let silent = tokio::spawn(silent);
        settle().await;
        // The attempt ends after 10 s in all, and the one that has waited longest tries the token.
        let longest = longest_wait(&cache, &resource, 5).await;
        silent.await.unwrap();
        let most = if how == "is not ready" { 9000 } else { 10_700 };
        assert!(longest <= Duration::from_millis(most), "one {how}: {longest:?}");
    }
}
