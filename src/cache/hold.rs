//! Transitions of a renewal that holds requests back, because the token in use dies with the
//! request for the next one. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    effect::{Effects, NewLeases},
    state::{Drain, Flight, Inputs, Stage, Standing, State},
    trial,
};
use crate::{clock, token::AccessToken};

/// The times of a drain, and the token that it protects requests from.
pub(super) struct DrainPlan {
    /// The token that is about to die.
    pub(super) token: AccessToken,
    /// When the wait for an idle moment ends.
    pub(super) hold: Instant,
    /// How long requests in flight are waited for after that.
    pub(super) drain: Duration,
}

/// Returns how to drain requests for this flight; `None` if no token in use could die, or it may
/// have died already.
pub(super) fn plan(state: &State, sequence: u64, inputs: &Inputs<'_>) -> Option<DrainPlan> {
    state.flight.filter(|flight| flight.sequence == sequence)?;
    if state.is_suspect(inputs) {
        return None;
    }
    let token = state.alive(&inputs.now)?.clone();
    let times = token.times();
    let (hold, drain) = (times.at(times.schedule.hold, &inputs.now), times.schedule.drain);
    Some(DrainPlan { token, hold, drain })
}

/// Checks for an idle moment. If `is_idle`, the flight holds from here on, before the next request
/// can start. Returns whether the flight need not wait any longer.
pub(super) fn check_idle(state: &mut State, sequence: u64, is_idle: bool) -> (bool, Effects) {
    let is_over = state.current.as_ref().is_none_or(|it| it.standing != Standing::Good);
    let Some(flight) = state.flight_of(sequence).filter(|_| !is_over) else {
        return (true, Effects::publish());
    };
    if is_idle {
        flight.stage = Stage::Holding;
    }
    (is_idle, Effects::publish())
}

/// Holds new requests back. Returns whether there is anything to drain: not if the token died by
/// other means.
pub(super) fn hold(state: &mut State, sequence: u64, inputs: &Inputs<'_>) -> (bool, Effects) {
    let overdue = clock::later(inputs.now.at, inputs.rules.flight_bound());
    let Some(flight) = state.flight_of(sequence) else { return (false, Effects::default()) };
    flight.stage = Stage::Holding;
    flight.overdue = overdue;
    let mut effects = Effects::publish();
    let drains = state.alive(&inputs.now).is_some();
    if let Some(current) = state.current.as_mut().filter(|_| inputs.accepted_lately) {
        // Said now, because the new generation of leases knows nothing of it.
        current.suspect = false;
    }
    if drains {
        effects.leases = Some(NewLeases::NextGeneration);
        effects.count(|tally| &tally.holds);
    }
    (drains, effects)
}

/// Notes that the endpoint is asked from here on. A token in use may die of that. Returns `false`
/// if the flight is no longer in progress: it was called off, or given up, and must not ask.
pub(super) fn asking(state: &mut State, sequence: u64) -> bool {
    let Some(flight) = state.flight_of(sequence) else { return false };
    flight.drain = Drain::Over;
    true
}

/// Ends the hold of this flight, whose request for a token takes long. The token may have died by
/// then, so one request goes first.
pub(super) fn time_out(state: &mut State, sequence: u64, inputs: &Inputs<'_>) -> Effects {
    let is_alive = state.alive(&inputs.now).is_some();
    let is_it =
        |flight: &&mut Flight| flight.sequence == sequence && flight.stage == Stage::Holding;
    let Some(flight) = state.flight.as_mut().filter(is_it) else { return Effects::default() };
    flight.stage = Stage::Scouting { taken: false };
    flight.hold_timed_out = true;
    if let Some(current) = state.current.as_mut().filter(|_| is_alive) {
        flight.suspects = !current.suspect;
        current.suspect = true;
        // There is no successor yet. A token that was accepted is better than none.
        if current.token.is_accepted() {
            current.standing = Standing::Good;
        }
    }
    let mut effects = Effects::publish();
    // Only a response to a request that is sent from here on tells whether the token lives.
    effects.leases = Some(NewLeases::NextGeneration);
    effects.release = true;
    effects.count(|tally| &tally.holds_timed_out);
    effects
}

/// Lets one request go first, if none has yet. Returns whether this one does.
pub(super) fn scout(state: &mut State, inputs: &Inputs<'_>) -> bool {
    let is_good = state.current.as_ref().is_some_and(|current| {
        current.standing == Standing::Good && current.token.is_usable_at(&inputs.now)
    });
    let Some(flight) = state.flight.as_mut().filter(|_| is_good) else { return false };
    let goes = flight.stage == Stage::Scouting { taken: false };
    if goes {
        flight.stage = Stage::Scouting { taken: true };
    }
    goes
}

/// Lets another request go first, because the one that was to do so could not be sent.
pub(super) fn give_up_scouting(state: &mut State, inputs: &Inputs<'_>) -> Effects {
    let taken = Stage::Scouting { taken: true };
    let Some(flight) = state.flight.as_mut().filter(|it| it.stage == taken) else {
        return trial::give_up(state, inputs);
    };
    flight.stage = Stage::Scouting { taken: false };
    Effects { release: true, ..Effects::default() }
}

/// Lets all requests follow the first, while the flight goes on: the token was accepted, or nothing
/// was heard for a while. `sequence` names the flight if that matters.
pub(super) fn follow(state: &mut State, sequence: Option<u64>) -> Effects {
    let is_it = |flight: &&mut Flight| sequence.is_none_or(|it| it == flight.sequence);
    let Some(flight) = state.flight.as_mut().filter(is_it) else { return Effects::default() };
    if !matches!(flight.stage, Stage::Scouting { .. }) {
        return Effects::default();
    }
    flight.stage = Stage::Serving;
    Effects { release: true, ..Effects::publish() }
}
