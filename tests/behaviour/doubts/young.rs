//! A token that its resource may not know yet is tried again.

use std::{sync::Arc, time::Duration};

use support::{Endpoint, Resource, Step, URI, get, ok, settle, unauthorized};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, TokenCache};

use super::cache;

#[tokio::test(start_paused = true)]
async fn a_token_that_its_resource_does_not_know_yet_is_tried_again_and_not_replaced() {
    for rotation in [Endpoint::exclusive, Endpoint::overlapping] {
        let endpoint = rotation();
        let cache = cache(&endpoint);
        let started = Instant::now();
        let resource = Resource::new(move |_, _| {
            if started.elapsed() < Duration::from_millis(1500) { unauthorized() } else { ok() }
        });
        let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
        for _ in 0..60 {
            assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
            sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(endpoint.calls(), 1);
        assert_eq!(cache.counters().same_token_retries, 5, "after 50, 150, 300, 500 and 1000 ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_young_token_is_kept_for_a_body_that_can_not_be_sent_again() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone())
        .without_replay()
        .layer(Resource::new(|number, _| if number == 1 { unauthorized() } else { ok() }));
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 401);
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_young_token_that_is_really_dead_is_replaced_after_two_seconds() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let resource = Resource::accepting("token-2");
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let started = Instant::now();
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    assert_eq!((resource.seen().len(), endpoint.calls()), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_ends_the_tries_with_a_young_one() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let resource = Resource::accepting("token-2");
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let caller = tokio::spawn(service.oneshot(get(URI)));
    settle().await;
    assert_eq!(cache.refresh().await.unwrap().expose_secret(), "token-2");
    assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(cache.counters().replays, 1);
}

#[tokio::test(start_paused = true)]
async fn the_tries_with_a_young_token_end_while_the_endpoint_is_down() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    for _ in 0..1000 {
        endpoint.then(Step::Fail(AuthError::transient("down")));
    }
    let service = AuthLayer::new(cache).layer(Resource::new(|_, _| unauthorized()).forgetful());
    let response = timeout(Duration::from_secs(60), service.oneshot(get(URI))).await.unwrap();
    let response = response.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<AuthError>().unwrap().is_transient());
}

/// Without timers no pause would ever end.
#[test]
fn a_runtime_without_timers_takes_no_pause() {
    let (endpoint, cache) = (Endpoint::exclusive(), Arc::new(std::sync::OnceLock::new()));
    let with_timers =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let without = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = TokenCache::builder(endpoint.clone()).runtime(with_timers.handle().clone());
    let cache = cache.get_or_init(|| made.build().unwrap());
    let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-2"));
    let response = without.block_on(service.oneshot(get(URI))).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(endpoint.calls(), 2);
}
