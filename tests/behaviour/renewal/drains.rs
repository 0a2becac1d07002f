//! Requests are held, and those under way are waited for, so that none of them meets a 401.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use support::{Endpoint, Resource, Step, URI, get, settle};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, BoxError, RefreshPolicy, endpoint::Rotation};

use super::{cache, no_jitter};

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
