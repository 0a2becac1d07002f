//! [`WakeList`]: the tasks that wait for one event.
//!
//! Tokio's channels and the `Shared` future of `futures` wake their waiters in one loop, so a waker
//! that panics leaves the rest of them asleep. This list hands its wakers out, and each is woken by
//! itself, outside of whatever lock guards the list.

use std::task::Waker;

use slab::Slab;

use crate::isolate::isolate;

#[derive(Debug, Default)]
pub(crate) struct WakeList {
    wakers: Slab<Waker>,
    round: u32,
}

/// A place in a wake list. Once the list was emptied, the place means nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    round: u32,
    index: u32,
}

/// The wakers of a list that was emptied.
pub(crate) struct Wakers(Slab<Waker>);

impl WakeList {
    /// Returns how many times the list was emptied.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// Returns whether the task of `waker` is already the one that waits at `place`.
    pub(crate) fn holds(&self, place: Option<Place>, waker: &Waker) -> bool {
        let held = self.index(place).and_then(|index| self.wakers.get(index));
        held.is_some_and(|held| held.will_wake(waker))
    }

    /// Enters `waker` at `place`, or at a new place. Returns the waker that was there.
    ///
    /// The caller drops it outside of the lock, because a waker's destructor is foreign code.
    #[must_use = "a waker is dropped outside of the lock"]
    pub(crate) fn enter(&mut self, place: &mut Option<Place>, waker: Waker) -> Option<Waker> {
        if let Some(held) = self.index(*place).and_then(|index| self.wakers.get_mut(index)) {
            return Some(std::mem::replace(held, waker));
        }
        let index = self.wakers.insert(waker);
        // More tasks than fit wait for nothing: such a place is never found again, and its waker
        // is woken all the same.
        *place = u32::try_from(index).ok().map(|index| Place { round: self.round, index });
        None
    }

    /// Removes the waker at `place`, if there is one.
    #[must_use = "a waker is dropped outside of the lock"]
    pub(crate) fn leave(&mut self, place: Option<Place>) -> Option<Waker> {
        self.wakers.try_remove(self.index(place)?)
    }

    /// Empties the list. The caller wakes outside of the lock.
    pub(crate) fn take(&mut self) -> Wakers {
        self.round = self.round.wrapping_add(1);
        Wakers(std::mem::take(&mut self.wakers))
    }

    fn index(&self, place: Option<Place>) -> Option<usize> {
        let place = place.filter(|place| place.round == self.round)?;
        usize::try_from(place.index).ok()
    }
}

impl Wakers {
    /// Wakes every task, each isolated from the panic of another.
    pub(crate) fn wake_all(self) {
        for (_, waker) in self.0 {
            isolate(|| waker.wake());
        }
    }
}
