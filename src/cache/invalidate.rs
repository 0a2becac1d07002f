//! Transitions when a resource refuses or accepts a token: whose fault a 401 is, and whether the
//! token is served on. Pure.

use std::time::Duration;

use super::{
    effect::{Effect, Effects, Ended, NewLeases, Record},
    flight::Outcome,
    hold,
    state::{CurrentToken, Drain, Inputs, Standing, State},
    trial,
    verdict::{DoubtOutcome, Refusal},
};
use crate::{
    refresh::{
        cooldown,
        doubt::{self, Circumstances, Doubt},
    },
    route::Route,
    token::AccessToken,
};

/// The decision on a request that was refused, before the core hands out parts in a doubt.
pub(super) use crate::refresh::doubt::Decision;

/// Takes in a 401.
///
/// A refusal of a token that has been replaced says nothing about the one in use. `others` says
/// that other requests are in flight with the token in use.
pub(super) fn refused(
    state: &mut State,
    refusal: &Refusal<'_>,
    others: bool,
    inputs: &Inputs<'_>,
) -> (Decision, Effects) {
    let mut effects = Effects::default();
    // A request is sent with two tokens at most.
    let newer = if refusal.sends.replays > 0 { Decision::Return } else { Decision::Renew };
    let Some(current) = in_use(state, refusal.token, true, inputs, &mut effects) else {
        return (newer, uncounted(effects, refusal));
    };
    if is_explained(current, refusal.token, inputs) {
        explained(state, inputs, &mut effects);
        return (newer, uncounted(effects, refusal));
    }
    (current.suspect, current.hurried) = (false, false);
    effects.count(|tally| &tally.unauthorized_foreign);
    effects = uncounted(effects, refusal);
    let came = current.since;
    let age = came.map_or(Duration::MAX, |came| inputs.now.at.saturating_duration_since(came));
    let Refusal { token, route, sends, resendable, .. } = *refusal;
    let (sequence, accepted) = (token.sequence(), token.is_accepted());
    let seen = doubt::Refused { route, sequence, age, accepted, sends, resendable };
    let circumstances = Circumstances {
        // A token that lives for a few seconds would be young for most of its life.
        propagation_delay: inputs.rules.policy.propagation_delay.min(token.lifetime() / 4),
        duel: state.cooldown.is_duel(),
        rotation: inputs.rules.rotation,
        draining: state.is_draining(),
        others,
    };
    let decision = state.doubts.refused(&seen, &circumstances, inputs.now.at);
    match decision {
        Decision::Renew => {
            let doubt = state.doubts.end();
            renew(state, doubt.as_ref(), route, inputs, &mut effects);
        }
        Decision::Drained { is_dead: true } => {
            // Only the wait is cut. One refusal is no proof, so the token is served on if there is
            // no successor.
            state.flight.iter_mut().for_each(|flight| flight.drain = Drain::Cut);
            effects.then.push(Effect::Expedite);
        }
        Decision::Probe { id, .. } if sends.probe != Some(id) => {
            effects.count(|tally| &tally.doubts);
        }
        _ => {}
    }
    (decision, effects)
}

/// Takes in that a caller names `token` as refused. Returns whether it is no longer served because
/// of that.
pub(super) fn invalidated(
    state: &mut State,
    token: &AccessToken,
    inputs: &Inputs<'_>,
) -> (bool, Effects) {
    let mut effects = Effects::default();
    let Some(current) = in_use(state, token, false, inputs, &mut effects) else {
        return (false, effects);
    };
    if is_explained(current, token, inputs) {
        let withdrawn = explained(state, inputs, &mut effects);
        return (withdrawn, effects);
    }
    (current.suspect, current.hurried) = (false, false);
    effects.count(|tally| &tally.unauthorized_foreign);
    let doubt = state.doubts.end();
    let withdrawn = renew(state, doubt.as_ref(), None, inputs, &mut effects);
    (withdrawn, effects)
}

/// Ends the doubt `id`: the token was accepted by the route that had refused it, or the probe is
/// gone.
pub(super) fn end_doubt(state: &mut State, id: u64, outcome: DoubtOutcome) -> Effects {
    let mut effects = Effects::default();
    if state.doubts.end_if(id).is_none() {
        if outcome == DoubtOutcome::Cleared {
            call_off(state, id, &mut effects);
        }
        return effects;
    }
    if outcome == DoubtOutcome::Cleared {
        state.doubts.clear();
        effects.count(|tally| &tally.doubts_cleared);
    }
    effects.doubt = Some(outcome);
    effects
}

/// Ends the doubt `id`, whose probe takes too long, and has the token renewed.
pub(super) fn time_out_doubt(state: &mut State, id: u64, inputs: &Inputs<'_>) -> Effects {
    let mut effects = Effects::default();
    if let Some(doubt) = state.doubts.end_if(id)
        && renew(state, Some(&doubt), None, inputs, &mut effects)
    {
        state.current.iter_mut().for_each(|current| current.unproven = Some(id));
    }
    effects
}

/// Calls the renewal off that was asked for because the probe of the doubt `id` took too long, now
/// that the token was accepted after all. Once the endpoint is asked, it is too late.
fn call_off(state: &mut State, id: u64, effects: &mut Effects) {
    let is_in_time = state.flight.is_none() || state.is_draining();
    let doubted = |it: &&mut CurrentToken| {
        it.unproven == Some(id) && it.standing == Standing::Refused && is_in_time
    };
    let Some(current) = state.current.as_mut().filter(doubted) else { return };
    (current.standing, current.unproven) = (Standing::Good, None);
    state.doubts.clear();
    effects.count(|tally| &tally.doubts_cleared);
    effects.publish = true;
    if state.flight.take().is_some() {
        let token = current.token.clone();
        let result = Ok(token.clone());
        let outcome = Outcome { result, standing: Some(token), called_off: true };
        effects.ended = Some(Ended::CalledOff(outcome));
    }
}

/// Takes in that a resource accepted `token`.
pub(super) fn accepted(
    state: &mut State,
    token: &AccessToken,
    route: Option<Route>,
    inputs: &Inputs<'_>,
) -> Effects {
    if !state.current.as_ref().is_some_and(|it| it.token.is(token)) {
        return Effects::default();
    }
    state.doubts.accepted(route);
    // A response to a request of an earlier generation says nothing about a token that may have
    // died since: it may have been authenticated before.
    if !inputs.accepted_lately {
        return Effects::default();
    }
    let followed = hold::follow(state, None);
    let acquitted = trial::acquit(state);
    Effects {
        publish: followed.publish || acquitted.publish,
        release: followed.release || acquitted.release,
        ..Effects::default()
    }
}

/// Counts the 401. Returns the token in use, if it is the one that was refused and the refusal may
/// say something about it. While requests are drained for a renewal, `counts_in_drain` decides.
fn in_use<'a>(
    state: &'a mut State,
    token: &AccessToken,
    counts_in_drain: bool,
    inputs: &Inputs<'_>,
    effects: &mut Effects,
) -> Option<&'a mut CurrentToken> {
    effects.count(|tally| &tally.unauthorized);
    let is_draining = state.is_draining();
    let dying = state.is_dying(inputs) || is_draining && !counts_in_drain;
    let counts = |it: &&mut CurrentToken| {
        let is_served =
            it.standing == Standing::Good || is_draining && it.standing == Standing::Refused;
        it.token.is(token) && is_served && !dying
    };
    let current = state.current.as_mut().filter(counts);
    if current.is_none() {
        effects.count(|tally| &tally.unauthorized_replaced);
    }
    current
}

/// Returns the effects without the counts, if the refusal was counted before.
fn uncounted(mut effects: Effects, refusal: &Refusal<'_>) -> Effects {
    if refusal.is_counted {
        effects.then.retain(|effect| !matches!(effect, Effect::Count(_)));
    }
    effects
}

/// Returns whether a refusal needs no further explanation: the token has expired, or this cache's
/// own request has killed it.
fn is_explained(current: &CurrentToken, token: &AccessToken, inputs: &Inputs<'_>) -> bool {
    current.suspect && !inputs.accepted_lately || !token.is_usable_at(&inputs.now)
}

/// Takes in a refusal of the current token that explains itself. Returns whether the token is no
/// longer served.
fn explained(state: &mut State, inputs: &Inputs<'_>, effects: &mut Effects) -> bool {
    let is_backing_off = state.backing_off(&inputs.now).is_some();
    let trials = trial::trials(state, inputs);
    let Some(current) = &mut state.current else { return false };
    let suspect = current.suspect && !inputs.accepted_lately;
    if suspect {
        effects.count(|tally| &tally.unauthorized_replaced);
    } else {
        effects.count(|tally| &tally.unauthorized_expired);
    }
    // One refusal is no proof. A suspect token that some resource had accepted may live, and then
    // the refusal is the resource's fault.
    let may_live = suspect && current.token.is_accepted();
    if may_live && current.hurried && is_backing_off {
        return false;
    }
    current.standing = if may_live { Standing::Refused } else { Standing::Dead };
    current.hurried |= suspect;
    if may_live && state.flight.is_some_and(|flight| flight.hold_timed_out) {
        // Its successor has been asked for, so it is likely to be dead. A response to an earlier
        // request says nothing against that: it may have been authenticated before.
        current.withheld = Some(trials);
        effects.leases = Some(NewLeases::NextGeneration);
    }
    // All callers are blocked and the endpoint sent no `Retry-After`, so the remaining back-off is
    // skipped.
    if suspect && state.gate().is_some_and(|gate| gate.error.retry_after().is_none()) {
        state.set_gate(None, effects);
    }
    withdraw(state, effects);
    true
}

/// Stops serving the current token for a refusal by these routes, unless back-off or the cool-down
/// says wait. Returns whether it does. The doubt's requests learn the rest by asking for a newer
/// token.
fn renew(
    state: &mut State,
    doubt: Option<&Doubt>,
    route: Option<Route>,
    inputs: &Inputs<'_>,
    effects: &mut Effects,
) -> bool {
    if doubt.is_some() {
        effects.doubt = Some(DoubtOutcome::Renew);
    }
    let Inputs { rules, now, random, .. } = inputs;
    let Some(current) = state.current.as_ref().filter(|it| it.standing == Standing::Good) else {
        return false;
    };
    let token = current.token.clone();
    let (sequence, accepted) = (token.sequence(), token.is_accepted());
    if state.is_draining() || state.is_dying(inputs) {
        // A successor is about to be asked for anyway.
        return false;
    }
    let is_slow = state.flight.is_some_and(|flight| flight.hold_timed_out);
    if accepted && (is_slow || state.backing_off(now).is_some()) {
        // No successor is to be had yet. The 401 is its caller's, and the token is served on.
        return false;
    }
    let (issued, lifetime) = (token.times().sent.at, token.lifetime());
    let refused = cooldown::Refused { issued, lifetime, accepted };
    let decision = state.cooldown.refused(refused, now.at, &rules.policy, *random);
    let record = match decision {
        cooldown::Decision::Renew { shared } => {
            if accepted {
                state.doubts.renewing(doubt, route, sequence, now.at);
            }
            if let Some(current) = &mut state.current {
                (current.standing, current.unproven) = (Standing::Refused, None);
            }
            withdraw(state, effects);
            Record::Refused { sequence, shared }
        }
        cooldown::Decision::Wait { breaker, .. } => {
            state.doubts.condemn();
            effects.count(|tally| &tally.cooled_down);
            if breaker {
                effects.count(|tally| &tally.breaker_open);
            }
            Record::RefusedTooSoon { sequence, breaker }
        }
    };
    effects.then.push(Effect::Log(record));
    matches!(decision, cooldown::Decision::Renew { .. })
}

/// Stops serving the token. A renewal need not wait for an idle moment any longer.
fn withdraw(state: &State, effects: &mut Effects) {
    effects.publish = true;
    if state.flight.is_some() {
        effects.then.push(Effect::Expedite);
    }
}
