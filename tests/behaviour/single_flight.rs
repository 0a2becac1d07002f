//! One request for a token at a time, shared by all who need it.

use std::time::Duration;

use futures_util::future::join_all;
use support::{Endpoint, Resource, Step, URI, get, ok, settle, unauthorized};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, TokenCache, endpoint::Rotation};

fn cache(endpoint: &Endpoint) -> TokenCache {
    TokenCache::new(endpoint.clone())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_concurrent_callers_share_one_request_and_its_token() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = cache(&endpoint);
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(cache.token())).collect();
    settle().await;
    gate.send(()).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().expose_secret(), "token-1");
    }
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(cache.counters().joined, 99);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_share_one_failed_flight_and_its_error() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Fail(AuthError::rejected("no such client")));
    let cache = cache(&endpoint);
    let results = join_all((0..100).map(|_| cache.token())).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(AuthError::is_rejected)));
    assert_eq!(endpoint.calls(), 1, "one attempt for all, not one each");
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_repeated_within_the_one_flight() {
    let endpoint = Endpoint::exclusive();
    endpoint
        .then(Step::Fail(AuthError::transient("reset")))
        .then(Step::Fail(AuthError::transient("reset")));
    let cache = cache(&endpoint);
    let results = join_all((0..100).map(|_| cache.token())).await;
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().is_ok_and(|token| token.expose_secret() == "token-3"))
    );
    assert_eq!(endpoint.calls(), 3);
    assert_eq!(cache.counters().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_later_caller_joins_the_flight_under_way() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = cache(&endpoint);
    let mut leader = task::spawn(cache.token());
    assert_pending!(leader.poll());
    settle().await;
    assert_eq!(endpoint.calls(), 1);
    let mut late = task::spawn(cache.token());
    assert_pending!(late.poll());
    gate.send(()).unwrap();
    settle().await;
    assert!(leader.is_woken() && late.is_woken());
    let leaders = assert_ready!(leader.poll()).unwrap();
    let lates = assert_ready!(late.poll()).unwrap();
    assert_eq!(leaders.sequence(), lates.sequence());
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_queued_waiter_takes_the_leaders_token_without_a_second_request() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = cache(&endpoint);
    let leader = tokio::spawn(cache.token());
    let waiter = tokio::spawn(cache.token());
    settle().await;
    gate.send(()).unwrap();
    let leaders = leader.await.unwrap().unwrap();
    let waiters = waiter.await.unwrap().unwrap();
    assert_eq!((leaders.expose_secret(), waiters.expose_secret()), ("token-1", "token-1"));
    assert_eq!((endpoint.calls(), cache.counters().refreshes), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_serves_a_thousand_tasks_without_a_request_or_a_wait() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { task::spawn(cache.token()).poll().is_ready() })
        })
        .collect();
    for at_once in tasks {
        assert!(at_once.await.unwrap(), "ready at the first poll");
    }
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_sources_never_swap_tokens() {
    let (a, b) = (
        Endpoint::custom(Rotation::Exclusive, "a", Duration::from_secs(1)),
        Endpoint::custom(Rotation::Overlapping, "b", Duration::from_secs(2)),
    );
    let (of_a, of_b) = (cache(&a), cache(&b));
    for _ in 0..20 {
        let (tokens_a, tokens_b) = tokio::join!(
            join_all((0..10).map(|_| of_a.token())),
            join_all((0..10).map(|_| of_b.token()))
        );
        assert!(
            tokens_a.iter().all(|token| token.as_ref().unwrap().expose_secret().starts_with("a-"))
        );
        assert!(
            tokens_b.iter().all(|token| token.as_ref().unwrap().expose_secret().starts_with("b-"))
        );
        // Both have the same sequence number at first; one's token must not invalidate the other's.
        assert!(!of_b.invalidate(tokens_a[0].as_ref().unwrap()));
        tokio::time::advance(Duration::from_millis(700)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn several_layers_clones_and_services_over_one_cache_make_one_request() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    tokio::time::advance(Duration::from_secs(301)).await;
    let resource = Resource::accepting("token-2");
    let layers =
        [AuthLayer::new(cache.clone()), AuthLayer::new(cache.clone()), AuthLayer::new(cache)];
    let mut calls = Vec::new();
    for layer in layers {
        let service = layer.clone().layer(resource.clone());
        calls.push(tokio::spawn(service.clone().oneshot(get(URI))));
        calls.push(tokio::spawn(service.oneshot(get(URI))));
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(endpoint.calls(), 2, "one before the expiry, one after");
}

#[tokio::test(start_paused = true)]
async fn a_401_during_a_refresh_for_expiry_joins_it() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    let (arrived, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    // The first request is answered late, with a 401, when the token has long expired.
    let slow = tower::service_fn(move |request: http::Request<String>| {
        let wait = wait.lock().unwrap().take();
        async move {
            if let Some(wait) = wait {
                let _ = wait.await;
                return Ok::<_, tower_reauth::BoxError>(unauthorized());
            }
            assert_eq!(support::authorization(&request), "Bearer token-2");
            Ok(ok())
        }
    });
    let slow = tower::util::BoxCloneService::new(tower::buffer::Buffer::new(slow, 8));
    let mut service = AuthLayer::new(cache.clone()).layer(slow);
    let in_flight = tokio::spawn(service.ready().await.unwrap().call(get(URI)));
    settle().await;
    tokio::time::advance(Duration::from_secs(300)).await;
    let gate = endpoint.gate();
    let expired = tokio::spawn(cache.token());
    settle().await;
    arrived.send(()).unwrap();
    settle().await;
    gate.send(()).unwrap();
    assert_eq!(expired.await.unwrap().unwrap().expose_secret(), "token-2");
    assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_token_of_its_flight_and_never_reads_the_cache_again() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = cache(&endpoint);
    let mut slow = task::spawn(cache.token());
    assert_pending!(slow.poll());
    settle().await;
    gate.send(()).unwrap();
    let quick = cache.token().await.unwrap();
    // What the cache says now is no longer what the flight brought.
    assert!(cache.invalidate(&quick));
    assert!(cache.current().is_none());
    let token = assert_ready!(slow.poll()).unwrap();
    assert_eq!(token.expose_secret(), "token-1");
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_for_tokens_never_overlap_on_the_wire() {
    let endpoint = Endpoint::custom(Rotation::Exclusive, "token", Duration::from_secs(1));
    let cache = cache(&endpoint);
    let churn = (0..200).map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move {
            for round in number..number + 5 {
                let token =
                    if round % 7 == 0 { cache.refresh().await } else { cache.token().await }
                        .unwrap();
                if round % 3 == 0 {
                    cache.invalidate(&token);
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        })
    });
    for result in join_all(churn).await {
        result.unwrap();
    }
    assert!(endpoint.calls() > 2);
    assert_eq!(endpoint.most_under_way(), 1);
}
