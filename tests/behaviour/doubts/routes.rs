//! Routes that refuse every token are remembered, and cost their neighbours nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use support::{Endpoint, Resource, URI, authorization, get, ok, unauthorized};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::AuthLayer;

use super::{FORBIDDEN, SETTLED, cache, resource};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_route_that_refuses_the_successor_too_costs_nothing_any_more() {
    for replays in [true, false] {
        let endpoint = Endpoint::exclusive();
        let cache = cache(&endpoint);
        let resource = resource(&endpoint);
        let auth = AuthLayer::new(cache.clone());
        let service = auth.clone().layer(resource.clone());
        let forbidden = async || {
            let request = get(FORBIDDEN);
            if replays {
                auth.clone().layer(resource.clone()).oneshot(request).await.unwrap().status()
            } else {
                let auth = auth.clone().without_replay();
                auth.layer(resource.clone()).oneshot(request).await.unwrap().status()
            }
        };
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        advance(SETTLED).await;
        for _ in 0..5 {
            assert_eq!(forbidden().await, 401);
            assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
            advance(SETTLED).await;
        }
        let calls = endpoint.calls();
        assert!(calls <= 3, "{calls} requests for tokens, replays: {replays}");
        // From here on its 401s come at once, and each is sent once.
        for _ in 0..9 {
            let (seen, started) = (resource.seen().len(), Instant::now());
            assert_eq!(forbidden().await, 401);
            assert_eq!((resource.seen().len() - seen, started.elapsed()), (1, Duration::ZERO));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(endpoint.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_accepts_a_token_is_forgotten() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let granted = Arc::new(AtomicBool::new(false));
    let (is_granted, endpoint_of) = (Arc::clone(&granted), endpoint.clone());
    let resource = Resource::new(move |_, request| {
        let alive = format!("Bearer token-{}", endpoint_of.calls());
        let has_right = request.uri().path() != "/forbidden" || is_granted.load(Ordering::SeqCst);
        if has_right && authorization(request) == alive { ok() } else { unauthorized() }
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
    granted.store(true, Ordering::SeqCst);
    assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 200);
    // A refusal of a route that is not remembered is looked into again.
    advance(SETTLED).await;
    let doubts = cache.counters().doubts;
    granted.store(false, Ordering::SeqCst);
    assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
    assert_eq!(cache.counters().doubts, doubts + 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_is_remembered_even_if_its_requests_are_not_kept() {
    let endpoint = Endpoint::exclusive();
    let auth = AuthLayer::new(cache(&endpoint)).without_replay();
    let service = auth.layer(resource(&endpoint).forgetful());
    // An hour less a second, so that the last renewal for its age is over.
    for _ in 0..3599 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
        advance(Duration::from_secs(1)).await;
    }
    // One to begin with, 15 or so that are due, and 2 for the route. Its first 401 tells no route.
    let calls = endpoint.calls();
    assert!(calls <= 18, "{calls} requests for tokens");
}

/// What a route that refuses everything costs ten callers of another, whose bodies can't be sent
/// again, in an hour: 200s, 401s, and requests for tokens.
async fn beside_a_route_that_refuses(every: Option<Duration>, slugs: usize) -> (u32, u32, usize) {
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(Duration::from_millis(50));
    let cache = cache(&endpoint);
    let healthy = Resource::of(&endpoint, Duration::from_secs(1)).forgetful();
    let uploads = AuthLayer::new(cache.clone()).without_replay().layer(healthy);
    let mean = Resource::new(|_, _| unauthorized()).forgetful();
    let mean = AuthLayer::new(cache.clone()).layer(mean);
    let until = Instant::now() + HOUR;
    let callers: Vec<_> = (0..10)
        .map(|number| {
            let uploads = uploads.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(number * 97)).await;
                let (mut good, mut bad) = (0, 0);
                while Instant::now() < until {
                    match uploads.clone().oneshot(get(URI)).await.unwrap().status().as_u16() {
                        200 => good += 1,
                        _ => bad += 1,
                    }
                }
                (good, bad)
            })
        })
        .collect();
    if let Some(every) = every {
        let mut number = 0;
        while Instant::now() < until {
            let uri = format!("https://api.example.com/forbidden/{}", "x".repeat(number % slugs));
            let refused = mean.clone();
            tokio::spawn(async move { refused.oneshot(get(&uri)).await.unwrap() });
            number += 1;
            sleep(every).await;
        }
    }
    let (mut good, mut bad) = (0, 0);
    for caller in callers {
        let (its_good, its_bad) = caller.await.unwrap();
        (good, bad) = (good + its_good, bad + its_bad);
    }
    (good, bad, endpoint.calls())
}

#[tokio::test(start_paused = true)]
async fn a_route_that_refuses_everything_costs_its_neighbours_no_401_at_any_rate() {
    let (_, bad, alone) = beside_a_route_that_refuses(None, 1).await;
    assert_eq!(bad, 0);
    for every in [0.2, 40.0, 400.0] {
        let every = Duration::from_secs_f64(every);
        let (good, bad, posts) = beside_a_route_that_refuses(Some(every), 1).await;
        assert_eq!(bad, 0, "one in {every:?}");
        assert!(good > 30_000, "one in {every:?}: {good}");
        assert!(posts <= alone + 5, "one in {every:?}: {posts} POSTs, {alone} without");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_paths_that_refuse_cost_their_neighbours_no_401() {
    let (good, bad, posts) = beside_a_route_that_refuses(Some(Duration::from_secs(1)), 1000).await;
    assert_eq!(bad, 0);
    assert!(good > 25_000 && posts < 190, "{good} 200s, {posts} POSTs");
}
