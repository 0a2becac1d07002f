//! [`WakeList`]: the tasks that wait for one event.
//!
//! Tokio's channels and the `Shared` future of `futures` wake their waiters in one loop, so a waker
//! that panics leaves the rest of them asleep. This list hands its wakers out, and each is woken by
//! itself, outside of whatever lock guards the list.

use std::task::Waker;

use slab::Slab;

use crate::isolate::isolate;

#[derive(Debug, Default)]
pub(crate) struct WakeList(Slab<Waker>);

impl WakeList {
    /// Returns whether the task of `waker` is already the one that waits at `key`.
    pub(crate) fn holds(&self, key: Option<usize>, waker: &Waker) -> bool {
        key.and_then(|key| self.0.get(key)).is_some_and(|held| held.will_wake(waker))
    }

    /// Enters `waker` at `key`, or at a new key. Returns the waker that was there.
    ///
    /// The caller drops it outside of the lock, because a waker's destructor is foreign code.
    #[must_use = "a waker is dropped outside of the lock"]
    pub(crate) fn enter(&mut self, key: &mut Option<usize>, waker: Waker) -> Option<Waker> {
        if let Some(held) = key.and_then(|key| self.0.get_mut(key)) {
            return Some(std::mem::replace(held, waker));
        }
        *key = Some(self.0.insert(waker));
        None
    }

    /// Removes the waker at `key`, if there is one.
    #[must_use = "a waker is dropped outside of the lock"]
    pub(crate) fn leave(&mut self, key: Option<usize>) -> Option<Waker> {
        self.0.try_remove(key?)
    }

    /// Wakes every task of the list, each isolated from the panic of another.
    ///
    /// Takes the list by value: whoever wakes has taken it out from under the lock.
    pub(crate) fn wake_all(self) {
        for (_, waker) in self.0 {
            isolate(|| waker.wake());
        }
    }
}
