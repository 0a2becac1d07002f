//! Transitions of a renewal that holds requests back, because the token in use dies with the
//! request for the next one. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    effect::{Effects, NewLeases},
    state::{Inputs, Stage, State},
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

/// Returns how to drain requests for this flight; `None` if no token in use could die.
pub(super) fn plan(state: &State, sequence: u64, inputs: &Inputs<'_>) -> Option<DrainPlan> {
    state.flight.filter(|flight| flight.sequence == sequence)?;
    let token = state.alive(&inputs.now)?.clone();
    let times = token.times();
    let (hold, drain) = (times.at(times.schedule.hold, &inputs.now), times.schedule.drain);
    Some(DrainPlan { token, hold, drain })
}

/// Checks for an idle moment. If `is_idle`, the flight holds from here on, before the next request
/// can start. Returns whether the flight need not wait any longer.
pub(super) fn check_idle(state: &mut State, sequence: u64, is_idle: bool) -> (bool, Effects) {
    let refused = state.current.as_ref().is_none_or(|current| current.refused);
    let Some(flight) = state.flight_of(sequence).filter(|_| !refused) else {
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
    if drains {
        effects.leases = Some(NewLeases::NextGeneration);
        effects.count(|tally| &tally.holds);
    }
    (drains, effects)
}
