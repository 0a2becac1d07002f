//! A store that says what can't be, or tells of changes without end. It costs what a store that is
//! down costs, and no more.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{Stream, stream};
use support::{Endpoint, Resource, URI, get, settle};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, TokenCache, TokenEndpoint,
    store::{MemoryStore, Name, Notice, StoreError, Swap, TokenStore, Versioned},
};

use super::world::{Process, World, name};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn serving(world: &World) {
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    settle().await;
}

/// Writes `value` as the next one.
async fn write(store: &MemoryStore, revision: u64, value: &str) {
    let old = store.get(&name()).await.unwrap().map_or(0, |found| found.revision);
    let swap = store.compare_and_set(&name(), old, revision, value.as_bytes(), DAY).await;
    assert_eq!(swap.unwrap(), Swap::Done);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_no_process_writes_are_foreign() {
    const TOKEN: &str = "\0{\"secret\":\"s\",\"lifetime_ms\":300000,\"spent_ms\":1}";
    let most = u64::MAX;
    let values = [
        (most, "{\"v\":1}\n".to_owned()),
        (5, format!("{{\"v\":1,\"fence\":{most}}}\n")),
        (5, format!("{{\"v\":1,\"sequence\":{most}}}\nx")),
        // A token is published under the newest lease.
        (5, "{\"v\":1,\"fence\":3,\"sequence\":4}\n".to_owned() + TOKEN),
    ];
    for (revision, value) in values {
        let (endpoint, store) = (Endpoint::exclusive(), MemoryStore::new());
        write(&store, revision, &value).await;
        let process = Process::new(&endpoint, &store);
        assert_eq!(process.cache.token().await.unwrap().expose_secret(), "token-1");
        assert_eq!(process.counters().store_alone, 1, "{value}");
        assert_eq!(store.get(&name()).await.unwrap().unwrap().value, value, "it is left alone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_a_lie_does_not_make_a_process_deaf() {
    let world = World::new(2);
    serving(&world).await;
    let truth = world.store.get(&name()).await.unwrap().unwrap();
    write(&world.store, u64::MAX, "{\"v\":1}\n").await;
    settle().await;
    write(&world.store, truth.revision + 1, std::str::from_utf8(&truth.value).unwrap()).await;
    world.processes[0].cache.refresh().await.unwrap();
    settle().await;
    assert!(world.is_of_one_mind(), "{:?}", world.serving());
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_numbers_went_back_is_followed_and_not_asked_without_end() {
    let world = World::new(2);
    for process in &world.processes {
        process.wire.set_delay(Duration::from_millis(1));
    }
    serving(&world).await;
    // A change that a failover loses. By its number it came long after all that follow.
    write(&world.store, 1 << 50, "{\"v\":1}\n").await;
    settle().await;
    world.processes.iter().for_each(|process| process.wire.forget());
    world.endpoint.answer_after(Duration::from_millis(800));
    let operations = || world.processes.iter().map(|process| process.wire.operations()).sum();
    let before: u64 = operations();
    let [one, other] = [0, 1].map(|process| world.processes[process].cache.refresh());
    let other = async {
        sleep(Duration::from_millis(100)).await;
        other.await
    };
    let (one, other) = tokio::join!(one, other);
    assert_eq!(one.unwrap().sequence(), other.unwrap().sequence());
    assert_eq!(world.endpoint.calls(), 2);
    let spent = operations() - before;
    assert!(spent <= 20, "{spent} operations of the store");
    // From here on, a change is heard of again.
    world.endpoint.answer_after(Duration::from_millis(50));
    world.processes[0].cache.refresh().await.unwrap();
    sleep(Duration::from_millis(20)).await;
    assert!(world.is_of_one_mind(), "{:?}", world.serving());
}

#[tokio::test(start_paused = true)]
async fn a_back_off_without_end_ends_with_the_longest_that_the_policy_allows() {
    let (endpoint, store) = (Endpoint::exclusive(), MemoryStore::new());
    let gate = format!("{{\"kind\":\"transient\",\"pause_ms\":{}}}", u64::MAX);
    write(&store, 5, &format!("{{\"v\":1,\"gate\":{gate}}}\n")).await;
    let process = Process::new(&endpoint, &store);
    assert!(process.cache.token().await.unwrap_err().is_transient());
    assert_eq!(endpoint.calls(), 0);
    sleep(Duration::from_secs(601)).await;
    assert_eq!(process.cache.token().await.unwrap().expose_secret(), "token-1");
}

#[tokio::test(start_paused = true)]
async fn whatever_times_a_value_tells_of_no_process_panics() {
    let most = u64::MAX;
    for (lifetime, spent, published) in [(most, 0, 0), (0, 0, 0), (most, most, most), (5, 0, most)]
    {
        let (endpoint, store) = (Endpoint::exclusive(), MemoryStore::new());
        let head = format!(
            "{{\"v\":1,\"fence\":4,\"sequence\":4,\"published_ms\":{published},\
             \"cooldown\":{{\"early\":{0},\"never_accepted\":{0},\"jitter\":1e308}}}}\n",
            u32::MAX
        );
        let token = format!(
            "\0{{\"secret\":\"s\",\"scheme\":\"Bearer\",\"lifetime_ms\":{lifetime},\
             \"spent_ms\":{spent}}}"
        );
        write(&store, 5, &(head + &token)).await;
        let process = Process::new(&endpoint, &store);
        let token = process.cache.token().await.unwrap();
        let service = AuthLayer::new(process.cache.clone()).layer(Resource::accepting("token-1"));
        let status = service.oneshot(get(URI)).await.unwrap().status();
        assert!(status == 200 || token.expose_secret() == "s", "{lifetime} {spent} {published}");
        sleep(Duration::from_secs(60)).await;
        assert!(process.cache.refresh().await.is_ok());
        assert_eq!(process.counters().refreshes_failed, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_though_the_clock_of_the_store_stands_still() {
    let mut world = World::new(2);
    serving(&world).await;
    world.processes.iter().for_each(|process| process.wire.stop_clock());
    let cache = world.processes[0].cache.clone();
    let renewal = tokio::spawn(async move { cache.refresh().await });
    let held = |world: &World| world.processes[1].cache.current().is_none();
    world.until(held, Duration::from_secs(1)).await.expect("the other holds");
    renewal.abort();
    drop(world.processes.remove(0));
    let load = world.load(Duration::from_secs(10)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.processes[0].counters().store_takeovers, 1);
}

/// A store that panics, wherever it is asked.
struct Panics;

impl TokenStore for Panics {
    async fn get(&self, _: &Name) -> Result<Option<Versioned>, StoreError> {
        panic!("the store panics, as it was told to")
    }

    async fn compare_and_set(
        &self,
        _: &Name,
        _: u64,
        _: u64,
        _: &[u8],
        _: Duration,
    ) -> Result<Swap, StoreError> {
        panic!("the store panics, as it was told to")
    }

    fn watch(&self, _: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        stream::repeat_with(|| panic!("the store panics, as it was told to"))
    }

    fn notice(&self) -> Duration {
        panic!("the store panics, as it was told to")
    }

    fn has_clock(&self) -> bool {
        panic!("the store panics, as it was told to")
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_one_that_is_down() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).shared_as(Panics, name()).build().unwrap();
    let service = AuthLayer::new(cache.clone()).layer(Resource::of(&endpoint, Duration::ZERO));
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    // Its token is killed by somebody else.
    TokenEndpoint::issue(&endpoint).await.unwrap();
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    let counters = cache.counters();
    assert_eq!((counters.store_alone, counters.refreshes_failed), (2, 0), "{counters:?}");
}

/// A store that always has another notice.
struct Storm {
    store: MemoryStore,
    /// Tells of tokens that are not there, instead of gaps.
    changes: bool,
    gets: Arc<AtomicU64>,
}

impl TokenStore for Storm {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.store.get(name).await
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> Result<Swap, StoreError> {
        self.store.compare_and_set(name, old, new, value, keep).await
    }

    fn watch(&self, _: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let (changes, mut told) = (self.changes, 1_u64 << 50);
        stream::repeat_with(move || {
            told += u64::from(changes);
            let head = format!("{{\"v\":1,\"fence\":{told},\"sequence\":{told}}}\n");
            let token = "\0{\"secret\":\"s\",\"lifetime_ms\":300000,\"spent_ms\":1}";
            let value = (head + token).into();
            if changes { Notice::Changed { revision: told, value } } else { Notice::Gap }
        })
    }
}

// The clock is not paused: with a listener that always has something to do, a paused one would
// stand still.
#[tokio::test]
async fn a_storm_of_notices_keeps_neither_the_thread_nor_the_store_from_others() {
    for changes in [false, true] {
        let gets = Arc::<AtomicU64>::default();
        let storm = Storm { store: MemoryStore::new(), changes, gets: Arc::clone(&gets) };
        let endpoint = Endpoint::exclusive();
        let cache = TokenCache::builder(endpoint.clone()).shared_as(storm, name()).build().unwrap();
        cache.token().await.unwrap();
        let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-2"));
        let started = Instant::now();
        let before = gets.load(Ordering::SeqCst);
        let mut turns = 0;
        while started.elapsed() < Duration::from_millis(300) {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(turns > 20, "{turns}");
        let asked = gets.load(Ordering::SeqCst) - before;
        assert!(asked <= 10, "{asked} questions in 300 ms");
        // A refusal is still answered by the store.
        TokenEndpoint::issue(&endpoint).await.unwrap();
        let response = timeout(Duration::from_secs(5), service.oneshot(get(URI))).await;
        assert!(response.is_ok_and(|response| response.is_ok()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_offers_its_token_hears_of_another_one_meanwhile() {
    let world = World::new(2);
    serving(&world).await;
    let [offers, renews] = [&world.processes[0], &world.processes[1]];
    // A token without the store, which can't be published while another process has the lease.
    offers.wire.set_down(true);
    offers.cache.refresh().await.unwrap();
    // Such a token has its number by the wall clock, which does not stand still here. The number of
    // the next one is greater from the next millisecond on.
    let asked = SystemTime::now();
    while SystemTime::now() < asked + Duration::from_millis(10) {
        std::thread::yield_now();
    }
    world.endpoint.answer_after(Duration::from_secs(3));
    let mut renewal = pin!(renews.cache.refresh());
    assert!(timeout(Duration::from_millis(200), &mut renewal).await.is_err());
    offers.wire.set_down(false);
    let before = offers.wire.operations();
    let token = renewal.await.unwrap();
    assert!(offers.wire.operations() > before, "it has tried to publish");
    sleep(Duration::from_millis(5)).await;
    assert_eq!(offers.cache.current().unwrap().expose_secret(), token.expose_secret());
}
