//! Transitions of a token that is withheld: it was refused while a request for its successor was
//! under way, which may have killed it. Pure.
//!
//! The refusal may be the fault of a resource, and must not take the token from all others for
//! long. So one request tries it now and then, and it is served again once such a request was
//! accepted.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    acquire::CanScout,
    effect::Effects,
    state::{CurrentToken, Inputs, Standing, State, Trials},
    task::SILENCE,
};
use crate::clock::{self, Moment};

/// The time between two requests that try the token while no flight is under way. It is the same if
/// nothing was heard of the first. Without a flight all others get an error meanwhile.
pub(super) const TRY_ALONE_EVERY: Duration = Duration::from_secs(1);

/// Lets one request try the token, if it is time. Returns whether this one does. One that can't be
/// replayed lets the others go before it.
pub(super) fn try_withheld(state: &mut State, can_scout: CanScout, inputs: &Inputs<'_>) -> bool {
    let silence = match can_scout {
        CanScout::No => return false,
        CanScout::Late => SILENCE,
        CanScout::Yes => Duration::ZERO,
    };
    let from = next_trial(state, &inputs.now).map(|next| clock::later(next, silence));
    let goes = from.is_some_and(|from| inputs.now.at >= from);
    let trials = trials(state, inputs);
    state.current.iter_mut().filter(|_| goes).for_each(|it| it.withheld = Some(trials));
    goes
}

/// Returns when the next request may try the token, if it is withheld.
pub(super) fn next_trial(state: &State, now: &Moment) -> Option<Instant> {
    let is_wanted = state.flight.is_some() || state.backing_off(now).is_some();
    let current = state.current.as_ref().filter(|it| is_wanted && it.token.is_usable_at(now))?;
    let is_refused = current.standing == Standing::Refused;
    current.withheld.filter(|_| is_refused).map(|trials| trials.next)
}

/// Returns the trials of a token that is refused or tried now. In a flight an attempt of this
/// process that fails makes the next one earlier.
pub(super) fn trials(state: &State, inputs: &Inputs<'_>) -> Trials {
    let (policy, last) = (&inputs.rules.policy, inputs.now.at);
    let attempt = policy.attempt_timeout.saturating_add(policy.hold_timeout);
    let pause = if state.flight.is_some() { attempt } else { TRY_ALONE_EVERY };
    Trials { last, next: clock::later(last, pause) }
}

/// Has those who wait for the flight ask again, if one of them may try the token.
pub(super) fn release_trial(state: &State, inputs: &Inputs<'_>) -> Effects {
    let is_due = next_trial(state, &inputs.now).is_some_and(|next| inputs.now.at >= next);
    Effects { release: is_due && state.flight.is_some(), ..Effects::default() }
}

/// Serves the token again, because a request that was sent after its refusal was accepted.
pub(super) fn acquit(state: &mut State) -> Effects {
    let withheld =
        |it: &&mut CurrentToken| it.withheld.is_some() && it.standing == Standing::Refused;
    let Some(current) = state.current.as_mut().filter(withheld) else { return Effects::default() };
    (current.standing, current.withheld) = (Standing::Good, None);
    Effects { release: state.flight.is_some(), ..Effects::publish() }
}

/// Takes in that an attempt of the flight in progress has failed. Returns whether callers go on
/// with the token in use if the flight ends with that. Not with one that is withheld, which one
/// request may try now.
pub(super) fn attempt_failed(state: &mut State, inputs: &Inputs<'_>) -> (bool, Effects) {
    let is_withheld = state.current.as_ref().is_some_and(|it| it.withheld.is_some());
    (!is_withheld, give_up(state, inputs))
}

/// Lets another request try the token now.
pub(super) fn give_up(state: &mut State, inputs: &Inputs<'_>) -> Effects {
    let trials = state.current.iter_mut().filter_map(|current| current.withheld.as_mut());
    trials.for_each(|trials| trials.next = inputs.now.at);
    release_trial(state, inputs)
}

/// Lets another request try the token before long, because the last one has told nothing. Not at
/// once, or a service that fails would have each request wake all others.
pub(super) fn unheard(state: &mut State, inputs: &Inputs<'_>) -> Effects {
    let trials = state.current.iter_mut().filter_map(|current| current.withheld.as_mut());
    trials.for_each(|it| it.next = it.next.min(clock::later(it.last, TRY_ALONE_EVERY)));
    release_trial(state, inputs)
}

impl Trials {
    /// Returns the trials after the flight has failed.
    pub(super) fn after_flight(self, now: Instant) -> Self {
        Self { next: clock::later(self.last, TRY_ALONE_EVERY).max(now), ..self }
    }
}
