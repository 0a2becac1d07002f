//! [`Broadcast`]: a value that is set once, and those who wait for it.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use crate::sync::{Mutex, MutexGuard, Place, WakeList};

/// The place where a value is left for all who wait for it.
pub(super) struct Broadcast<T>(Arc<Mutex<Progress<T>>>);

enum Progress<T> {
    Open(WakeList),
    Ended(T),
}

/// Resolves to the value of a [`Broadcast`]; to `None` if there is none yet, and its waiters have
/// to ask the cache again.
pub(crate) struct Listener<T> {
    broadcast: Broadcast<T>,
    /// The waiter asks the cache again when the waiters are released.
    asks_again: bool,
    /// The round of the wake list in which the wait began.
    round: u32,
    place: Option<Place>,
}

impl<T> Broadcast<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress::Open(WakeList::default()))))
    }

    /// Returns a future of the value. `asks_again` says that it resolves to `None` when the waiters
    /// are released.
    pub(super) fn listen(&self, asks_again: bool) -> Listener<T> {
        let round = match &*self.lock() {
            Progress::Open(waiters) => waiters.round(),
            Progress::Ended(_) => 0,
        };
        Listener { broadcast: self.clone(), asks_again, round, place: None }
    }

    /// Sets the value and wakes all waiters. Only the first call has an effect.
    ///
    /// The value is there before the first waiter wakes, so a waiter that polls inside its waker
    /// finds it.
    pub(super) fn end(&self, value: T) {
        let mut progress = self.lock();
        if let Progress::Ended(_) = *progress {
            drop(progress);
            return;
        }
        let before = std::mem::replace(&mut *progress, Progress::Ended(value));
        drop(progress);
        if let Progress::Open(mut waiters) = before {
            waiters.take().wake_all();
        }
    }

    /// Wakes all waiters so that they ask the cache again, before there is a value.
    pub(super) fn release(&self) {
        let mut progress = self.lock();
        let waiters = match &mut *progress {
            Progress::Open(waiters) => Some(waiters.take()),
            Progress::Ended(_) => None,
        };
        drop(progress);
        if let Some(waiters) = waiters {
            waiters.wake_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        // Every change under this lock is one assignment, so a panic leaves nothing half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Future for Listener<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { broadcast, asks_again, round, place } = &mut *self;
        // Cloned without the lock, because a waker's clone is foreign code.
        let mut spare = place.is_none().then(|| cx.waker().clone());
        loop {
            let mut progress = broadcast.lock();
            match &mut *progress {
                Progress::Ended(value) => {
                    *place = None;
                    return Poll::Ready(Some(value.clone()));
                }
                Progress::Open(waiters) if *asks_again && waiters.round() != *round => {
                    *place = None;
                    return Poll::Ready(None);
                }
                Progress::Open(waiters) if waiters.holds(*place, cx.waker()) => {
                    return Poll::Pending;
                }
                Progress::Open(waiters) => {
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

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let mut progress = self.broadcast.lock();
        let waker = match &mut *progress {
            Progress::Open(waiters) => waiters.leave(self.place),
            Progress::Ended(_) => None,
        };
        drop(progress);
        drop(waker);
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").finish_non_exhaustive()
    }
}
