//! [`Link`]: the task that keeps one connection, and [`Links`], which starts it and replaces it.
//!
//! ```text
//!               opened, subscribed             lost
//! Connecting ──────────────────────► Ready ───────────► Connecting
//!      │  failed                       ▲
//!      └───────────► Failed ───────────┘ tried again with back-off
//! ```
//!
//! The client crate has a manager that reconnects. It is not used, for three reasons. It keeps a
//! connection on which a response timed out, and that is the sign of a half-open one. It ignores
//! errors of a resubscription, so a watcher could be deaf for ever. It knows no sentinels.

use std::{
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::select;
use redis::aio::MultiplexedConnection;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{primary::Primary, session, watchers::Watchers};
use crate::{clock, events::TARGET, isolate::isolate, store::StoreError};

/// For a whole operation, the wait for a connection included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);

/// A link and what it says of its connection.
struct Link {
    number: u64,
    states: watch::Receiver<State>,
    /// Ends the task when it is dropped.
    _stop: oneshot::Sender<()>,
}

#[derive(Clone)]
enum State {
    Connecting,
    Ready(MultiplexedConnection),
    Failed(StoreError),
}

/// The one link of a store, and what it is made from.
pub(super) struct Links {
    primary: Arc<Primary>,
    pub(super) watchers: Arc<Watchers>,
    current: Mutex<Option<Link>>,
}

impl Links {
    pub(super) fn new(primary: Primary) -> Self {
        Self { primary: primary.into(), watchers: Arc::default(), current: Mutex::new(None) }
    }

    pub(super) fn primary(&self) -> &Primary {
        &self.primary
    }

    /// Runs `operation` on the connection, in bounded time.
    ///
    /// If no response comes, the connection is replaced. That helps too if the runtime of the link
    /// stands still, since the new link is on this one.
    pub(super) async fn run<T>(
        &self,
        operation: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (number, mut states) = self.link()?;
        let run = async {
            let mut connection = ready(&mut states).await?;
            operation(&mut connection).await
        };
        if let Ok(result) = timeout(OPERATION_TIMEOUT, run).await {
            return result;
        }
        self.replace(number);
        let message = format!("{} did not respond in time", self.primary.server);
        Err(StoreError::unavailable(message))
    }

    /// Starts a link unless there is one.
    pub(super) fn ensure(&self) {
        // Without a runtime there is nobody who could read from a connection either.
        drop(self.link());
    }

    /// Returns number and states of the link. Starts one if there is none, or if the runtime of the
    /// last one has shut down.
    fn link(&self) -> Result<(u64, watch::Receiver<State>), StoreError> {
        let current = self.current();
        match &*current {
            Some(link) if link.states.has_changed().is_ok() => {
                Ok((link.number, link.states.clone()))
            }
            _ => self.start(current),
        }
    }

    /// Replaces the link `number`, unless somebody else has.
    fn replace(&self, number: u64) {
        let current = self.current();
        if current.as_ref().is_some_and(|link| link.number == number) {
            drop(self.start(current));
        }
    }

    fn start(
        &self,
        mut current: MutexGuard<'_, Option<Link>>,
    ) -> Result<(u64, watch::Receiver<State>), StoreError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);

        let runtime = Handle::try_current().map_err(|_| {
            StoreError::unusable("there is no Tokio runtime where the store was asked")
        })?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (sender, states) = watch::channel(State::Connecting);
        let (stop, stopped) = oneshot::channel();
        let before = current.replace(Link { number, states: states.clone(), _stop: stop });
        // A runtime that is shutting down drops a task where it is spawned. That wakes watchers,
        // who ask for the link, so the lock is released first.
        drop(current);
        drop(before);
        let task = Task {
            primary: Arc::clone(&self.primary),
            watchers: Arc::clone(&self.watchers),
            states: sender,
        };
        runtime.spawn(async move {
            // Stopped rather than polled once more, if it is both.
            select(stopped, pin!(task.keep_connected())).await;
        });
        Ok((number, states))
    }

    fn current(&self) -> MutexGuard<'_, Option<Link>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a connection. Does not wait for a server that is known to be down.
async fn ready(states: &mut watch::Receiver<State>) -> Result<MultiplexedConnection, StoreError> {
    loop {
        match &*states.borrow_and_update() {
            State::Connecting => {}
            State::Ready(connection) => return Ok(connection.clone()),
            State::Failed(error) => return Err(error.clone()),
        }
        if states.changed().await.is_err() {
            return Err(StoreError::unavailable("the runtime of the connection has shut down"));
        }
    }
}

/// The state of a link's task.
struct Task {
    primary: Arc<Primary>,
    watchers: Arc<Watchers>,
    states: watch::Sender<State>,
}

impl Drop for Task {
    /// Lets a watcher start another link, if the store is still there. The runtime of this one may
    /// have shut down.
    fn drop(&mut self) {
        // First, so that those who wake see that this link has ended.
        drop(mem::replace(&mut self.states, watch::channel(State::Connecting).0));
        self.watchers.wake();
    }
}

impl Task {
    /// Connects, again and again.
    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        loop {
            let opened = clock::now();
            let error = session::run(&self.primary, &self.watchers, |connection| {
                self.states.send_replace(State::Ready(connection));
            });
            let error = error.await;
            isolate(|| {
                let server = &self.primary.server;
                tracing::debug!(target: TARGET, %server, %error, "no connection to the store");
            });
            let was_ready = matches!(&*self.states.borrow(), State::Ready(_));
            let lasts = !error.is_transient();
            // Whoever asks between two attempts is told at once. After a loss there is an attempt
            // to wait for.
            let lost = was_ready && !lasts;
            self.states.send_replace(if lost { State::Connecting } else { State::Failed(error) });
            if was_ready && clock::now() - opened >= Backoff::RESET {
                backoff = Backoff::default();
                if lost {
                    continue;
                }
            }
            sleep(backoff.next(lasts)).await;
        }
    }
}

/// The pause between two attempts. It doubles, and half of it is random.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// For a server that is down. All processes are to be back within two seconds of its return.
    const TRANSIENT: Duration = Duration::from_secs(1);
    /// For what somebody has to set right, such as a password.
    const LASTING: Duration = Duration::from_secs(5);
    /// A connection that lived for so long starts the pauses anew.
    const RESET: Duration = Duration::from_secs(5);

    fn next(&mut self, lasts: bool) -> Duration {
        let longest = if lasts { Self::LASTING } else { Self::TRANSIENT };
        let pause = Self::FIRST.saturating_mul(1 << self.0).min(longest);
        self.0 = (self.0 + 1).min(10);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
