//! What a renewal for a refusal costs the requests of others, what ends it, and that no request is
//! sent with a third token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use support::{
    Endpoint, Resource, Step, URI, authorization, get, known_at_once, ok, settle, unauthorized,
};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{AuthError, AuthLayer, BoxError, TokenCache};

use super::{FORBIDDEN, SETTLED, cache, resource};

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

/// A resource that refuses two requests after the first one, and takes three seconds to accept the
/// probe of them.
fn with_a_slow_probe()
-> impl Service<Request<String>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let calls = Arc::new(AtomicUsize::new(0));
    service_fn(move |_: Request<String>| {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let time = [20, 20, 30, 3000].get(number).copied().unwrap_or(20);
            sleep(Duration::from_millis(time)).await;
            let is_refused = number == 1 || number == 2;
            Ok(if is_refused { unauthorized() } else { ok() })
        }
    })
}

/// The probe takes longer than the others wait for it, and is accepted while requests are drained.
#[tokio::test(start_paused = true)]
async fn a_renewal_is_called_off_if_the_probe_is_accepted_in_time() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(with_a_slow_probe());
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

/// A refresh that a caller has asked for is not called off with the renewal that it joined.
#[tokio::test(start_paused = true)]
async fn a_forced_refresh_brings_a_new_token_though_its_renewal_is_called_off() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(with_a_slow_probe());
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
