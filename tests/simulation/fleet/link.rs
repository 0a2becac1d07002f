//! What separates one process from the others: its way to the store, and whether it runs at all.

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tower_reauth::store::{MemoryStore, Name, Notice, StoreError, Swap, TokenStore, Versioned};

use super::world::{World, head};

/// One process, as the rest of the world sees it.
pub(super) struct Link {
    pub(super) world: Arc<World>,
    /// The number of the process. One that is started again has another.
    pub(super) process: usize,
    weather: Mutex<Weather>,
    /// Counts the subscriptions that were lost.
    gaps: watch::Sender<u64>,
    /// The token that the process has sent last.
    sent: AtomicUsize,
    /// The newest token that a resource refused, though it was alive.
    refused: AtomicUsize,
    /// The leases that the process has heard of, by their fences.
    leases: Mutex<Vec<(u64, Instant)>>,
}

/// The state of a process and of its way to the store.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each comes and goes by itself")]
pub(super) struct Weather {
    /// The process has stopped for good: nothing leaves it, and nothing reaches it.
    pub(super) dead: bool,
    /// The process stands still until then.
    pub(super) paused: Instant,
    /// No operation gets through, and no notice.
    pub(super) cut: bool,
    /// Operations hang, rather than failing at once, while the way is cut.
    pub(super) hangs: bool,
    /// Notices are lost.
    pub(super) deaf: bool,
    /// The share of operations that take effect and whose answer is lost.
    pub(super) loses: f64,
    /// How much longer each operation takes.
    pub(super) slow: Duration,
}

impl Link {
    pub(super) fn new(world: &Arc<World>, process: usize) -> Arc<Self> {
        let weather = Weather {
            dead: false,
            paused: Instant::now(),
            cut: false,
            hangs: false,
            deaf: false,
            loses: 0.0,
            slow: Duration::ZERO,
        };
        Arc::new(Self {
            world: Arc::clone(world),
            process,
            weather: Mutex::new(weather),
            gaps: watch::Sender::new(0),
            sent: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            leases: Mutex::default(),
        })
    }

    pub(super) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    /// Has the process subscribe again.
    pub(super) fn resubscribe(&self) {
        self.gaps.send_modify(|gaps| *gaps += 1);
    }

    /// Ends everything that is wrong, unless the process is dead.
    pub(super) fn heal(&self) {
        let mut weather = self.weather();
        let was_cut = std::mem::take(&mut weather.cut);
        (weather.deaf, weather.loses, weather.slow) = (false, 0.0, Duration::ZERO);
        drop(weather);
        if was_cut {
            self.resubscribe();
        }
    }

    /// Notes that the process sends this token.
    pub(super) fn sends(&self, token: usize) {
        self.sent.store(token, Ordering::Relaxed);
    }

    /// Returns the token that the process has sent last; 0 if there is none.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Notes that the process is refused with this token, though it is alive.
    pub(super) fn is_refused(&self, token: usize) {
        self.refused.fetch_max(token, Ordering::Relaxed);
    }

    /// Returns whether the process has no reason to believe that this token is dead.
    pub(super) fn trusts(&self, token: usize) -> bool {
        self.refused.load(Ordering::Relaxed) < token
    }

    /// Notes that the process has this value.
    fn hears(&self, value: &[u8]) {
        let head = head(value);
        let (fence, mut leases) = (head["fence"].as_u64(), self.leases.lock().unwrap());
        let is_new = fence > leases.last().map(|(fence, _)| *fence);
        if let Some(fence) = fence.filter(|_| is_new && head.get("lease").is_some()) {
            leases.push((fence, Instant::now()));
        }
    }

    /// Returns when a request is sent at the latest that was held from this moment on. Each lease
    /// that the process hears of meanwhile has a hold of its own.
    pub(super) fn held_until(&self, from: Instant, bound: Duration) -> Instant {
        let leases = self.leases.lock().unwrap();
        let after = &leases[leases.partition_point(|(_, at)| *at <= from)..];
        after
            .iter()
            .fold(from + bound, |until, (_, at)| if *at <= until { *at + bound } else { until })
    }

    /// Waits until the process runs.
    pub(super) async fn awake(&self) {
        loop {
            let Weather { dead, paused, .. } = *self.weather();
            if dead {
                pending::<()>().await;
            }
            if paused <= Instant::now() {
                return;
            }
            sleep_until(paused).await;
        }
    }

    /// Has the store carry out `operation`. From its send on, this process has no say in it.
    async fn operate<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl AsyncOperation<T>,
    ) -> Result<T, StoreError> {
        self.awake().await;
        self.world.lock().operations.push(Instant::now());
        let Weather { cut, hangs, loses, slow, .. } = *self.weather();
        let world = Arc::clone(&self.world);
        let (there, back, is_lost) = world
            .draw(|rng, figures| (figures.way.draw(rng), figures.way.draw(rng), rng.f64() < loses));
        if cut && hangs {
            pending::<()>().await;
        }
        let at_store = tokio::spawn(async move {
            sleep(there + slow).await;
            match world.store() {
                Some(store) if !cut => operation(store).await,
                _ => Err(StoreError::unavailable("there is no way to it")),
            }
        });
        let answer = at_store.await.unwrap();
        if is_lost {
            pending::<()>().await;
        }
        sleep(back).await;
        self.awake().await;
        answer
    }
}

type Operation<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// An operation of the store, as a function that is sent there.
trait AsyncOperation<T>: FnOnce(MemoryStore) -> Operation<T> + Send + 'static {}

impl<T, F> AsyncOperation<T> for F where F: FnOnce(MemoryStore) -> Operation<T> + Send + 'static {}

/// A process' way to the store.
#[derive(Clone)]
pub(super) struct Wire(pub(super) Arc<Link>);

impl TokenStore for Wire {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        let name = name.clone();
        let found: Option<Versioned> = self
            .0
            .operate(move |store: MemoryStore| {
                Box::pin(async move { store.get(&name).await }) as Pin<Box<_>>
            })
            .await?;
        if let Some(found) = &found {
            self.0.hears(&found.value);
        }
        Ok(found)
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> Result<Swap, StoreError> {
        let (name, written) = (name.clone(), value.to_vec());
        let link = Arc::clone(&self.0);
        let swap = self
            .0
            .operate(move |store: MemoryStore| {
                Box::pin(async move {
                    let swap = store.compare_and_set(&name, old, new, &written, keep).await?;
                    if swap == Swap::Done {
                        link.world.changed(&link, &written);
                    }
                    Ok(swap)
                }) as Pin<Box<_>>
            })
            .await?;
        match &swap {
            Swap::Done => self.0.hears(value),
            Swap::Conflict(Some(other)) => self.0.hears(&other.value),
            Swap::Conflict(None) => {}
        }
        Ok(swap)
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let subscription = Subscription {
            link: Arc::clone(&self.0),
            name: name.clone(),
            gaps: self.0.gaps.subscribe(),
            notices: None,
        };
        stream::unfold(subscription, |mut subscription| async move {
            Some((subscription.next().await, subscription))
        })
    }
}

struct Subscription {
    link: Arc<Link>,
    name: Name,
    gaps: watch::Receiver<u64>,
    /// `None` while the store can't be reached.
    notices: Option<Pin<Box<dyn Stream<Item = Notice> + Send>>>,
}

impl Subscription {
    async fn next(&mut self) -> Notice {
        loop {
            let Some(notices) = &mut self.notices else {
                self.gaps.borrow_and_update();
                let store = self.link.world.store().filter(|_| !self.link.weather().cut);
                match store {
                    Some(store) => self.notices = Some(Box::pin(store.watch(&self.name))),
                    None => self.gaps.changed().await.unwrap(),
                }
                continue;
            };
            let notice = tokio::select! {
                biased;
                _ = self.gaps.changed() => None,
                notice = notices.next() => notice,
            };
            let Some(notice) = notice else {
                self.notices = None;
                continue;
            };
            sleep(self.link.world.draw(|rng, figures| figures.notice.draw(rng))).await;
            self.link.awake().await;
            let Weather { cut, deaf, .. } = *self.link.weather();
            if !(cut || deaf && notice != Notice::Gap) {
                self.link.world.lock().notices += 1;
                if let Notice::Changed { value, .. } = &notice {
                    self.link.hears(value);
                }
                return notice;
            }
        }
    }
}
