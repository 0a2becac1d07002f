//! A hold has a bound of its own: an endpoint that takes long costs the callers of a good token a
//! second, and not their requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use support::{Endpoint, Resource, Step, URI, authorization, get, ok, settle, unauthorized};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, RefreshPolicy, TokenCache};

fn no_jitter() -> RefreshPolicy {
    RefreshPolicy::default().jitter(0.0)
}

/// A cache with a token, whose next requests for one hang until the gate is opened.
async fn about_to_renew(endpoint: &Endpoint) -> (TokenCache, tokio::sync::oneshot::Sender<()>) {
    let policy = no_jitter().propagation_delay(Duration::ZERO);
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    cache.token().await.unwrap();
    let gate = endpoint.gate();
    (cache, gate)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_costs_no_request_with_a_good_token() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(no_jitter()).build().unwrap();
    let resource = Resource::new(|_, _| ok()).taking(Duration::from_millis(20)).forgetful();
    let service = AuthLayer::new(cache.clone()).layer(resource);
    let started = Instant::now();
    service.clone().oneshot(get(URI)).await.unwrap();
    for _ in 0..1000 {
        endpoint.then(Step::Hang);
    }
    sleep(Duration::from_secs(230)).await;
    let mut callers = Vec::new();
    // Ten a second, each with a patience of 2 s, until shortly before the token's end.
    while started.elapsed() < Duration::from_secs(290) {
        let service = service.clone();
        callers.push(tokio::spawn(async move {
            let started = Instant::now();
            let result = timeout(Duration::from_secs(2), service.oneshot(get(URI))).await;
            let is_ok = result.is_ok_and(|result| result.is_ok_and(|it| it.status() == 200));
            (is_ok, started.elapsed())
        }));
        sleep(Duration::from_millis(100)).await;
    }
    let (mut slow, mut failed) = (0, 0);
    for caller in join_all(callers).await {
        let (is_ok, took) = caller.unwrap();
        failed += u32::from(!is_ok);
        slow += u32::from(is_ok && took >= Duration::from_millis(200));
    }
    assert_eq!(failed, 0);
    assert!(slow <= 60, "{slow} of 600 slower than 200 ms");
    assert!(cache.counters().holds_timed_out > 0);
    assert!(cache.counters().longest_hold <= Duration::from_millis(3100));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_hold_one_request_goes_first_and_the_rest_follow_its_acceptance() {
    let endpoint = Endpoint::exclusive();
    let (cache, gate) = about_to_renew(&endpoint).await;
    let resource = Resource::new(|_, _| ok()).taking(Duration::from_millis(50));
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let refresh = tokio::spawn(cache.refresh());
    settle().await;
    let callers: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    advance(Duration::from_millis(999)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 0, "held");
    advance(Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 1, "one goes first");
    advance(Duration::from_millis(49)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 1);
    advance(Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 10, "and the rest follow");
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
    assert!(!refresh.is_finished());
    assert_eq!(cache.current().unwrap().sequence(), 1, "the old token is served");
    // The response is adopted, however late it is.
    gate.send(()).unwrap();
    assert_eq!(refresh.await.unwrap().unwrap().sequence(), 2);
    assert_eq!(cache.current().unwrap().sequence(), 2);
    assert_eq!((endpoint.calls(), cache.counters().holds_timed_out), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn if_the_token_has_died_only_the_first_request_is_refused_and_all_get_the_new_one() {
    let endpoint = Endpoint::exclusive();
    let (cache, gate) = about_to_renew(&endpoint).await;
    let resource = Resource::accepting("token-2").taking(Duration::from_millis(20));
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let refresh = tokio::spawn(cache.refresh());
    settle().await;
    let callers: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    // The refusal arrives well before anybody follows.
    advance(Duration::from_millis(30)).await;
    settle().await;
    advance(Duration::from_secs(3)).await;
    settle().await;
    assert_eq!(resource.tokens(), ["Bearer token-1"], "nobody follows a request that is refused");
    gate.send(()).unwrap();
    refresh.await.unwrap().unwrap();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(cache.counters().unauthorized, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_request_that_can_be_replayed_all_go_on_after_a_silence() {
    let endpoint = Endpoint::exclusive();
    let (cache, _gate) = about_to_renew(&endpoint).await;
    let resource = Resource::new(|_, _| ok());
    let service = AuthLayer::new(cache.clone()).without_replay().layer(resource.clone());
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let callers: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    let token = tokio::spawn(cache.token());
    settle().await;
    advance(Duration::from_millis(1099)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 0);
    advance(Duration::from_millis(2)).await;
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(token.await.unwrap().unwrap().sequence(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_request_that_is_dropped_leaves_nobody_waiting() {
    let endpoint = Endpoint::exclusive();
    let (cache, _gate) = about_to_renew(&endpoint).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let resource = Resource::new(move |_, _| {
        count.fetch_add(1, SeqCst);
        ok()
    });
    let service =
        AuthLayer::new(cache.clone()).layer(resource.clone().taking(Duration::from_secs(60)));
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let mut callers: Vec<_> =
        (0..3).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 1);
    // Whichever it is, the one that went first is among these.
    callers.remove(0).abort();
    settle().await;
    advance(Duration::from_millis(101)).await;
    settle().await;
    assert!(resource.seen().len() >= 3, "{} were sent", resource.seen().len());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_held_for_the_renewal_of_a_token_that_may_be_dead() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(no_jitter()).build().unwrap();
    cache.token().await.unwrap();
    for _ in 0..10 {
        endpoint.then(Step::Hang);
    }
    assert!(cache.refresh().await.unwrap_err().is_timeout());
    let held = cache.counters().holds;
    sleep(Duration::from_secs(1)).await;
    // No resource has accepted the token since.
    let refresh = tokio::spawn(cache.refresh());
    settle().await;
    assert_eq!(cache.current().unwrap().sequence(), 1, "it is served");
    assert_eq!(cache.counters().holds, held);
    refresh.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_refused_waits_for_the_flight_through_the_end_of_its_hold() {
    let endpoint = Endpoint::exclusive();
    let (cache, gate) = about_to_renew(&endpoint).await;
    let resource = Resource::new(|_, request| {
        if authorization(request) == "Bearer token-2" { ok() } else { unauthorized() }
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let caller = tokio::spawn(service.oneshot(get(URI)));
    settle().await;
    // Past the hold's bound, and past the silence.
    advance(Duration::from_secs(1)).await;
    settle().await;
    advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(!caller.is_finished());
    gate.send(()).unwrap();
    assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_while_the_endpoint_hangs_costs_the_others_no_more_than_a_hold() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(no_jitter()).build().unwrap();
    let resource = Resource::new(|_, request| match request.uri().path() {
        "/forbidden" => unauthorized(),
        _ => ok(),
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
    service.clone().oneshot(get(URI)).await.unwrap();
    for _ in 0..1000 {
        endpoint.then(Step::Hang);
    }
    let mean = service.clone();
    let mean = tokio::spawn(async move {
        loop {
            let forbidden = get("https://api.example.com/forbidden");
            let _ = timeout(Duration::from_secs(2), mean.clone().oneshot(forbidden)).await;
            sleep(Duration::from_secs(1)).await;
        }
    });
    for _ in 0..600 {
        let started = Instant::now();
        let response = timeout(Duration::from_secs(2), service.clone().oneshot(get(URI))).await;
        assert_eq!(response.expect("it is held for too long").unwrap().status(), 200);
        assert!(started.elapsed() <= Duration::from_millis(1200), "{:?}", started.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    mean.abort();
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_new_token_costs_one_request_through_the_end_of_a_hold() {
    let endpoint = Endpoint::exclusive();
    let (cache, gate) = about_to_renew(&endpoint).await;
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(cache.refresh())).collect();
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    advance(Duration::from_millis(101)).await;
    settle().await;
    gate.send(()).unwrap();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().sequence(), 2);
    }
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_from_before_the_hold_lets_nobody_follow() {
    let endpoint = Endpoint::exclusive();
    let (cache, _gate) = about_to_renew(&endpoint).await;
    let slow = Resource::new(|_, _| ok()).taking(Duration::from_millis(3050));
    let slow = AuthLayer::new(cache.clone()).layer(slow);
    let resource = Resource::new(|_, _| ok()).taking(Duration::from_secs(10));
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    // In flight before the hold, and through the drain of 2 s.
    let slow = tokio::spawn(slow.oneshot(get(URI)));
    settle().await;
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let _callers: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    advance(Duration::from_millis(2001)).await;
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 1, "one goes first");
    advance(Duration::from_millis(60)).await;
    settle().await;
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(resource.seen().len(), 1, "what was authenticated before says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_lets_another_request_go_first() {
    let endpoint = Endpoint::exclusive();
    let (cache, _gate) = about_to_renew(&endpoint).await;
    let resource = Resource::new(|_, _| ok()).taking(Duration::from_millis(50));
    let layer = AuthLayer::new(cache.clone());
    let limited = tower::ServiceBuilder::new().concurrency_limit(1).service(resource.clone());
    let limited = layer.layer(limited);
    let free = layer.layer(resource.clone());
    let blocking = limited.get_ref().clone();
    let permit = tokio::spawn(async move {
        let mut blocking = blocking;
        blocking.ready().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        drop(blocking);
    });
    settle().await;
    let _refresh = tokio::spawn(cache.refresh());
    settle().await;
    let _stuck = tokio::spawn(limited.oneshot(get(URI)));
    settle().await;
    let caller = tokio::spawn(free.oneshot(get(URI)));
    settle().await;
    advance(Duration::from_millis(1001)).await;
    settle().await;
    assert_eq!(resource.seen().len(), 1, "the one that can be sent");
    advance(Duration::from_millis(51)).await;
    assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    permit.abort();
}
