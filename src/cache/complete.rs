//! Transitions when a flight ends: with a token, or with an error. Pure.

use super::{
    effect::{Effect, Effects, Ended, NewLeases, Record},
    flight::Outcome,
    state::{CurrentToken, Inputs, Requirement, Standing, State},
    verdict::DoubtOutcome,
};
use crate::{
    endpoint::Rotation,
    error::{AuthError, Fate},
    refresh::gate::Gate,
    store::value::SharedCooldown,
    token::AccessToken,
};

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    pub(super) result: Result<AccessToken, AuthError>,
    /// The worst of what became of its requests for a token.
    pub(super) fate: Fate,
    /// The endpoint or the credentials source panicked.
    pub(super) panicked: bool,
    pub(super) arrival: Arrival,
}

/// How a token reached this cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// Another process had asked for it.
    pub(super) adopted: bool,
    /// It came under a lease that took over from another. A late request of the former holder may
    /// kill it, so a refusal is taken seriously at once.
    pub(super) takeover: bool,
    /// A request for its successor was sent, and whether that killed it is unknown.
    pub(super) suspect: bool,
    /// The fleet's count of tokens that were refused early.
    pub(super) cooldown: Option<SharedCooldown>,
}

/// Takes in the result of the flight `sequence`.
///
/// First its waiters wake, and only then the subscribers and the log hear of it: those are somebody
/// else's code, which may block.
pub(super) fn complete(
    state: &mut State,
    sequence: u64,
    completion: &Completion,
    inputs: &Inputs<'_>,
) -> Effects {
    let mut effects = Effects::publish();
    let flight = state.flight.take_if(|flight| flight.sequence == sequence);
    let in_flight = flight.is_some();
    let newest = state.current.as_ref().map_or(0, |current| current.token.sequence());
    let is_newer = completion.result.as_ref().is_ok_and(|token| newest < token.sequence());
    match &completion.result {
        Ok(token) if is_newer => {
            adopt(state, token, sequence, completion.arrival, inputs, &mut effects);
        }
        Ok(_) if in_flight => state.set_last_error(None, &mut effects),
        // A flight that was abandoned may complete after its successor.
        Ok(_) => {}
        Err(error) if in_flight => {
            if completion.fate == Fate::NotIssued && flight.is_some_and(|flight| flight.suspects) {
                // Nothing was issued, so nothing has killed the token.
                let current = state.current.iter_mut();
                current.for_each(|it| (it.suspect, it.withheld) = (false, None));
            }
            fail(state, error, completion, inputs, &mut effects);
        }
        // It was abandoned, and its waiters were told so. It may have killed the token all the
        // same.
        Err(_) => {
            let its_own = state.current.as_ref().is_some_and(|it| it.flight == sequence);
            if !its_own {
                may_have_died(state, completion.fate, inputs, &mut effects);
            }
            return effects;
        }
    }
    if in_flight {
        let standing = state.serves(&Requirement::Usable, &inputs.now).cloned();
        // Two reports of one token of another process are two values, and one is in use.
        let current = state.current.as_ref().map(|current| &current.token);
        let result = completion.result.clone().map(|token| {
            let is_it = |current: &&AccessToken| current.sequence() == token.sequence();
            current.filter(is_it).cloned().unwrap_or(token)
        });
        let outcome = Outcome { result, standing, called_off: false };
        effects.ended = Some(Ended::Completed(outcome));
    }
    match &completion.result {
        Ok(token) => arrived(state, token, completion.arrival, is_newer, &mut effects),
        Err(error) => {
            effects.count(|tally| &tally.refreshes_failed);
            let (error, is_news) = (error.clone(), state.outage.failed(error));
            effects.then.push(Effect::Log(Record::RefreshFailed { sequence, error, is_news }));
        }
    }
    effects
}

/// Ends the flight `sequence`, which found the refused credentials unchanged. The back-off stays as
/// it is, and the waiters get its error.
pub(super) fn complete_unchanged(state: &mut State, sequence: u64, error: AuthError) -> Effects {
    let mut effects = Effects::publish();
    if state.flight.take_if(|flight| flight.sequence == sequence).is_some() {
        let outcome = Outcome { result: Err(error), standing: None, called_off: false };
        effects.ended = Some(Ended::Completed(outcome));
    } else {
        effects.then.push(Effect::Discard(error));
    }
    effects
}

/// Tells of a token that a flight has brought.
fn arrived(
    state: &mut State,
    token: &AccessToken,
    arrival: Arrival,
    is_newer: bool,
    effects: &mut Effects,
) {
    if arrival.adopted && !is_newer {
        return;
    }
    effects.then.push(Effect::Announce(token.clone()));
    let (sequence, lifetime) = (token.sequence(), token.lifetime());
    let failed_refreshes = if is_newer { state.outage.end() } else { 0 };
    let record = if arrival.adopted {
        effects.count(|tally| &tally.store_adopted);
        Record::Adopted { sequence, lifetime, failed_refreshes }
    } else {
        effects.count(|tally| &tally.tokens_issued);
        Record::Issued { sequence, lifetime, failed_refreshes }
    };
    effects.then.push(Effect::Log(record));
}

/// Takes in a token that another process has published, without a flight of this one.
pub(super) fn adopted(
    state: &mut State,
    token: &AccessToken,
    arrival: Arrival,
    inputs: &Inputs<'_>,
) -> Effects {
    let mut effects = Effects::publish();
    let newest = state.current.as_ref().map_or(0, |current| current.token.sequence());
    if newest < token.sequence() {
        adopt(state, token, 0, arrival, inputs, &mut effects);
        arrived(state, token, arrival, true, &mut effects);
    }
    effects
}

fn adopt(
    state: &mut State,
    token: &AccessToken,
    flight: u64,
    arrival: Arrival,
    inputs: &Inputs<'_>,
    effects: &mut Effects,
) {
    if state.doubts.end().is_some() {
        effects.doubt = Some(DoubtOutcome::Renew);
    }
    state.doubts.adopted(inputs.now.at);
    let is_cut = |token: &AccessToken| token.times().schedule.clamped;
    let was_cut = state.current.as_ref().is_some_and(|old| is_cut(&old.token));
    if is_cut(token) && !was_cut {
        let lifetime = token.times().lifetime;
        effects.then.push(Effect::Log(Record::MarginCut { lifetime }));
    }
    // The age counts from the issue, not from the adoption.
    let issued = if arrival.adopted { token.times().sent.at } else { inputs.now.at };
    let since = (!arrival.takeover).then_some(issued);
    let mut current = CurrentToken::new(token.clone(), flight, since);
    current.suspect = arrival.suspect;
    // The endpoint may issue one token twice. Its resources have known it since it first came.
    if let Some(old) = state.current.as_ref().filter(|old| old.token.is_sent_as(token)) {
        current.since = old.since;
        if old.token.is_accepted() {
            token.accept();
        }
        effects.count(|tally| &tally.same_token_again);
    }
    if let Some(old) = state.current.replace(current)
        && old.standing == Standing::Good
    {
        state.cooldown.replaced(inputs.now.at, old.token.times());
    }
    if let Some(shared) = arrival.cooldown {
        state.cooldown.take(shared);
    }
    state.set_gate(None, effects);
    state.set_last_error(None, effects);
    state.panics = 0;
    effects.leases = Some(NewLeases::Of(token.clone()));
}

fn fail(
    state: &mut State,
    error: &AuthError,
    completion: &Completion,
    inputs: &Inputs<'_>,
    effects: &mut Effects,
) {
    let Inputs { rules, now, random, .. } = inputs;
    state.set_last_error(Some(error.clone()), effects);
    may_have_died(state, completion.fate, inputs, effects);
    if let Some(current) = &mut state.current
        && current.standing == Standing::Refused
        && current.token.is_accepted()
    {
        // There is no successor. A token that some resource accepted is better than none, so it is
        // served on, and the next refusal asks for a successor again. One that was refused when its
        // successor had been asked for is likely to be dead, so one request tries it first.
        match &mut current.withheld {
            Some(trials) => *trials = trials.after_flight(now.at),
            None => current.standing = Standing::Good,
        }
    }
    state.panics = if completion.panicked { state.panics.saturating_add(1) } else { 0 };
    // A runtime that went away, or has no timers, says nothing about the endpoint, and one panic is
    // an accident.
    if !(error.is_interrupted() || error.is_of_runtime()) || state.panics > 1 {
        let mut gate = Gate::after(state.gate(), error.clone(), now.at, &rules.policy, *random);
        if let Some(token) = state.alive(now) {
            let end = token.times().at(token.times().schedule.unusable, now);
            let left = end.saturating_duration_since(now.at);
            if !left.is_zero() {
                gate = gate.within(left, now.at, &rules.policy);
            }
        }
        state.set_gate(Some(gate), effects);
    }
}

/// Takes in what became of a request for a token that brought none. At an exclusive endpoint it may
/// have killed the token in use.
fn may_have_died(state: &mut State, fate: Fate, inputs: &Inputs<'_>, effects: &mut Effects) {
    let exclusive = inputs.rules.rotation == Rotation::Exclusive;
    let Some(current) = state.current.as_mut().filter(|_| exclusive) else { return };
    match fate {
        Fate::NotIssued => {}
        Fate::Unknown => {
            current.suspect = true;
            // Only the response to a request that is sent from here on tells whether the token
            // lives, and that request holds a lease of the new generation.
            effects.leases = Some(NewLeases::NextGeneration);
        }
        Fate::Issued => current.standing = Standing::Dead,
    }
}
