//! [`Locked`]: everything that the one lock of the [core](super::core) guards.

use std::sync::Weak;

use super::{
    broadcast::Broadcast,
    effect::NewLeases,
    flight::{FlightHandle, Running, interrupted},
    lease::{Generations, Lease, Leases, OnResponse},
    state::State,
    verdict::DoubtOutcome,
};
use crate::{
    error::AuthError,
    store::Name,
    sync::{self, AbortHandle},
    token::AccessToken,
};

/// Everything that the one lock guards.
#[derive(Default)]
pub(super) struct Locked {
    pub(super) state: State,
    pub(super) leases: Option<Generations>,
    pub(super) flight: Option<Running>,
    /// Where the requests wait that were refused while a probe is out.
    pub(super) doubt: Option<Broadcast<DoubtOutcome>>,
    /// Where the requests wait that were refused while the store is asked for a newer token.
    pub(super) question: Option<Broadcast<DoubtOutcome>>,
    /// The task that hears of other processes, and the name that they share.
    pub(super) listener: Option<(Name, AbortHandle)>,
    /// The task that renews without traffic.
    pub(super) warmer: Option<AbortHandle>,
}

/// The result of an acquisition, for the caller.
pub(crate) enum Acquired {
    Token(AccessToken),
    /// The caller goes first with the current token.
    Scout(sync::Arc<Lease>),
    Waiting(FlightHandle),
    Failed(AuthError),
}

impl Locked {
    /// Returns what a waiter needs of the flight in progress. A waiter that `asks_again` does so
    /// when the flight's hold has timed out. One that needs the flight's own result, and not just a
    /// token, does not: it could start another flight.
    pub(super) fn handle(&self, asks_again: bool) -> Acquired {
        let (Some(running), Some(flight)) = (&self.flight, &self.state.flight) else {
            return Acquired::Failed(interrupted(false));
        };
        Acquired::Waiting(FlightHandle {
            outcome: running.flight.listen(asks_again),
            runtime: running.runtime,
            overdue: flight.overdue,
        })
    }

    /// Returns the old leases, which are dropped without the lock.
    pub(super) fn start_leases(
        &mut self,
        leases: Option<NewLeases>,
        on_response: &Weak<dyn OnResponse>,
    ) -> Option<Leases> {
        match leases? {
            NewLeases::Of(token) => {
                let old = self.leases.replace(Generations::new(&token, on_response));
                old.map(Generations::into_current)
            }
            NewLeases::NextGeneration => self.leases.as_mut().map(Generations::advance),
        }
    }
}
