//! Renewing a token that is still good: when, and without a 401 of our own making.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use support::{Endpoint, Resource, Step, URI, get, settle};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, BoxError, RefreshPolicy, TokenCache, endpoint::Rotation};

fn cache(endpoint: &Endpoint, policy: RefreshPolicy) -> TokenCache {
    TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap()
}

/// Half-way between the earliest and the latest moment at which the renewal of a 300 s token is
/// due.
fn no_jitter() -> RefreshPolicy {
    RefreshPolicy::default().jitter(0.0)
}

/// An endpoint whose tokens last a minute. Under load, a minute takes a fifth of the time that the
/// usual 300 s take.
fn of_a_minute() -> Endpoint {
    Endpoint::custom(Rotation::Exclusive, "token", Duration::from_secs(60))
}

#[tokio::test(start_paused = true)]
async fn under_steady_load_no_caller_sees_a_401_and_no_killed_token_is_sent() {
    let endpoint = of_a_minute();
    endpoint.answer_after(Duration::from_millis(80));
    let cache = cache(&endpoint, RefreshPolicy::default());
    let service =
        AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::from_millis(30)));
    let until = Instant::now() + Duration::from_secs(450);
    let callers = (0..20).map(|caller| {
        let service = service.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(caller * 7)).await;
            while Instant::now() < until {
                assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
                sleep(Duration::from_millis(100)).await;
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let counters = cache.counters();
    assert_eq!(counters.unauthorized, 0, "{counters:?}");
    assert_eq!(counters.holds + 1, counters.tokens_issued, "{counters:?}");
    // 450 s of tokens renewed between 44 s and 54 s.
    assert!((9..=11).contains(&endpoint.calls()), "{}", endpoint.calls());
    assert!(counters.longest_hold <= Duration::from_millis(30 + 80 + 1), "{counters:?}");
    assert_eq!(counters.drains_timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn without_hold_the_same_load_meets_401s_on_the_wire_and_replays_them() {
    let endpoint = of_a_minute();
    endpoint.answer_after(Duration::from_millis(80));
    let cache = cache(&endpoint, RefreshPolicy::default().without_hold());
    let service =
        AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::from_millis(30)));
    let until = Instant::now() + Duration::from_secs(120);
    while Instant::now() < until {
        let answers = join_all((0..20).map(|_| service.clone().oneshot(get(URI)))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 200));
        sleep(Duration::from_millis(20)).await;
    }
    let counters = cache.counters();
    assert!(
        counters.unauthorized_replaced > 0 && counters.unauthorized_foreign == 0,
        "{counters:?}"
    );
    assert_eq!((counters.holds, counters.replays), (0, counters.unauthorized));
}

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
async fn at_the_end_of_the_window_requests_under_way_are_waited_for() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let latency = Duration::from_secs(1);
    let service = AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, latency));
    let until = Instant::now() + Duration::from_secs(300);
    // Two callers that relieve each other: there is no quiet moment.
    let callers = [Duration::ZERO, latency / 2].map(|offset| {
        let service = service.clone();
        tokio::spawn(async move {
            sleep(offset).await;
            while Instant::now() < until {
                assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
            }
        })
    });
    sleep(Duration::from_secs(270)).await;
    assert_eq!(endpoint.calls(), 1, "the window ends at 92 % of 295 s");
    for caller in callers {
        caller.await.unwrap();
    }
    let counters = cache.counters();
    assert_eq!((endpoint.calls(), counters.unauthorized, counters.drains_timed_out), (2, 0, 0));
    assert!(
        counters.longest_drain > Duration::from_millis(400) && counters.longest_drain <= latency,
        "{counters:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn hold_and_drain_never_exceed_their_bounds_whatever_a_resource_does() {
    let endpoint = Endpoint::exclusive();
    let policy =
        no_jitter().drain_timeout(Duration::from_secs(1)).attempt_timeout(Duration::from_secs(3));
    let cache = cache(&endpoint, policy);
    let hangs = tower::service_fn(|_: Request<String>| {
        std::future::pending::<Result<http::Response<String>, BoxError>>()
    });
    let mut stuck = task::spawn(AuthLayer::new(cache.clone()).layer(hangs).oneshot(get(URI)));
    cache.token().await.unwrap();
    assert_pending!(stuck.poll());
    advance(Duration::from_secs(272)).await;
    // The endpoint hangs as well. The hold ends by its own bound, a second after the request for a
    // token, and a silence of 100 ms for the request that could go first.
    endpoint.then(Step::Hang);
    cache.token().await.unwrap();
    settle().await;
    let started = Instant::now();
    let held = cache.token().await.unwrap();
    assert_eq!(held.expose_secret(), "token-1", "nobody lost anything but time");
    assert_eq!(started.elapsed().as_millis(), 2100, "drain, hold and silence");
    let counters = cache.counters();
    assert_eq!((counters.drains_timed_out, counters.longest_drain.as_millis()), (1, 1000));
    assert_eq!((counters.holds_timed_out, counters.longest_hold.as_millis()), (1, 2000));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlives_the_drain_is_replayed() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter().drain_timeout(Duration::from_secs(1)));
    let latency = Duration::from_secs(10);
    let service = AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, latency));
    cache.token().await.unwrap();
    advance(Duration::from_secs(268)).await;
    let slow = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    cache.token().await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    let counters = cache.counters();
    assert_eq!(
        (counters.unauthorized_replaced, counters.replays, counters.drains_timed_out),
        (1, 1, 1)
    );
    assert_eq!(counters.unauthorized_foreign, 0, "our own doing");
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
async fn a_forced_refresh_drains_before_it_kills_the_token_in_use() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let service =
        AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::from_secs(1)));
    cache.token().await.unwrap();
    let under_way: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    let forced = tokio::spawn(cache.refresh());
    settle().await;
    let held = tokio::spawn(service.clone().oneshot(get(URI)));
    for request in under_way {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(forced.await.unwrap().unwrap().expose_secret(), "token-2");
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    assert_eq!(cache.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlived_one_drain_is_waited_for_in_the_next() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter().drain_timeout(Duration::from_secs(1)));
    let service = AuthLayer::new(cache.clone())
        .layer(Resource::accepting("token-1").taking(Duration::from_millis(2600)));
    cache.token().await.unwrap();
    let slow = tokio::spawn(service.oneshot(get(URI)));
    settle().await;
    endpoint.then(Step::Fail(AuthError::rejected("not now")));
    assert!(cache.refresh().await.unwrap_err().is_rejected(), "after a drain of one second");
    advance(Duration::from_secs(1)).await;
    let started = Instant::now();
    cache.refresh().await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(500),
        "waited for it again: {:?}",
        started.elapsed()
    );
    assert!(slow.is_finished());
    assert_eq!((cache.counters().drains_timed_out, cache.counters().unauthorized), (1, 0));
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

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_waited_for_up_to_the_very_end_of_the_token() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint, no_jitter());
    let service =
        AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::from_millis(1500)));
    cache.token().await.unwrap();
    advance(Duration::from_millis(294_900)).await;
    // The last that may be sent; the next one is 100 ms too late for that, and the token lives for
    // 5 s more.
    let last = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    advance(Duration::from_millis(200)).await;
    let next = tokio::spawn(service.oneshot(get(URI)));
    assert_eq!(last.await.unwrap().unwrap().status(), 200);
    assert_eq!(next.await.unwrap().unwrap().status(), 200);
    assert_eq!((endpoint.calls(), cache.counters().unauthorized), (2, 0));
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
