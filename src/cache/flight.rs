//! One refresh in flight, as its waiters see it: an outcome that is set once, and those who wait.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use tokio::{runtime, sync::Notify, time::Instant};

use crate::{
    error::{AuthError, Kind},
    sync::{AbortHandle, Mutex, MutexGuard, Place, WakeList},
    token::AccessToken,
};

/// The result of a refresh, for every caller that waited for it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// The older token, if the refresh failed and that token can still be sent.
    pub(crate) standing: Option<AccessToken>,
}

/// The place where a refresh leaves its outcome. The core holds it until the refresh has ended.
#[derive(Clone)]
pub(super) struct Flight(Arc<Mutex<Progress>>);

enum Progress {
    InFlight(WakeList),
    Ended(Outcome),
}

/// The flight in progress, as far as the state knows nothing of it.
pub(super) struct Running {
    pub(super) sequence: u64,
    pub(super) flight: Flight,
    pub(super) runtime: runtime::Id,
    pub(super) expedite: Arc<Notify>,
    pub(super) task: Option<AbortHandle>,
}

/// A flight that a caller may wait for.
pub(crate) struct FlightHandle {
    pub(crate) outcome: OutcomeFuture,
    /// The runtime that drives the refresh.
    pub(crate) runtime: runtime::Id,
    /// When the refresh must have ended. After that, its runtime is not driven.
    pub(crate) overdue: Instant,
}

/// Resolves to the outcome of one flight; to `None` if the flight goes on and its waiters have to
/// ask the cache again.
pub(crate) struct OutcomeFuture {
    flight: Flight,
    /// The waiter asks the cache again when the flight's waiters are released.
    asks_again: bool,
    /// The round of the flight's wake list in which the wait began.
    round: u32,
    place: Option<Place>,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress::InFlight(WakeList::default()))))
    }

    /// Returns a future of the outcome. A waiter that needs the flight's own result, and not just
    /// a token, does not ask the cache again before the flight has ended: it could start another.
    pub(super) fn outcome(&self, asks_again: bool) -> OutcomeFuture {
        let round = match &*self.lock() {
            Progress::InFlight(waiters) => waiters.round(),
            Progress::Ended(_) => 0,
        };
        OutcomeFuture { flight: self.clone(), asks_again, round, place: None }
    }

    /// Sets the outcome and wakes all waiters. Only the first call has an effect.
    ///
    /// The outcome is there before the first waiter wakes, so a waiter that polls inside its waker
    /// finds it.
    pub(super) fn end(&self, outcome: Outcome) {
        let mut progress = self.lock();
        if let Progress::Ended(_) = *progress {
            drop(progress);
            return;
        }
        let before = std::mem::replace(&mut *progress, Progress::Ended(outcome));
        drop(progress);
        if let Progress::InFlight(mut waiters) = before {
            waiters.take().wake_all();
        }
    }

    /// Wakes all waiters so that they ask the cache again, while the flight goes on.
    pub(super) fn release(&self) {
        let mut progress = self.lock();
        let waiters = match &mut *progress {
            Progress::InFlight(waiters) => Some(waiters.take()),
            Progress::Ended(_) => None,
        };
        drop(progress);
        if let Some(waiters) = waiters {
            waiters.wake_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Every change under this lock is one assignment, so a panic leaves nothing half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    pub(super) fn new(sequence: u64, runtime: runtime::Id) -> Self {
        Self { sequence, flight: Flight::new(), runtime, expedite: Arc::default(), task: None }
    }

    /// Wakes the waiters with an error, and stops the task if a runtime still drives it.
    pub(super) fn abandon(self) {
        self.flight.end(Outcome { result: Err(interrupted(false)), standing: None });
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Future for OutcomeFuture {
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Self { flight, asks_again, round, place } = &mut *self;
        // Cloned without the lock, because a waker's clone is foreign code.
        let mut spare = place.is_none().then(|| cx.waker().clone());
        loop {
            let mut progress = flight.lock();
            match &mut *progress {
                Progress::Ended(outcome) => {
                    *place = None;
                    return Poll::Ready(Some(outcome.clone()));
                }
                Progress::InFlight(waiters) if *asks_again && waiters.round() != *round => {
                    *place = None;
                    return Poll::Ready(None);
                }
                Progress::InFlight(waiters) if waiters.holds(*place, cx.waker()) => {
                    return Poll::Pending;
                }
                Progress::InFlight(waiters) => {
                    if let Some(waker) = spare.take() {
                        let replaced = waiters.enter(place, waker);
                        drop(progress);
                        drop(replaced);
                        return Poll::Pending;
                    }
                }
            }
            drop(progress);
            spare = Some(cx.waker().clone());
        }
    }
}

impl Drop for OutcomeFuture {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let mut progress = self.flight.lock();
        let waker = match &mut *progress {
            Progress::InFlight(waiters) => waiters.leave(self.place),
            Progress::Ended(_) => None,
        };
        drop(progress);
        drop(waker);
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

/// The error of a flight whose runtime has no timers.
pub(super) fn no_timers() -> AuthError {
    AuthError::new(
        Kind::NoTimers,
        "the Tokio runtime that runs the refresh has no timers; build it with `enable_time` or \
         `enable_all`, or name another one with `TokenCacheBuilder::runtime`",
    )
}

/// The error of a flight that died.
pub(super) fn interrupted(panicked: bool) -> AuthError {
    if panicked {
        AuthError::new(
            Kind::Interrupted,
            "the refresh panicked; the panic's own message names the place. The next call starts \
             afresh",
        )
    } else {
        AuthError::new(
            Kind::RuntimeGone,
            "the Tokio runtime that ran the refresh shut down or stood still; the next call starts \
             afresh on its own runtime",
        )
    }
}
