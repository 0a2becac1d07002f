//! Processes of one fleet, as caches with a store in common at a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    Stream, StreamExt,
    future::join_all,
    stream::{self, select},
};
use support::{Endpoint, Resource, URI, get, settle};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, Counters, RefreshPolicy, TokenCache,
    store::{MemoryStore, Name, Notice, StoreDown, StoreError, Swap, TokenStore, Versioned},
};

pub(super) const NAME: &str = "payments";

/// How long a token of [`Endpoint::exclusive`] lives.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

pub(super) fn name() -> Name {
    Name::new(NAME).unwrap()
}

/// One process' way to the store.
#[derive(Clone, Default)]
pub(super) struct Wire {
    store: MemoryStore,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// No operation gets through.
    down: AtomicBool,
    /// Operations hang.
    hangs: AtomicBool,
    /// Operations take effect, and their answers are lost.
    loses: AtomicBool,
    /// Each value is as old as if it had just changed.
    stands_still: AtomicBool,
    /// No notice gets through.
    deaf: AtomicBool,
    operations: AtomicU64,
    /// The operation whose answer is lost, counted from here; 0 for none.
    lost: AtomicU64,
    /// How often the store has lost its data.
    forgotten: AtomicU64,
    delay: Mutex<Duration>,
    /// How often this process may have missed something.
    gaps: watch::Sender<u64>,
}

impl Wire {
    pub(super) fn new(store: &MemoryStore) -> Self {
        Self { store: store.clone(), state: Arc::default() }
    }

    pub(super) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    pub(super) fn set_hanging(&self, hangs: bool) {
        self.state.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(super) fn set_losing(&self, loses: bool) {
        self.state.loses.store(loses, Ordering::SeqCst);
    }

    /// Stops the clock of the store, as far as this process can tell.
    pub(super) fn stop_clock(&self) {
        self.state.stands_still.store(true, Ordering::SeqCst);
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.state.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Ends every fault, and tells that notices may have been missed.
    pub(super) fn come_back(&self) {
        self.set_down(false);
        self.set_hanging(false);
        self.set_deaf(false);
        self.state.gaps.send_modify(|gaps| *gaps += 1);
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// Loses the answer to one operation, the `which`th from now. The operation takes effect.
    pub(super) fn lose_answer(&self, which: u64) {
        self.state.lost.store(which, Ordering::SeqCst);
    }

    /// Makes the store lose its data, as far as this process can tell.
    pub(super) fn forget(&self) {
        self.state.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    fn name(&self, name: &Name) -> Name {
        if self.state.forgotten.load(Ordering::SeqCst) == 0 { name.clone() } else { later(name) }
    }

    async fn answer<T>(&self, answer: T) -> T {
        let lost = &self.state.lost;
        if lost.load(Ordering::SeqCst) > 0 && lost.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::future::pending::<()>().await;
        }
        answer
    }

    pub(super) fn operations(&self) -> u64 {
        self.state.operations.load(Ordering::SeqCst)
    }

    async fn pass(&self) -> Result<(), StoreError> {
        self.state.operations.fetch_add(1, Ordering::SeqCst);
        let delay = *self.state.delay.lock().unwrap();
        sleep(delay).await;
        if self.state.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.state.down.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("it was switched off"));
        }
        Ok(())
    }
}

/// The name of the value after the store has lost its data.
fn later(name: &Name) -> Name {
    Name::new(&format!("{name}-later")).unwrap()
}

impl TokenStore for Wire {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        self.pass().await?;
        let mut found = self.store.get(&self.name(name)).await;
        if self.state.stands_still.load(Ordering::SeqCst)
            && let Ok(Some(found)) = &mut found
        {
            found.age = Duration::ZERO;
        }
        self.answer(found).await
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> Result<Swap, StoreError> {
        self.pass().await?;
        let swap = self.store.compare_and_set(&self.name(name), old, new, value, keep).await;
        if self.state.loses.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.answer(swap).await
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let state = Arc::clone(&self.state);
        let before = self.store.watch(name).boxed();
        let after = self.store.watch(&later(name)).boxed();
        let gaps = stream::unfold(state.gaps.subscribe(), |mut gaps| async {
            gaps.changed().await.ok()?;
            Some((Notice::Gap, gaps))
        });
        let notices = select(before, after).filter(move |notice| {
            let passes = !state.deaf.load(Ordering::SeqCst) || *notice == Notice::Gap;
            std::future::ready(passes)
        });
        select(notices, gaps.boxed())
    }
}

/// A process.
pub(super) struct Process {
    pub(super) cache: TokenCache,
    pub(super) wire: Wire,
}

impl Process {
    pub(super) fn new(endpoint: &Endpoint, store: &MemoryStore) -> Self {
        Self::with(endpoint, store, StoreDown::Alone, RefreshPolicy::default())
    }

    fn with(
        endpoint: &Endpoint,
        store: &MemoryStore,
        store_down: StoreDown,
        policy: RefreshPolicy,
    ) -> Self {
        let wire = Wire::new(store);
        let builder = TokenCache::builder(endpoint.clone()).refresh_policy(policy);
        let cache = builder.shared_as(wire.clone(), name()).store_down(store_down).build().unwrap();
        Self { cache, wire }
    }

    pub(super) fn counters(&self) -> Counters {
        self.cache.counters()
    }

    /// Sends requests until then, by three callers that pause for 250 ms after each. Returns how
    /// many were answered, and how many of them with a 401.
    pub(super) fn load(&self, resource: &Resource, until: Instant) -> JoinHandle<Load> {
        let service = AuthLayer::new(self.cache.clone()).layer(resource.clone());
        let callers = (0..3).map(move |caller| {
            let service = service.clone();
            tokio::spawn(async move {
                let mut load = Load::default();
                sleep(Duration::from_millis(caller * 83)).await;
                while Instant::now() < until {
                    let started = Instant::now();
                    let response = service.clone().oneshot(get(URI)).await;
                    load.answers += 1;
                    load.longest = load.longest.max(started.elapsed());
                    match response {
                        Ok(response) => load.seen += u64::from(response.status() == 401),
                        Err(_) => load.errors += 1,
                    }
                    sleep(Duration::from_millis(250)).await;
                }
                load
            })
        });
        let callers: Vec<_> = callers.collect();
        tokio::spawn(async move {
            let loads = join_all(callers).await.into_iter().flatten();
            loads.fold(Load::default(), Load::and)
        })
    }
}

/// What callers got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) answers: u64,
    /// 401s.
    pub(super) seen: u64,
    pub(super) errors: u64,
    pub(super) longest: Duration,
}

impl Load {
    fn and(self, other: Self) -> Self {
        Self {
            answers: self.answers + other.answers,
            seen: self.seen + other.seen,
            errors: self.errors + other.errors,
            longest: self.longest.max(other.longest),
        }
    }
}

/// Processes that share a store, a client id and a resource.
pub(super) struct World {
    pub(super) endpoint: Endpoint,
    pub(super) store: MemoryStore,
    pub(super) resource: Resource,
    pub(super) processes: Vec<Process>,
}

impl World {
    pub(super) fn new(processes: usize) -> Self {
        Self::with(processes, StoreDown::Alone)
    }

    pub(super) fn with(processes: usize, store_down: StoreDown) -> Self {
        Self::by(processes, store_down, &RefreshPolicy::default())
    }

    pub(super) fn by(processes: usize, store_down: StoreDown, policy: &RefreshPolicy) -> Self {
        let endpoint = Endpoint::exclusive();
        endpoint.answer_after(Duration::from_millis(50));
        let resource = Resource::of(&endpoint, Duration::from_millis(20)).forgetful();
        let store = MemoryStore::new();
        let process = |_| Process::with(&endpoint, &store, store_down, policy.clone());
        let processes = (0..processes).map(process).collect();
        Self { endpoint, store, resource, processes }
    }

    /// Has all processes send requests for so long.
    pub(super) async fn load(&self, time: Duration) -> Load {
        let until = Instant::now() + time;
        let loads = self.processes.iter().map(|process| process.load(&self.resource, until));
        let loads = join_all(loads).await.into_iter().flatten();
        loads.fold(Load::default(), Load::and)
    }

    /// Returns the number of the token that each process serves now.
    pub(super) fn serving(&self) -> Vec<u64> {
        let serving = |process: &Process| process.cache.current().map(|token| token.sequence());
        self.processes.iter().map(|process| serving(process).unwrap_or(0)).collect()
    }

    /// Returns whether all processes serve the token that lives.
    pub(super) fn is_of_one_mind(&self) -> bool {
        let alive = format!("token-{}", self.endpoint.calls());
        self.processes.iter().all(|process| {
            process.cache.current().is_some_and(|token| token.expose_secret() == alive)
        })
    }

    pub(super) fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.processes.iter().map(|process| of(&process.counters())).sum()
    }

    /// Waits for `condition`, for so long at most. Returns how long it took.
    pub(super) async fn until(
        &self,
        condition: impl Fn(&Self) -> bool,
        at_most: Duration,
    ) -> Option<Duration> {
        let started = Instant::now();
        let waiting = async {
            while !condition(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(at_most, waiting).await.ok().map(|()| started.elapsed())
    }
}

/// Has the first process make the first token, and all others adopt it.
pub(super) async fn serving(world: &World) {
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    settle().await;
    assert!(world.is_of_one_mind());
    assert_eq!(world.endpoint.calls(), 1);
}

/// Starts a renewal in the first process and waits until the lease is taken.
///
/// The process has gone when the handle is aborted and the process is dropped.
pub(super) async fn renewing(world: &World) -> AbortHandle {
    let cache = world.processes[0].cache.clone();
    let renewal = tokio::spawn(async move { cache.refresh().await }).abort_handle();
    let held = |world: &World| world.processes[1].cache.current().is_none();
    world.until(held, Duration::from_secs(1)).await.expect("the others hold");
    renewal
}
