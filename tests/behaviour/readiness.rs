//! What a probe learns of a cache, in each state: `is_ready`, `last_error` and `warm_up`.

use std::{
    error, fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use support::{Endpoint, Step, known_at_once, settle};
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, task};
use tower::Layer;
use tower_reauth::{
    AuthError, Counters, TokenCache,
    store::{MemoryStore, Name},
};

fn cache(endpoint: &Endpoint) -> TokenCache {
    TokenCache::new(endpoint.clone())
}

/// Fails without a second attempt, and tells nothing of the token in use.
fn rejected() -> Step {
    Step::Fail(AuthError::rejected("wrong secret"))
}

/// Long enough for any back-off.
const LATER: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_cache_that_nobody_asks_is_ready_before_its_first_token_and_after_its_last() {
    let cache = cache(&Endpoint::exclusive());
    assert!(cache.is_ready() && cache.last_error().is_none());
    cache.token().await.unwrap();
    sleep(Duration::from_secs(1000)).await;
    assert!(cache.current().is_none());
    assert!(cache.is_ready() && cache.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_refresh_that_failed_ends_the_readiness_until_one_succeeds() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(rejected()).then(rejected());
    let cache = cache(&endpoint);
    for _ in 0..2 {
        let error = cache.token().await.unwrap_err();
        assert!(!cache.is_ready());
        let last = cache.last_error().unwrap();
        assert!(last.is_rejected() && last.to_string() == error.to_string());
        advance(LATER).await;
        // A time without traffic mends nothing.
        assert!(!cache.is_ready() && cache.last_error().is_some());
    }
    let open = endpoint.gate();
    let mut waits = task::spawn(cache.token());
    assert_pending!(waits.poll());
    settle().await;
    assert!(!cache.is_ready(), "nobody knows yet how the refresh will end");
    open.send(()).unwrap();
    waits.await.unwrap();
    assert!(cache.is_ready() && cache.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_good_token_outlasts_an_endpoint_that_is_down() {
    let endpoint = Endpoint::overlapping();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    endpoint.then(rejected()).then(rejected());
    cache.refresh().await.unwrap_err();
    assert!(cache.is_ready() && cache.last_error().unwrap().is_rejected());
    // At its end there is nothing left to send, and nobody has asked again.
    sleep(Duration::from_secs(300)).await;
    assert!(cache.current().is_none());
    assert!(!cache.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_hold_does_not_show_even_after_a_failure() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    for fails in [false, true] {
        if fails {
            endpoint.then(rejected());
            cache.refresh().await.unwrap_err();
            advance(LATER).await;
        }
        let open = endpoint.gate();
        let mut held = task::spawn(cache.refresh());
        assert_pending!(held.poll());
        settle().await;
        assert!(cache.current().is_none(), "requests are held");
        assert!(cache.is_ready(), "failed before: {fails}");
        open.send(()).unwrap();
        held.await.unwrap();
        assert!(cache.is_ready() && cache.last_error().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_counts_if_a_resource_had_accepted_it() {
    for is_accepted in [true, false] {
        let endpoint = Endpoint::exclusive();
        let cache = known_at_once(endpoint.clone());
        let token = cache.token().await.unwrap();
        if is_accepted {
            accept(&cache).await;
        }
        cache.invalidate(&token);
        assert!(cache.is_ready(), "nothing has failed yet");
        endpoint.then(rejected());
        assert_eq!(cache.token().await.is_ok(), is_accepted);
        assert_eq!(cache.is_ready(), is_accepted);
        assert!(cache.last_error().is_some());
        if is_accepted {
            // Refused once more after the failure. It is withheld until the next one has ended.
            advance(LATER).await;
            assert!(cache.invalidate(&token) && cache.current().is_none());
            assert!(cache.is_ready());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_after_its_hold_does_not_count_while_no_successor_is_to_be_had() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    accept(&cache).await;
    endpoint.then(Step::Hang).then(rejected());
    let mut refresh = task::spawn(cache.refresh());
    assert_pending!(refresh.poll());
    // The hold times out, and the one that goes first is refused.
    sleep(Duration::from_secs(2)).await;
    let unauthorized = support::Resource::new(|_, _| support::unauthorized());
    let layer = tower_reauth::AuthLayer::new(cache.clone());
    let refused = layer.layer(unauthorized).send(support::get(support::URI)).await.unwrap();
    assert_eq!(refused.status(), 401);
    refresh.await.unwrap_err();
    assert!(cache.token().await.is_err() && cache.current().is_none());
    assert!(!cache.is_ready());
    // One request tries it, and all others may send it after that.
    accept(&cache).await;
    assert!(cache.is_ready() && cache.last_error().is_some());
}

/// Sends a request with the token in use, which is accepted.
async fn accept(cache: &TokenCache) {
    let resource = support::Resource::new(|_, _| support::ok());
    let client = tower_reauth::AuthLayer::new(cache.clone()).layer(resource);
    client.send(support::get(support::URI)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_suspect_token_counts_and_a_dead_one_does_not() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    // A new token may have been issued, and may have killed the one in use.
    endpoint.then(Step::Fail(AuthError::invalid_response("a page of a proxy")));
    cache.refresh().await.unwrap_err();
    assert!(cache.is_ready() && cache.current().is_some());
    // It was.
    advance(LATER).await;
    endpoint.then(Step::IssueFor(Duration::ZERO));
    cache.refresh().await.unwrap_err();
    assert!(!cache.is_ready() && cache.current().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_token_of_another_process_makes_this_one_ready() {
    let (store, name) = (MemoryStore::new(), Name::new("payments").unwrap());
    let process = |endpoint: &Endpoint| {
        let builder = TokenCache::builder(endpoint.clone());
        builder.shared_as(store.clone(), name.clone()).build().unwrap()
    };
    let (works, down) = (Endpoint::exclusive(), Endpoint::exclusive());
    let (one, other) = (process(&works), process(&down));
    let fails = || down.then(Step::Fail(AuthError::credentials("no such file")));
    // A process that has had no token yet asks the store when a token is needed, as by a probe.
    fails();
    other.warm_up().await.unwrap_err();
    assert!(!other.is_ready());
    one.token().await.unwrap();
    sleep(LATER).await;
    other.warm_up().await.unwrap();
    assert!(other.is_ready() && other.last_error().is_none());
    // Any other process hears of it.
    fails();
    other.refresh().await.unwrap_err();
    assert!(other.is_ready() && other.last_error().is_some());
    one.refresh().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(other.is_ready() && other.last_error().is_none());
    assert_eq!(other.current().unwrap().expose_secret(), "token-2");
    assert_eq!((works.calls(), down.calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn warming_up_gets_a_token_once_and_survives_its_caller() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let open = endpoint.gate();
    let mut dropped = task::spawn(cache.warm_up());
    assert_pending!(dropped.poll());
    drop(dropped);
    open.send(()).unwrap();
    settle().await;
    assert!(cache.current().is_some());
    // It borrows nothing.
    tokio::spawn(cache.warm_up()).await.unwrap().unwrap();
    assert_eq!(endpoint.calls(), 1);

    let endpoint = Endpoint::exclusive();
    endpoint.then(rejected());
    let cache = TokenCache::new(endpoint.clone());
    assert!(cache.warm_up().await.unwrap_err().is_rejected());
    // During back-off a probe costs the endpoint nothing.
    assert!(cache.warm_up().await.unwrap_err().is_rejected());
    assert_eq!(endpoint.calls(), 1);
}

/// An error that asks the cache when it is dropped.
struct Asks(Arc<OnceLock<TokenCache>>, Arc<AtomicUsize>);

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            let _ = (cache.is_ready(), cache.last_error());
        }
        self.1.fetch_add(1, SeqCst);
    }
}

impl error::Error for Asks {}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asks")
    }
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks")
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_dropped_without_the_lock() {
    let (endpoint, known, dropped) = (Endpoint::exclusive(), Arc::default(), Arc::default());
    let cache = cache(&endpoint);
    let token = cache.token().await.unwrap();
    let asks = Asks(Arc::clone(&known), Arc::clone(&dropped));
    endpoint.then(Step::Fail(AuthError::invalid_response(asks)));
    drop(cache.refresh().await.unwrap_err());
    // A 401 of a suspect token ends the back-off, whose copy of the error goes with it.
    assert!(cache.invalidate(&token));
    assert!(known.set(cache.clone()).is_ok());
    assert_eq!(dropped.load(SeqCst), 0);
    // A deadlock, if it were dropped under the lock.
    cache.token().await.unwrap();
    settle().await;
    assert_eq!(dropped.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_counters_are_serialized_by_name_with_times_in_seconds() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    endpoint.answer_after(Duration::from_millis(500));
    cache.refresh().await.unwrap();
    settle().await;
    let counters = cache.counters();
    assert_eq!(counters.longest_hold, Duration::from_millis(500));
    let json = serde_json::to_value(counters).unwrap();
    assert_eq!(json["tokens_issued"], 2);
    assert_eq!(json["longest_hold"], 0.5);
    // All fields, by the names that `Debug` shows.
    let shown = format!("{:?}", Counters::default());
    let map = json.as_object().unwrap();
    assert_eq!(shown.matches(": ").count(), map.len());
    for name in map.keys() {
        assert!(shown.contains(&format!("{name}: ")), "{name}");
    }
}
