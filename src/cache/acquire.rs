//! What callers get: a token at once, or a flight to wait for, or the reason why there is neither.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::{runtime::Handle, time::Instant};

use tracing::Instrument;

use super::{
    slot::Lease,
    state::{Acquired, Core, Flight, FlightHandle, Requirement, State, interrupted},
    task::{RefreshTask, Stage, Trigger},
};
use crate::{
    clock,
    error::{AuthError, Kind},
    events::TARGET,
    sync::{self, MutexGuard, oneshot},
    token::AccessToken,
};

impl Core {
    /// The token that a request can be signed with now, on lease until its response head is there.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<sync::Arc<Lease>> {
        if let Some(lease) = self.slot.lease() {
            return Some(lease);
        }
        self.lease_in_question()
    }

    #[cold]
    fn lease_in_question(self: &Arc<Self>) -> Option<sync::Arc<Lease>> {
        // Its renewal may be due, which is no reason not to serve it.
        let mut state = self.lock();
        let newest = state.servable()?;
        let (token, lease) = (newest.token.clone(), sync::Arc::clone(newest.leases.local()));
        self.start_if_due(&mut state, &token).unlock(self, state);
        Some(lease)
    }

    /// Whether it is the token that a request would be signed with now, as far as can be told without the lock.
    pub(crate) fn serves(&self, token: &AccessToken) -> bool {
        self.slot.lease().is_some_and(|lease| lease.token.is(token))
    }

    /// The token that can be sent now; starts nothing.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        let lease = self.slot.lease();
        lease.map(|lease| lease.token.clone()).or_else(|| self.lock().serves(&Requirement::Usable))
    }

    /// A token at once, or the flight to wait for: the one under way, or one that this call starts.
    pub(crate) fn get(self: &Arc<Self>, want: &Requirement) -> Acquired {
        if let Requirement::Usable = want
            && let Some(lease) = self.slot.lease()
        {
            return Acquired::Token(lease.token.clone());
        }
        let now = clock::now();
        let mut state = self.lock();
        if let Some(token) = state.serves(want) {
            self.start_if_due(&mut state, &token).unlock(self, state);
            return Acquired::Token(token);
        }
        if let Some(flight) = state.flight.as_mut().filter(|flight| now < flight.overdue) {
            self.tally.joined.add();
            return Acquired::Waiting(flight.join(now, self.flight_bound()));
        }
        if let Some(error) = self.held_off(&state, want, now) {
            return Acquired::Failed(error);
        }
        let Ok(runtime) = Handle::try_current() else {
            return Acquired::Failed(AuthError::new(
                Kind::NoRuntime,
                "a token has to be asked for, and there is no Tokio runtime here; call from within one",
            ));
        };
        let why = match want {
            Requirement::Usable if state.is_probe(now) => Trigger::Probe,
            Requirement::Usable | Requirement::NewerThan(_) => Trigger::Needed,
            Requirement::Fresh => Trigger::Forced,
        };
        let start = self.prepare(&mut state, runtime, why, now);
        let landed = start.landed();
        start.unlock(self, state);
        landed
    }

    /// Trigger no flight may start now.
    fn held_off(&self, state: &State, want: &Requirement, now: Instant) -> Option<AuthError> {
        if let (Requirement::NewerThan(refused), Some(newest)) = (want, &state.newest)
            && newest.token.is(refused)
            && !newest.refused
        {
            return Some(AuthError::new(
                Kind::CoolingDown,
                "the token was refused soon after it was issued, as the one before it, so no new one is asked for \
                 yet; is the client id used by another process, or has the client no right to this resource?",
            ));
        }
        let probe = matches!(want, Requirement::Usable) && state.is_probe(now);
        let gate = state.gate.as_ref().filter(|gate| gate.is_shut(now) && !probe)?;
        self.tally.backed_off.add();
        Some(gate.error.clone())
    }

    /// Starts a renewal in the background, if it is time for one and nothing stands against it.
    fn start_if_due(self: &Arc<Self>, state: &mut State, token: &AccessToken) -> Start {
        let (now, times) = (clock::now(), token.times());
        let due = now >= times.at(times.schedule.due);
        let shut = state.gate.as_ref().is_some_and(|gate| gate.is_shut(now));
        if due
            && !shut
            && state.flight.is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            return self.prepare(state, runtime, Trigger::Due, now);
        }
        // The machine may have slept, so that what was shown was too early or too late.
        self.publish(state);
        Start::nothing()
    }

    /// Enters a new flight into the state.
    fn prepare(
        self: &Arc<Self>,
        state: &mut State,
        runtime: Handle,
        why: Trigger,
        now: Instant,
    ) -> Start {
        self.tally.refreshes.add();
        state.last_sequence += 1;
        let sequence = state.last_sequence;
        let mut overdue = clock::later(now, self.flight_bound());
        match why {
            Trigger::Due => {
                overdue += state
                    .newest
                    .as_ref()
                    .map(|newest| newest.token.time_left())
                    .unwrap_or_default();
            }
            Trigger::Probe => state.gate.iter_mut().for_each(|gate| gate.looked(now)),
            Trigger::Needed | Trigger::Forced => {}
        }
        let (waiters, receiver) = oneshot::channel();
        let flight = Flight {
            sequence,
            stage: Stage::first(why, self.holds() && state.newest.is_some()),
            expedite: Arc::default(),
            outcome: receiver.shared(),
            runtime: runtime.id(),
            waiters,
            task: None,
            overdue,
        };
        let landed = flight.landed();
        let abandoned = state.flight.replace(flight);
        self.publish(state);
        Start {
            landing: Some((runtime, RefreshTask::new(Arc::clone(self), sequence, why), landed)),
            abandoned,
        }
    }

    /// The last handle is gone, and nobody is left to use what a flight would bring.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (flight, warmer) = (state.flight.take(), state.warmer.take());
        drop(state);
        if let Some(flight) = flight {
            flight.give_up();
        }
        if let Some(warmer) = warmer {
            warmer.abort();
        }
    }
}

/// A flight that has been entered into the state, and is to be started once the lock is free: a runtime that is
/// shutting down drops a task where it is spawned, and with it the landing.
#[must_use]
struct Start {
    landing: Option<(Handle, RefreshTask, FlightHandle)>,
    /// What it has replaced, overdue.
    abandoned: Option<Flight>,
}

impl Start {
    fn nothing() -> Self {
        Self { landing: None, abandoned: None }
    }

    fn landed(&self) -> Acquired {
        match &self.landing {
            Some((_, _, landed)) => Acquired::Waiting(landed.clone()),
            None => Acquired::Failed(interrupted(false)),
        }
    }

    fn unlock(self, core: &Core, state: MutexGuard<'_, State>) {
        drop(state);
        if let Some(abandoned) = self.abandoned {
            abandoned.give_up();
        }
        if let Some((runtime, landing, _)) = self.landing {
            let sequence = landing.sequence();
            // Of no caller: whoever started it, it is everybody's.
            let why = tracing::field::debug(landing.why());
            let span =
                tracing::info_span!(target: TARGET, parent: None, "token_refresh", sequence, why);
            let task = sync::spawn(&runtime, landing.run().instrument(span));
            if let Some(flight) =
                core.lock().flight.as_mut().filter(|flight| flight.sequence == sequence)
            {
                flight.task = Some(task);
            }
        }
    }
}
