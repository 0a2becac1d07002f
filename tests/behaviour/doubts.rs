//! Whose fault a 401 is: the token's, or that of the resource that sent it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, Response};
use support::{
    Endpoint, Resource, Step, URI, authorization, get, known_at_once, ok, settle, unauthorized,
};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer, RefreshPolicy, TokenCache};

const FORBIDDEN: &str = "https://api.example.com/forbidden";
const HOUR: Duration = Duration::from_secs(3600);

/// Past the time in which a token is young.
const SETTLED: Duration = Duration::from_secs(3);

/// A cache whose renewals are due at a fixed age.
fn cache(endpoint: &Endpoint) -> TokenCache {
    let policy = RefreshPolicy::default().jitter(0.0);
    TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap()
}

/// A resource that accepts the newest token everywhere but at [`FORBIDDEN`].
fn resource(endpoint: &Endpoint) -> Resource {
    let endpoint = endpoint.clone();
    Resource::new(move |_, request| {
        let alive = format!("Bearer token-{}", endpoint.calls());
        let is_fine = request.uri().path() != "/forbidden" && authorization(request) == alive;
        if is_fine { ok() } else { unauthorized() }
    })
}

// ---- A probe.

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
async fn a_renewal_for_a_refusal_drains_the_requests_of_others() {
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(Duration::from_millis(50));
    let cache = cache(&endpoint);
    let slow = Resource::of(&endpoint, Duration::from_millis(900)).forgetful();
    let slow = AuthLayer::new(cache.clone()).without_replay().layer(slow);
    let forbidden = AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| unauthorized()));
    assert_eq!(slow.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let uploads: Vec<_> = (0..5).map(|_| tokio::spawn(slow.clone().oneshot(get(URI)))).collect();
    settle().await;
    assert_eq!(forbidden.oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
    for upload in uploads {
        assert_eq!(upload.await.unwrap().unwrap().status(), 200, "it was waited for");
    }
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_where_the_token_was_accepted_first_ends_the_drain() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let dead = Arc::new(AtomicBool::new(false));
    let is_dead = Arc::clone(&dead);
    let resource = Resource::new(move |_, request| {
        let kills = is_dead.load(Ordering::SeqCst) && authorization(request) == "Bearer token-1";
        if kills { unauthorized() } else { ok() }
    });
    let slow = resource.clone().taking(Duration::from_secs(60)).forgetful();
    let service = AuthLayer::new(cache.clone()).layer(resource.taking(Duration::from_millis(10)));
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    // A stream that no drain can wait for.
    let stream = tokio::spawn(
        AuthLayer::new(cache).layer(slow).oneshot(get("https://api.example.com/stream")),
    );
    settle().await;
    dead.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let other = service.clone();
    let other = tokio::spawn(async move {
        other.oneshot(get("https://api.example.com/payments/1")).await.unwrap()
    });
    sleep(Duration::from_millis(15)).await;
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(other.await.unwrap().status(), 200);
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    stream.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refused_replay_asks_for_no_third_token() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let resource = resource(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
    assert_eq!(endpoint.calls(), 2);
    // Sent, probed, and with the young successor six times.
    assert_eq!(resource.seen().len(), 1 + 2 + 6);
}

/// Its first token was accepted by nobody, so no memory of the route keeps it from another.
#[tokio::test(start_paused = true)]
async fn a_replay_that_is_refused_for_a_token_that_nobody_accepted_renews_nothing() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| unauthorized());
    let service = AuthLayer::new(known_at_once(endpoint.clone())).layer(resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 401);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(endpoint.calls(), 2);
}

// ---- Routes that are remembered.

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

// ---- Young tokens.

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

// ---- Overlapping endpoints.

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

// ---- What a refusal must not cost.

/// The route that accepted the token first refuses it while requests are drained. That cuts the
/// drain, and says nothing about a token that some resource accepts.
#[tokio::test(start_paused = true)]
async fn a_stray_401_during_a_drain_and_an_endpoint_that_fails_make_no_outage() {
    for hangs in [false, true] {
        let endpoint = Endpoint::exclusive();
        let cache = cache(&endpoint);
        let strays = Arc::new(AtomicBool::new(false));
        let stray = Arc::clone(&strays);
        let resource = Resource::new(move |_, request| {
            let is_forbidden = request.uri().path() == "/forbidden";
            let is_fine = !is_forbidden && !stray.swap(false, Ordering::SeqCst);
            if is_fine { ok() } else { unauthorized() }
        });
        let auth = AuthLayer::new(cache.clone());
        let slow = auth.clone().layer(resource.clone().taking(Duration::from_millis(300)));
        let service = auth.layer(resource.forgetful());
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        advance(SETTLED).await;
        for _ in 0..100 {
            let down = || Step::Fail(AuthError::transient("down"));
            endpoint.then(if hangs { Step::Hang } else { down() });
        }
        let in_flight = tokio::spawn(slow.oneshot(get(URI)));
        settle().await;
        let refused = service.clone();
        let refused = tokio::spawn(async move { refused.oneshot(get(FORBIDDEN)).await.unwrap() });
        settle().await;
        strays.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(3)).await;
        in_flight.abort();
        for _ in 0..50 {
            let call = timeout(Duration::from_secs(2), service.clone().oneshot(get(URI)));
            assert_eq!(call.await.unwrap().unwrap().status(), 200, "hangs: {hangs}");
            sleep(Duration::from_millis(100)).await;
        }
        refused.abort();
    }
}

/// Each answer comes when the token of its request has been replaced.
#[tokio::test(start_paused = true)]
async fn a_route_that_answers_after_the_tokens_end_is_sent_two_tokens() {
    let endpoint = Endpoint::custom(
        tower_reauth::endpoint::Rotation::Overlapping,
        "token",
        Duration::from_secs(60),
    );
    let cache = TokenCache::builder(endpoint.clone()).keep_warm(true).build().unwrap();
    let resource = Resource::new(|_, _| unauthorized()).taking(Duration::from_secs(90));
    let service = AuthLayer::new(cache).layer(resource.clone());
    let response = timeout(Duration::from_secs(1000), service.oneshot(get(URI))).await;
    assert_eq!(response.unwrap().unwrap().status(), 401);
    assert_eq!(resource.seen().len(), 2);
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

/// The probe takes longer than the others wait for it, and is accepted while requests are drained.
#[tokio::test(start_paused = true)]
async fn a_renewal_is_called_off_if_the_probe_is_accepted_in_time() {
    let endpoint = Endpoint::exclusive();
    let resource = tower::service_fn({
        let calls = Arc::new(AtomicUsize::new(0));
        move |_: Request<String>| {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                let time = [20, 20, 30, 3000].get(number).copied().unwrap_or(20);
                sleep(Duration::from_millis(time)).await;
                let is_refused = number == 1 || number == 2;
                let response: Response<String> = if is_refused { unauthorized() } else { ok() };
                Ok::<_, tower_reauth::BoxError>(response)
            }
        }
    });
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource);
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let probe = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    let waits = tokio::spawn(service.clone().oneshot(get(URI)));
    sleep(Duration::from_millis(2500)).await;
    // Held for the renewal.
    let held = tokio::spawn(service.oneshot(get("https://api.example.com/other")));
    settle().await;
    assert!(cache.current().is_none() && !held.is_finished());
    for call in [probe, waits, held] {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(cache.current().unwrap().expose_secret(), "token-1");
    assert_eq!((cache.counters().doubts_cleared, cache.counters().replays), (1, 0));
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

/// A refresh that a caller has asked for is not called off with the renewal that it joined.
#[tokio::test(start_paused = true)]
async fn a_forced_refresh_brings_a_new_token_though_its_renewal_is_called_off() {
    let endpoint = Endpoint::exclusive();
    let resource = tower::service_fn({
        let calls = Arc::new(AtomicUsize::new(0));
        move |_: Request<String>| {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                let time = [20, 20, 30, 3000].get(number).copied().unwrap_or(20);
                sleep(Duration::from_millis(time)).await;
                let is_refused = number == 1 || number == 2;
                let response: Response<String> = if is_refused { unauthorized() } else { ok() };
                Ok::<_, tower_reauth::BoxError>(response)
            }
        }
    });
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource);
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    advance(SETTLED).await;
    let probe = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    let waits = tokio::spawn(service.oneshot(get(URI)));
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(cache.refresh().await.unwrap().expose_secret(), "token-2");
    for call in [probe, waits] {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}
