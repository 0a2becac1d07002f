//! Transitions when a caller wants a token: a token at once, a flight to wait for, or the reason
//! why there is neither. Pure.

use super::{
    effect::{Effect, Effects, Trigger},
    flight::interrupted,
    hold,
    state::{Inputs, Requirement, Standing, State},
    trial,
};
use crate::{
    clock,
    error::{AuthError, Kind},
    token::AccessToken,
};

/// The answer to a caller.
#[derive(Debug)]
pub(super) enum Acquisition {
    Token(AccessToken),
    /// The caller goes first with the current token, after a hold that timed out.
    Scout,
    /// The caller waits for the flight in progress.
    Wait,
    Failed(AuthError),
}

/// The readiness of a caller to go first with a token that may have died, for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CanScout {
    /// It sends no request, so nobody would hear what becomes of the token.
    No,
    /// It tries a token that is withheld if nobody else has for a while: its request can't be sent
    /// again.
    Late,
    /// Its request can be sent again.
    Yes,
}

/// Returns the token that a request can be signed with now, and starts its renewal if that is due.
pub(super) fn lease(
    state: &mut State,
    has_runtime: bool,
    inputs: &Inputs<'_>,
) -> (Option<AccessToken>, Effects) {
    let Some(token) = state.servable(&inputs.now).cloned() else {
        return (None, Effects::default());
    };
    // That its renewal is due is no reason not to serve a token.
    let effects = renew_if_due(state, &token, has_runtime, inputs);
    (Some(token), effects)
}

/// Serves `requirement`, or starts or joins the flight that will.
pub(super) fn acquire(
    state: &mut State,
    requirement: &Requirement,
    can_scout: CanScout,
    has_runtime: bool,
    inputs: &Inputs<'_>,
) -> (Acquisition, Effects) {
    let now = &inputs.now;
    if let Some(token) = state.serves(requirement, now).cloned() {
        let effects = renew_if_due(state, &token, has_runtime, inputs);
        return (Acquisition::Token(token), effects);
    }
    let mut effects = Effects::default();
    let is_usable = matches!(requirement, Requirement::Usable);
    if is_usable && can_scout == CanScout::Yes && hold::scout(state, inputs) {
        return (Acquisition::Scout, effects);
    }
    if is_usable && trial::try_withheld(state, can_scout, inputs) {
        return (Acquisition::Scout, effects);
    }
    let bound = clock::later(now.at, inputs.rules.flight_bound());
    if let Some(flight) = state.flight.as_mut().filter(|flight| now.at < flight.overdue) {
        // This caller needs the token now, not at an idle moment.
        flight.overdue = flight.overdue.min(bound);
        effects.count(|tally| &tally.joined);
        effects.then.push(Effect::Expedite);
        return (Acquisition::Wait, effects);
    }
    if let Some(error) = held_off(state, requirement, inputs, &mut effects) {
        return (Acquisition::Failed(error), effects);
    }
    if state.closed {
        // The last handle is gone, and nobody would use the token.
        return (Acquisition::Failed(interrupted(false)), effects);
    }
    if !has_runtime {
        return (Acquisition::Failed(no_runtime()), effects);
    }
    let trigger = match requirement {
        Requirement::Usable if state.is_probe_due(now) => Trigger::Probe,
        Requirement::Usable | Requirement::NewerThan(_) => Trigger::Needed,
        Requirement::Fresh => Trigger::Forced,
    };
    state.begin(trigger, inputs, &mut effects);
    (Acquisition::Wait, effects)
}

/// Starts a renewal in the background if it is due and nothing stands against it.
fn renew_if_due(
    state: &mut State,
    token: &AccessToken,
    has_runtime: bool,
    inputs: &Inputs<'_>,
) -> Effects {
    let (now, times) = (&inputs.now, token.times());
    let is_due = now.at >= times.at(times.schedule.due, now);
    let may_start = has_runtime && !state.closed && state.flight.is_none();
    if is_due && may_start && state.backing_off(now).is_none() {
        let mut effects = Effects::default();
        state.begin(Trigger::Due, inputs, &mut effects);
        return effects;
    }
    // The machine may have slept, so that what was published is too early or too late by now.
    Effects::publish()
}

/// Returns the reason why no flight may start now.
fn held_off(
    state: &State,
    requirement: &Requirement,
    inputs: &Inputs<'_>,
    effects: &mut Effects,
) -> Option<AuthError> {
    if matches!(requirement, Requirement::Usable) && state.is_probe_due(&inputs.now) {
        return None;
    }
    if matches!(requirement, Requirement::Fresh) && state.may_force(&inputs.now) {
        return None;
    }
    if let Some(error) = state.backing_off(&inputs.now) {
        effects.count(|tally| &tally.backed_off);
        return Some(error.clone());
    }
    let Requirement::NewerThan(refused) = requirement else { return None };
    let current = state.current.as_ref()?;
    let is_served_on = current.standing == Standing::Good;
    if !is_served_on || !current.token.is_sent_as(refused) {
        return None;
    }
    Some(if current.token.is(refused) { cooling_down() } else { issued_again() })
}

fn no_runtime() -> AuthError {
    AuthError::new(
        Kind::NoRuntime,
        "a token has to be asked for, and there is no Tokio runtime here; call from within one",
    )
}

/// The error of a caller that wants another token than one that a resource refused, which the
/// endpoint has issued again.
pub(super) fn issued_again() -> AuthError {
    AuthError::new(
        Kind::CoolingDown,
        "the token endpoint issued the refused token again, so the request is not sent again; \
         check that the client may use this resource",
    )
}

fn cooling_down() -> AuthError {
    AuthError::new(
        Kind::CoolingDown,
        "the token was refused soon after it was issued, as the one before it, so no new one is \
         asked for yet; check that no other process uses the client id, and that the client may \
         use this resource",
    )
}
