//! The state behind a [`TokenCache`](crate::TokenCache): which token is served, and the one flight for the next.
//!
//! The read path asks the [slot](super::slot), or a lease from there, and nothing else. Whatever makes a token unusable but
//! its age is shown through it: refused by a resource, or being replaced by an exclusive endpoint. Everything that changes is decided
//! under one short lock that no await ever crosses, and under which no foreign code runs.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use http::Uri;
use tokio::{
    runtime,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    slot::{Drained, Lease, Leases, Slot},
    task::Stage,
};
use crate::{
    clock,
    endpoint::{DynEndpoint, Rotation},
    error::{AuthError, Kind},
    events::Tally,
    refresh::{RefreshPolicy, cooldown::Cooldown, gate::Gate},
    sync::{AbortHandle, Mutex, MutexGuard, oneshot},
    token::AccessToken,
};

pub(crate) struct Core {
    pub(super) slot: Slot,
    state: Mutex<State>,
    pub(super) changes: watch::Sender<Option<AccessToken>>,
    pub(super) endpoint: Box<dyn DynEndpoint>,
    pub(crate) uri: Option<Uri>,
    pub(crate) rotation: Rotation,
    pub(crate) scheme: Box<str>,
    pub(crate) policy: RefreshPolicy,
    pub(super) keep_warm: bool,
    pub(crate) tally: Tally,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) newest: Option<CurrentToken>,
    pub(super) flight: Option<Flight>,
    /// The number of the newest flight, and of the token that it brings.
    pub(super) last_sequence: u64,
    /// After a failed flight: until when there is no other.
    pub(super) gate: Option<Gate>,
    pub(super) cooldown: Cooldown,
    /// Renews without traffic.
    pub(super) warmer: Option<AbortHandle>,
    pub(super) closed: bool,
    /// Flights in a row that have panicked.
    pub(super) panics: u32,
}

impl State {
    /// The newest token, unless it has expired or was refused, or is being replaced by an endpoint that kills it in
    /// doing so.
    pub(super) fn servable(&self) -> Option<&CurrentToken> {
        let held = self.flight.as_ref().is_some_and(|flight| flight.stage == Stage::Holding);
        self.newest.as_ref().filter(|newest| !newest.refused && !held && newest.token.is_usable())
    }

    /// The token that `want` can have without a flight.
    pub(super) fn serves(&self, want: &Requirement) -> Option<AccessToken> {
        let token = &self.servable()?.token;
        match want {
            Requirement::Usable => Some(token.clone()),
            Requirement::NewerThan(refused) if token.sequence() > refused.sequence() => {
                Some(token.clone())
            }
            Requirement::NewerThan(_) | Requirement::Fresh => None,
        }
    }

    /// Refused credentials may be corrected at any time, which asking their source now and then finds out, without
    /// asking the endpoint.
    pub(super) fn is_probe(&self, now: Instant) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_shut(now) && gate.is_worth_a_look(now))
    }

    /// Until when no flight starts, after a failure.
    pub(super) fn gate_ends(&self) -> Option<Instant> {
        self.gate.as_ref().map(|gate| gate.until)
    }
}

/// The newest token.
pub(super) struct CurrentToken {
    pub(super) token: AccessToken,
    pub(super) leases: Leases,
    /// Resolves when that lease is held by nobody, not even here.
    gone: Drained,
    /// The same, for earlier leases of this token: of requests that may have outlived a drain.
    earlier: Vec<Drained>,
    /// A resource answered 401 to it, or it is known to be dead.
    pub(super) refused: bool,
    /// It may be dead: a request for its successor was sent, and what became of that is unknown.
    pub(super) suspect: bool,
}

/// The flight that is under way.
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) stage: Stage,
    /// Ends the search for a quiet moment, and the drain.
    pub(super) expedite: Arc<Notify>,
    pub(super) outcome: Shared<oneshot::Receiver<Outcome>>,
    pub(super) runtime: runtime::Id,
    pub(super) waiters: oneshot::Sender<Outcome>,
    pub(super) task: Option<AbortHandle>,
    /// When it must have landed. Later than that, the runtime that should drive it does not.
    pub(super) overdue: Instant,
}

/// What a waiter holds of a flight.
#[derive(Clone)]
pub(crate) struct FlightHandle {
    /// Resolves when it has landed; every waiter polls a clone of its own.
    pub(crate) outcome: Shared<oneshot::Receiver<Outcome>>,
    /// The runtime that drives it.
    pub(crate) runtime: runtime::Id,
    pub(crate) overdue: Instant,
}

/// What a flight brought, for all who waited for it.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// After a failure: the older token, if it can still be sent.
    pub(crate) standing: Option<AccessToken>,
}

/// What a caller needs.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// A token that can be sent.
    Usable,
    /// One that is newer than this, which a resource refused.
    NewerThan(AccessToken),
    /// The result of a flight, whatever there is now.
    Fresh,
}

pub(crate) enum Acquired {
    Token(AccessToken),
    Waiting(FlightHandle),
    Failed(AuthError),
}

impl Core {
    pub(crate) fn new(
        endpoint: Box<dyn DynEndpoint>,
        uri: Option<Uri>,
        rotation: Rotation,
        scheme: Box<str>,
        policy: RefreshPolicy,
        keep_warm: bool,
    ) -> Self {
        Self {
            slot: Slot::default(),
            state: Mutex::default(),
            changes: watch::Sender::new(None),
            endpoint,
            uri,
            rotation,
            scheme,
            policy,
            keep_warm,
            tally: Tally::default(),
        }
    }

    /// Whether requests are held back while a token is asked for.
    pub(super) fn holds(&self) -> bool {
        self.rotation == Rotation::Exclusive && self.policy.hold
    }

    /// How long a flight may take from where it holds: later than that, the runtime that should drive it does not. Twice
    /// its deadline, because a busy runtime may be late.
    pub(super) fn flight_bound(&self) -> Duration {
        self.policy.windows.drain_timeout.saturating_add(self.policy.deadline.saturating_mul(2))
    }

    /// Shows the read path what `servable` says, until there is a question.
    pub(super) fn publish(&self, state: &State) {
        let Some(newest) = state.servable() else { return self.slot.withdraw() };
        let times = newest.token.times();
        let (due, unusable) = (times.at(times.schedule.due), times.at(times.schedule.unusable));
        let until = match (&state.flight, &state.gate) {
            (Some(_), _) => unusable,
            (None, Some(gate)) => due.max(gate.until).min(unusable),
            (None, None) => due,
        };
        self.slot.publish(&newest.leases, until);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CurrentToken {
    pub(super) fn new(token: AccessToken, core: &Weak<Core>) -> Self {
        let (leases, gone) = Lease::new(&token, core);
        Self { token, leases, gone, earlier: Vec::new(), refused: false, suspect: false }
    }

    /// Whether no request is under way with it. That lasts only if nobody can get a lease any more.
    pub(super) fn is_unused(&self) -> bool {
        Lease::is_unused(&self.leases) && self.earlier.iter().all(is_over)
    }

    /// Leaves the lease to the requests that hold it; those to come, if the token lives on, get another. Returns what
    /// resolves when all that are under way are done.
    pub(super) fn hand_over(&mut self) -> Vec<Drained> {
        let (leases, gone) = Lease::new(&self.token, self.leases.local().core());
        self.leases = leases;
        self.earlier.push(std::mem::replace(&mut self.gone, gone));
        self.earlier.retain(|gone| !is_over(gone));
        // Kept as well: this renewal may not wait to the end, and fail.
        self.earlier.clone()
    }

    /// Whether it may be sent, as far as is known but for its age.
    pub(super) fn is_alive(&self) -> bool {
        !self.refused && !self.token.time_left().is_zero()
    }
}

fn is_over(gone: &Drained) -> bool {
    gone.clone().now_or_never().is_some()
}

impl Flight {
    /// What a waiter gets. It needs the flight now, not at a quiet moment.
    pub(super) fn join(&mut self, now: Instant, bound: Duration) -> FlightHandle {
        self.overdue = self.overdue.min(clock::later(now, bound));
        self.expedite.notify_one();
        self.landed()
    }

    pub(super) fn landed(&self) -> FlightHandle {
        FlightHandle { outcome: self.outcome.clone(), runtime: self.runtime, overdue: self.overdue }
    }

    /// Wakes its waiters, and stops its task if a runtime still drives it.
    pub(super) fn give_up(self) {
        let _ = self.waiters.send(Outcome { result: Err(interrupted(false)), standing: None });
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

pub(crate) fn interrupted(panicked: bool) -> AuthError {
    AuthError::new(
        Kind::Interrupted,
        if panicked {
            "the refresh panicked; the panic's own message names the place. The next call starts afresh"
        } else {
            "the Tokio runtime that ran the refresh shut down; the next call starts afresh on its own runtime"
        },
    )
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
