//! One request of a route that was refused goes first, and the others wait for what it finds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, Response};
use support::{Endpoint, Resource, URI, authorization, get, ok, settle, unauthorized};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::AuthLayer;

use super::{FORBIDDEN, SETTLED, cache};

#[tokio::test(start_paused = true)]
async fn an_accident_costs_a_second_send_and_no_renewal() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|number, _| if number == 2 { unauthorized() } else { ok() });
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let started = Instant::now();
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(resource.tokens(), ["Bearer token-1"; 3]);
    let counters = cache.counters();
    assert_eq!((counters.doubts, counters.doubts_cleared), (1, 1));
    assert_eq!((counters.same_token_retries, counters.replays), (1, 0));
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_request_of_a_route_is_the_probe_and_the_others_wait_for_it() {
    for clears in [true, false] {
        let endpoint = Endpoint::exclusive();
        let alive = Arc::new(AtomicBool::new(true));
        let is_alive = Arc::clone(&alive);
        let resource = Resource::new(move |_, request| {
            let token = authorization(request);
            let is_fine = token == "Bearer token-2" || is_alive.load(Ordering::SeqCst);
            if is_fine { ok() } else { unauthorized() }
        })
        .taking(Duration::from_millis(20));
        let cache = cache(&endpoint);
        let service = AuthLayer::new(cache.clone()).layer(resource.clone());
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        advance(SETTLED).await;
        alive.store(false, Ordering::SeqCst);
        let callers: Vec<_> =
            (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
        settle().await;
        advance(Duration::from_millis(20)).await;
        settle().await;
        assert_eq!(resource.seen().len(), 1 + 10 + 1, "one probe");
        alive.store(clears, Ordering::SeqCst);
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap().status(), 200);
        }
        let counters = cache.counters();
        assert_eq!((counters.doubts, counters.doubts_cleared), (1, u64::from(clears)));
        let expected = if clears { (1, 10, 0) } else { (2, 1, 10) };
        let seen = (endpoint.calls(), counters.same_token_retries, counters.replays);
        assert_eq!(seen, expected, "clears: {clears}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_goes_away_is_taken_over() {
    let endpoint = Endpoint::exclusive();
    let alive = Arc::new(AtomicBool::new(true));
    let is_alive = Arc::clone(&alive);
    let resource =
        Resource::new(
            move |_, _| if is_alive.load(Ordering::SeqCst) { ok() } else { unauthorized() },
        )
        .taking(Duration::from_millis(20));
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    alive.store(false, Ordering::SeqCst);
    let callers: Vec<_> = (0..5).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    advance(Duration::from_millis(20)).await;
    settle().await;
    alive.store(true, Ordering::SeqCst);
    let mut callers = callers.into_iter();
    // The first to be refused is the probe.
    callers.next().unwrap().abort();
    for caller in callers {
        let response = timeout(Duration::from_secs(1), caller).await.unwrap().unwrap().unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(endpoint.calls(), 1);
    assert_eq!((cache.counters().doubts, cache.counters().doubts_cleared), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_is_waited_for_two_seconds() {
    let endpoint = Endpoint::exclusive();
    let resource = tower::service_fn({
        let calls = Arc::new(AtomicUsize::new(0));
        move |request: Request<String>| {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                if number == 3 {
                    std::future::pending::<()>().await;
                }
                // The third request is the second to be refused, and waits for the probe.
                sleep(Duration::from_millis(if number == 2 { 30 } else { 20 })).await;
                let is_fine = number == 0 || authorization(&request) == "Bearer token-2";
                let response: Response<String> = if is_fine { ok() } else { unauthorized() };
                Ok::<_, tower_reauth::BoxError>(response)
            }
        }
    });
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache).layer(resource);
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let started = Instant::now();
    let probe = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    let waits = service.oneshot(get(URI)).await.unwrap();
    assert_eq!(waits.status(), 200);
    let waited = started.elapsed().as_secs_f64();
    // The patience of 2 s, and the drain of 2 s, because the probe is in flight.
    assert!((2.0..4.2).contains(&waited), "{waited}");
    assert_eq!(endpoint.calls(), 2);
    probe.abort();
}

/// A probe that nobody waits for takes as long as it takes, and other routes are asked all the
/// same.
#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_takes_no_probe_from_other_routes() {
    let endpoint = Endpoint::exclusive();
    let resource = tower::service_fn({
        let (polls, flaky) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        move |request: Request<String>| {
            let number = match request.uri().path() {
                "/events" => 10 + polls.fetch_add(1, Ordering::SeqCst),
                _ => flaky.fetch_add(1, Ordering::SeqCst),
            };
            async move {
                if number == 11 {
                    std::future::pending::<()>().await;
                }
                let is_refused = number == 10 || number == 1;
                let response: Response<String> = if is_refused { unauthorized() } else { ok() };
                Ok::<_, tower_reauth::BoxError>(response)
            }
        }
    });
    let service = AuthLayer::new(cache(&endpoint)).layer(resource);
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let events = tokio::spawn(service.clone().oneshot(get("https://api.example.com/events")));
    settle().await;
    advance(SETTLED).await;
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 1, "a probe has cleared it");
    events.abort();
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_by_another_route_acquits_nobody() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    // One route is public, and accepts whatever it is sent.
    let resource = Resource::new(|_, request| {
        let is_public = request.uri().path() == "/public";
        let is_fine = is_public || authorization(request) == "Bearer token-2";
        if is_fine { ok() } else { unauthorized() }
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
    let public = || get("https://api.example.com/public");
    assert_eq!(service.clone().oneshot(public()).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let callers = (0..20)
        .map(|number| service.clone().oneshot(if number % 2 == 0 { public() } else { get(URI) }));
    for response in join_all(callers).await {
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!((endpoint.calls(), cache.counters().doubts_cleared), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_finished_call_that_was_sent_again_is_pending_when_polled_again() {
    let resource = tower::service_fn({
        let calls = Arc::new(AtomicUsize::new(0));
        move |_: Request<String>| {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                let response: Response<String> = if number == 1 { unauthorized() } else { ok() };
                Ok::<_, tower_reauth::BoxError>(response)
            }
        }
    });
    let service = AuthLayer::new(cache(&Endpoint::exclusive())).layer(resource);
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let mut service = service;
    let mut call = tokio_test::task::spawn(tower::Service::call(&mut service, get(URI)));
    let response = loop {
        if let std::task::Poll::Ready(response) = call.poll() {
            break response.unwrap();
        }
        settle().await;
    };
    assert_eq!(response.status(), 200);
    tokio_test::assert_pending!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn at_an_overlapping_endpoint_there_is_no_probe_and_routes_are_remembered() {
    let endpoint = Endpoint::overlapping();
    let cache = cache(&endpoint);
    let resource =
        Resource::new(
            |_, request| {
                if request.uri().path() == "/forbidden" { unauthorized() } else { ok() }
            },
        );
    let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    for _ in 0..20 {
        assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!((endpoint.calls(), cache.counters().doubts), (2, 0));
}
