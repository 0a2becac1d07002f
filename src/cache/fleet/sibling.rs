//! Transitions when another process, a sibling, renews the token that both use. Pure.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::super::{
    effect::{Effects, Ended, NewLeases, Trigger},
    flight::Outcome,
    state::{Drain, Inputs, Stage, Standing, State},
};
use crate::clock;

/// The least time between two questions to the store after refusals of one token.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Starts a flight that waits for a sibling's renewal, if this process has a token that dies of it.
/// `sequence` is the number of the token that the store has. A newer one dies as well.
pub(super) fn begin(state: &mut State, sequence: u64, inputs: &Inputs<'_>) -> Effects {
    let mut effects = Effects::default();
    let has_it = state.servable(&inputs.now).is_some_and(|token| token.sequence() >= sequence);
    if has_it && state.flight.is_none() && !state.closed {
        state.begin(Trigger::Sibling, inputs, &mut effects);
        effects.leases = Some(NewLeases::NextGeneration);
        effects.count(|tally| &tally.sibling_holds);
    }
    effects
}

/// Holds new requests back because a sibling asks for a token. Returns `false` if there is no token
/// in use that could die of it.
pub(super) fn hold(state: &mut State, flight: u64, inputs: &Inputs<'_>) -> (bool, Effects) {
    let (has_token, is_suspect) = (state.alive(&inputs.now).is_some(), state.is_suspect(inputs));
    let holds = inputs.rules.holds() && has_token && !is_suspect;
    let Some(flight) = state.flight_of(flight).filter(|_| holds) else {
        return (false, Effects::default());
    };
    flight.drain = Drain::Over;
    if flight.stage == Stage::Holding {
        return (true, Effects::default());
    }
    flight.stage = Stage::Holding;
    flight.hold_timed_out = false;
    let mut effects = Effects::publish();
    effects.leases = Some(NewLeases::NextGeneration);
    effects.count(|tally| &tally.sibling_holds);
    (true, effects)
}

/// Ends the flight because a sibling gave its lease back without a token, and nobody needs a newer
/// one. The token in use is served on.
pub(super) fn call_off(state: &mut State, flight: u64) -> Effects {
    let mut effects = Effects::publish();
    if state.flight.take_if(|it| it.sequence == flight).is_none() {
        return effects;
    }
    let Some(current) = &state.current else {
        effects.ended = Some(Ended::Abandoned);
        return effects;
    };
    let token = current.token.clone();
    let outcome = Outcome { result: Ok(token.clone()), standing: Some(token), called_off: true };
    effects.ended = Some(Ended::Completed(outcome));
    effects
}

/// Returns whether the token in use is served on if this flight brings none.
pub(super) fn is_content(state: &State, inputs: &Inputs<'_>) -> bool {
    let is_good = state.current.as_ref().is_some_and(|it| it.standing == Standing::Good);
    is_good && state.current.as_ref().is_some_and(|it| it.token.is_usable_at(&inputs.now))
}

/// Takes in that the store works. Back-off because it could not be used ends.
pub(super) fn store_works(state: &mut State, inputs: &Inputs<'_>) -> Effects {
    let mut effects = Effects::default();
    if mem::take(&mut state.store_failing) {
        state.store_back = Some(inputs.now.at);
    }
    if state.gate().is_some_and(|gate| gate.error.is_store_down()) {
        state.set_gate(None, &mut effects);
    }
    effects
}

/// Returns whether the store is asked for a newer token before this refusal is judged. Notes that
/// it is.
pub(super) fn asks(state: &mut State, sequence: u64, inputs: &Inputs<'_>) -> bool {
    let current = state.current.as_ref().filter(|it| {
        it.token.sequence() == sequence && it.standing == Standing::Good && state.flight.is_none()
    });
    let Some(current) = current else { return false };
    let now = inputs.now.at;
    let is_young = current
        .since
        .is_some_and(|since| now < clock::later(since, inputs.rules.policy.propagation_delay));
    let asked_lately = |(asked, at): (u64, Instant)| {
        asked == sequence && (is_young || now < clock::later(at, ASK_EVERY))
    };
    if state.asked.is_some_and(asked_lately) {
        return false;
    }
    state.asked = Some((sequence, now));
    true
}
