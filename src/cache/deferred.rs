//! [`Deferred`]: what is left of a transition once the lock is released.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    broadcast::Broadcast,
    changes::Changes,
    effect::{Effect, Ended, Start},
    flight::{Flight, Running},
    lease::Leases,
    verdict::DoubtOutcome,
};
use crate::events::Tally;

/// A flight that has been entered, and is to be spawned.
#[must_use = "a flight that is not spawned leaves its waiters waiting"]
pub(super) struct ToSpawn {
    pub(super) start: Start,
    pub(super) expedite: Arc<Notify>,
}

/// The rest of a transition, once the lock is released.
#[derive(Default)]
pub(super) struct Deferred {
    /// The flight that ended, and how.
    pub(super) ended: Option<(Running, Ended)>,
    pub(super) then: Vec<Effect>,
    pub(super) expedite: Option<Arc<Notify>>,
    /// Kept for its destructor, which may resolve a
    /// [`Drained`](super::lease::Drained).
    pub(super) leases: Option<Leases>,
    /// The flight whose waiters ask the cache again.
    pub(super) released: Option<Flight>,
    /// The doubt that ended, and how.
    pub(super) doubt: Option<(Broadcast<DoubtOutcome>, DoubtOutcome)>,
    pub(super) to_spawn: Option<ToSpawn>,
}

impl Deferred {
    /// Carries out what may run foreign code. Returns the flight that the caller has to spawn.
    pub(super) fn carry_out(self, tally: &Tally, changes: &Changes) -> Option<ToSpawn> {
        let Self { ended, then, expedite, leases, released, doubt, to_spawn } = self;
        drop(leases);
        match ended {
            Some((running, Ended::Completed(outcome))) => running.flight.end(outcome),
            Some((running, Ended::CalledOff(outcome))) => running.stop(outcome),
            Some((running, Ended::Abandoned)) => running.abandon(),
            None => {}
        }
        if let Some(flight) = released {
            flight.release();
        }
        if let Some((waiting, outcome)) = doubt {
            waiting.end(outcome);
        }
        for effect in then {
            match effect {
                Effect::Count(counter) => counter(tally).add(),
                Effect::Expedite => expedite.iter().for_each(|expedite| expedite.notify_one()),
                Effect::Announce(token) => changes.announce(token),
                Effect::Log(record) => record.emit(),
                Effect::Discard(error) => drop(error),
            }
        }
        to_spawn
    }
}
