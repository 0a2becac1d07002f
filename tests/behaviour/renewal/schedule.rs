//! When a token is renewed: once a period, spread over instances, and in a quiet moment.

use std::time::Duration;

use support::{Endpoint, Resource, Step, URI, get, settle};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, RefreshPolicy, TokenCache, endpoint::Rotation};

use super::{cache, no_jitter};

#[tokio::test(start_paused = true)]
async fn a_token_under_steady_load_is_renewed_once_per_period() {
    for rotation in [Rotation::Exclusive, Rotation::Overlapping] {
        let endpoint = Endpoint::new(rotation);
        let cache = cache(&endpoint, no_jitter());
        for _ in 0..3600 * 10 {
            cache.token().await.unwrap();
            advance(Duration::from_millis(100)).await;
        }
        // Due at 80 % of 295 s.
        let expected = 3600.0 / 236.0;
        let calls = endpoint.calls() as f64;
        assert!(
            (calls - expected).abs() <= 1.0,
            "{rotation:?}: {calls} requests for tokens, {expected} expected"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_windows_follow_when_the_life_of_tokens_changes() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    endpoint
        .then(Step::IssueFor(Duration::from_secs(10)))
        .then(Step::IssueFor(Duration::from_secs(1000)));
    cache.token().await.unwrap();
    advance(Duration::from_secs(8)).await;
    cache.token().await.unwrap();
    settle().await;
    advance(Duration::from_millis(100)).await;
    settle().await;
    assert_eq!(endpoint.calls(), 2, "80 % of 10 s");
    advance(Duration::from_secs(700)).await;
    cache.token().await.unwrap();
    settle().await;
    assert_eq!(endpoint.calls(), 2);
    advance(Duration::from_secs(100)).await;
    cache.token().await.unwrap();
    advance(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(endpoint.calls(), 3, "80 % of 1000 s");
}

#[tokio::test(start_paused = true)]
async fn instances_with_the_same_expiry_spread_their_renewals() {
    let mut due = Vec::new();
    for _ in 0..200 {
        let endpoint = Endpoint::overlapping();
        let cache = cache(&endpoint, RefreshPolicy::default());
        let started = Instant::now();
        cache.token().await.unwrap();
        advance(Duration::from_secs(200)).await;
        while endpoint.calls() < 2 {
            cache.token().await.unwrap();
            settle().await;
            advance(Duration::from_secs(1)).await;
        }
        due.push(started.elapsed().as_secs());
    }
    due.sort_unstable();
    let (first, last) = (due[0], due[due.len() - 1]);
    assert!((220..=226).contains(&first) && (247..=253).contains(&last), "{first} {last}");
    let middle = due.iter().filter(|due| (230..244).contains(*due)).count();
    assert!((50..150).contains(&middle), "{middle} of 200 in the middle half");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_moment_is_taken_before_anybody_has_to_be_held() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let latency = Duration::from_millis(500);
    let service = AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, latency));
    service.clone().oneshot(get(URI)).await.unwrap();
    advance(Duration::from_secs(240)).await;
    // Under way when the renewal is due: it waits.
    let under_way = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    sleep(latency / 2).await;
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    // Nobody is: it is made, long before the window ends.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(endpoint.calls(), 2);
    let counters = cache.counters();
    assert_eq!((counters.unauthorized, counters.longest_drain), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn keeping_warm_renews_without_traffic_until_the_last_handle_is_gone() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone())
        .keep_warm(true)
        .refresh_policy(no_jitter())
        .build()
        .unwrap();
    assert_eq!(endpoint.calls(), 0);
    cache.token().await.unwrap();
    endpoint.then(Step::Fail(AuthError::rejected("once")));
    sleep(Duration::from_secs(3600)).await;
    let expected = 3600 / 236 + 2;
    assert!(
        endpoint.calls().abs_diff(expected) <= 1,
        "{} requests for tokens, {expected} expected",
        endpoint.calls()
    );
    assert!(cache.current().is_some());
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), 1);
    drop(cache);
    settle().await;
    assert_eq!((alive(), endpoint.handles()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_new_token_does_not_wait_for_a_quiet_moment() {
    for refused in [true, false] {
        let endpoint = Endpoint::exclusive();
        let cache = cache(&endpoint, no_jitter());
        let service = AuthLayer::new(cache.clone())
            .layer(Resource::accepting("token-1").taking(Duration::from_secs(100)));
        let token = cache.token().await.unwrap();
        advance(Duration::from_secs(240)).await;
        // There is no quiet moment before 271 s.
        let under_way = tokio::spawn(service.oneshot(get(URI)));
        settle().await;
        cache.token().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(endpoint.calls(), 1, "looking for a quiet moment");
        let started = Instant::now();
        let newer = if refused {
            assert!(cache.invalidate(&token));
            cache.token().await
        } else {
            cache.refresh().await
        };
        assert_eq!(newer.unwrap().expose_secret(), "token-2");
        // A refused token may live all the same, so the requests in flight are drained in both
        // cases.
        let bound = Duration::from_millis(2001);
        assert!(started.elapsed() <= bound, "refused: {refused}, {:?}", started.elapsed());
        under_way.abort();
    }
}

/// Requests come at the pace of the checks for an idle moment, and each check would meet one.
#[tokio::test(start_paused = true)]
async fn periodic_traffic_does_not_hide_its_idle_moments() {
    let endpoint = Endpoint::exclusive();
    let policy = RefreshPolicy::default().jitter(0.0);
    let cache = cache(&endpoint, policy);
    let resource = Resource::of(&endpoint, Duration::from_millis(400)).forgetful();
    let service = AuthLayer::new(cache.clone()).layer(resource);
    // Due at 236 s, held from 271.4 s on, and about 64 checks between: one in 545 ms.
    let step = Duration::from_millis(540);
    let started = Instant::now();
    for number in 0..500 {
        tokio::time::sleep_until(started + step * number).await;
        let service = service.clone();
        tokio::spawn(async move { service.oneshot(get(URI)).await.unwrap() });
        if endpoint.calls() == 2 {
            let renewed = started.elapsed().as_secs_f64();
            assert!((236.0..260.0).contains(&renewed), "{renewed}");
            return;
        }
    }
    panic!("no renewal");
}
