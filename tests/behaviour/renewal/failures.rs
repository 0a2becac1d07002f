//! Renewals that fail, come late, or bring nothing: what the token in use is good for then.

use std::time::Duration;

use support::{Endpoint, Resource, Step, URI, get, settle};
use tokio::time::{Instant, advance, sleep};
use tokio_test::task;
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, endpoint::Rotation};

use super::{cache, no_jitter};

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_while_its_renewal_is_under_way_costs_no_second_one() {
    for rotation in [Rotation::Exclusive, Rotation::Overlapping] {
        let endpoint = Endpoint::new(rotation);
        let policy = no_jitter()
            .attempt_timeout(Duration::from_secs(300))
            .deadline(Duration::from_secs(300));
        let cache = cache(&endpoint, policy);
        cache.token().await.unwrap();
        advance(Duration::from_secs(240)).await;
        let gate = endpoint.gate();
        cache.token().await.unwrap();
        settle().await;
        advance(Duration::from_secs(60)).await;
        let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(cache.token())).collect();
        settle().await;
        gate.send(()).unwrap();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap().expose_secret(), "token-2");
        }
        assert_eq!(endpoint.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overlapping_token_goes_on_serving_while_its_renewal_fails() {
    let endpoint = Endpoint::overlapping();
    let cache = cache(&endpoint, no_jitter());
    cache.token().await.unwrap();
    advance(Duration::from_secs(240)).await;
    endpoint.then(Step::Fail(AuthError::rejected("not now")));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-1");
    settle().await;
    assert_eq!((endpoint.calls(), cache.counters().refreshes_failed), (2, 1));
    // Backing off: served without contact, then renewed.
    for _ in 0..4 {
        assert_eq!(cache.token().await.unwrap().expose_secret(), "token-1");
        settle().await;
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(endpoint.calls(), 2);
    advance(Duration::from_secs(1)).await;
    cache.token().await.unwrap();
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-3");
}

#[tokio::test(start_paused = true)]
async fn a_definite_failure_releases_the_hold_and_the_token_goes_on_serving() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let resource = Resource::accepting("token-1");
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(272)).await;
    endpoint.then(Step::Fail(AuthError::rejected("not now")));
    for _ in 0..10 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        settle().await;
    }
    assert_eq!((endpoint.calls(), cache.counters().refreshes_failed), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_the_token_suspect_and_its_first_401_renews_at_once() {
    let endpoint = Endpoint::exclusive();
    let policy = no_jitter()
        .attempt_timeout(Duration::from_secs(1))
        .retry_base(Duration::from_secs(20))
        .retry_cap(Duration::from_secs(20));
    let cache = cache(&endpoint, policy);
    let service = AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::ZERO));
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(240)).await;
    // The request for token-2 is carried out, and its answer lost: token-1 is dead, and nobody
    // knows.
    endpoint.then(Step::Hang);
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-1");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(endpoint.calls(), 2);
    assert_eq!(cache.current().unwrap().expose_secret(), "token-1", "still served");
    // Backing off for at least 10 s; the 401 does not wait for that.
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(cache.current().unwrap().expose_secret(), "token-3");
    let counters = cache.counters();
    assert_eq!(
        (counters.unauthorized_replaced, counters.unauthorized_foreign),
        (1, 0),
        "our own doing"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_holds_no_token_makes_the_old_one_suspect() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-3"));
    cache.token().await.unwrap();
    advance(Duration::from_secs(240)).await;
    endpoint.then(Step::Fail(AuthError::invalid_response("no token in it")));
    cache.token().await.unwrap();
    sleep(Duration::from_millis(900)).await;
    settle().await;
    assert_eq!(endpoint.calls(), 2);
    assert_eq!(cache.current().unwrap().expose_secret(), "token-1", "served on");
    // It was a token after all that was lost. The first 401 renews at once, in spite of back-off.
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 3);
    let counters = cache.counters();
    assert_eq!((counters.unauthorized_replaced, counters.unauthorized_foreign), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_result_is_not_touched_by_an_invalidation_of_the_token_before_it() {
    for rotation in [Rotation::Exclusive, Rotation::Overlapping] {
        let endpoint = Endpoint::new(rotation);
        let cache = cache(&endpoint, no_jitter());
        let old = cache.token().await.unwrap();
        let gate = endpoint.gate();
        let refresh = tokio::spawn(cache.refresh());
        settle().await;
        cache.invalidate(&old);
        gate.send(()).unwrap();
        assert_eq!(refresh.await.unwrap().unwrap().expose_secret(), "token-2");
        assert_eq!(cache.current().unwrap().expose_secret(), "token-2");
        assert!(!cache.invalidate(&old));
        assert_eq!(cache.current().unwrap().expose_secret(), "token-2");
        assert_eq!(endpoint.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_fallback_has_run_out_tries_again() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    cache.token().await.unwrap();
    advance(Duration::from_millis(294_900)).await;
    endpoint.then(Step::Late(Duration::from_millis(200), Duration::ZERO));
    endpoint.then(Step::Fail(AuthError::transient("503")));
    // Started while the token was good; it is not when the first attempt has failed.
    let refreshed = tokio::spawn(cache.refresh());
    settle().await;
    assert!(refreshed.await.unwrap().is_err());
    endpoint.then(Step::Fail(AuthError::transient("503")));
    advance(Duration::from_secs(31)).await;
    assert!(cache.token().await.unwrap().expose_secret().starts_with("token-"));
}

#[test]
fn a_due_renewal_on_a_runtime_that_nobody_drives_strands_nobody() {
    let endpoint = Endpoint::custom(Rotation::Exclusive, "token", Duration::from_secs(24 * 3600));
    let cache = cache(&endpoint, no_jitter());
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let (undriven, driven) = (paused(), paused());
    let token = undriven.block_on(async {
        let token = cache.token().await.unwrap();
        advance(Duration::from_secs(20 * 3600)).await;
        // Due: a renewal is started, and this runtime is not driven any more.
        assert!(task::spawn(cache.token()).poll().is_ready());
        token
    });
    driven.block_on(async {
        advance(Duration::from_secs(20 * 3600)).await;
        assert!(cache.invalidate(&token));
        let started = Instant::now();
        cache.token().await.unwrap();
        assert!(started.elapsed() <= Duration::from_secs(63), "{:?}", started.elapsed());
    });
}
