//! A request for a token that is never answered: it may have killed the token in use, and one
//! request finds out for all.

use std::time::Duration;

use support::{Endpoint, Resource, Step, URI, authorization, get, ok, settle, unauthorized};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, RefreshPolicy, TokenCache};

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
