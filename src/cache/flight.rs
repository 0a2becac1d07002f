//! One refresh in flight, as its waiters see it.

use std::sync::Arc;

use tokio::{runtime, sync::Notify, time::Instant};

use super::broadcast::{Broadcast, Listener};
use crate::{
    error::{AuthError, Kind},
    sync::AbortHandle,
    token::AccessToken,
};

/// The result of a refresh, for every caller that waited for it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// The older token, if the refresh failed and that token can still be sent.
    pub(crate) standing: Option<AccessToken>,
    /// The refresh was called off, and the result is the token from before it.
    pub(crate) called_off: bool,
}

/// The place where a refresh leaves its outcome. The core holds it until the refresh has ended.
pub(super) type Flight = Broadcast<Outcome>;

/// Waits for the outcome of one flight.
pub(crate) type OutcomeListener = Listener<Outcome>;

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
    pub(crate) outcome: OutcomeListener,
    /// The runtime that drives the refresh.
    pub(crate) runtime: runtime::Id,
    /// When the refresh must have ended. After that, its runtime is not driven.
    pub(crate) overdue: Instant,
}

impl Running {
    pub(super) fn new(sequence: u64, runtime: runtime::Id) -> Self {
        Self { sequence, flight: Flight::new(), runtime, expedite: Arc::default(), task: None }
    }

    /// Wakes the waiters with an error, and stops the task if a runtime still drives it.
    pub(super) fn abandon(self) {
        let result = Err(interrupted(false));
        self.stop(Outcome { result, standing: None, called_off: false });
    }

    /// Wakes the waiters with this outcome, and stops the task if a runtime still drives it.
    pub(super) fn stop(self, outcome: Outcome) {
        self.flight.end(outcome);
        if let Some(task) = self.task {
            task.abort();
        }
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
            "the refresh panicked; look for the message of the panic, which names the place, or \
             call again, which starts another refresh",
        )
    } else {
        AuthError::new(
            Kind::RuntimeGone,
            "the Tokio runtime that ran the refresh shut down or stood still; the next call starts \
             afresh on its own runtime",
        )
    }
}
