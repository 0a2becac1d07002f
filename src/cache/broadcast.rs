//! [`Broadcast`]: a value that is set once, and those who wait for it.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use crate::sync::{Mutex, MutexGuard, OnceLock, Place, WakeList};

/// The place where a value is left for all who wait for it.
pub(super) struct Broadcast<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Set under the lock of `waiters`, and read without it.
    value: OnceLock<T>,
    /// Nobody enters once there is a value.
    waiters: Mutex<WakeList>,
}

/// Waits for the value of a [`Broadcast`].
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
        Self(Arc::new(Shared { value: OnceLock::new(), waiters: Mutex::default() }))
    }

    /// Returns a wait for the value. `asks_again` says that it also ends, without a value, when the
    /// waiters are released.
    pub(super) fn listen(&self, asks_again: bool) -> Listener<T> {
        let round = self.lock().round();
        Listener { broadcast: self.clone(), asks_again, round, place: None }
    }

    /// Sets the value and wakes all waiters. Only the first call has an effect.
    ///
    /// The value is there before the first waiter wakes, so a waiter that polls inside its waker
    /// finds it.
    pub(super) fn end(&self, value: T) {
        let mut waiters = self.lock();
        let second = self.0.value.set(value);
        let woken = waiters.take();
        drop(waiters);
        // Dropped outside of the lock, because its destructor may be foreign code.
        drop(second);
        woken.wake_all();
    }

    /// Wakes all waiters before there is a value. Those that may be let in ask the cache again.
    pub(super) fn release(&self) {
        let woken = self.lock().take();
        woken.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, WakeList> {
        // Every change under this lock is one assignment, so a panic leaves nothing half-changed.
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Listener<T> {
    /// Polls the wait. Returns the value, or `None` if there is none yet and the waiter has to ask
    /// the cache again.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<&T>> {
        let Self { broadcast, asks_again, round, place } = self;
        // A waiter that was woken takes no lock, and clones nothing.
        if let Some(value) = broadcast.0.value.get() {
            *place = None;
            return Poll::Ready(Some(value));
        }
        // Cloned without the lock, because a waker's clone is foreign code.
        let mut spare = place.is_none().then(|| cx.waker().clone());
        loop {
            let mut waiters = broadcast.lock();
            if let Some(value) = broadcast.0.value.get() {
                *place = None;
                return Poll::Ready(Some(value));
            }
            if *asks_again && waiters.round() != *round {
                *place = None;
                return Poll::Ready(None);
            }
            if waiters.holds(*place, cx.waker()) {
                return Poll::Pending;
            }
            if let Some(waker) = spare.take() {
                let replaced = waiters.enter(place, waker);
                drop(waiters);
                drop(replaced);
                return Poll::Pending;
            }
            drop(waiters);
            spare = Some(cx.waker().clone());
        }
    }
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let waker = self.broadcast.lock().leave(self.place);
        drop(waker);
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").finish_non_exhaustive()
    }
}
