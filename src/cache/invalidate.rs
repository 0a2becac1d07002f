//! The transition when a resource refuses a token: whose fault it is, and whether the token is
//! served on. Pure.

use super::{
    effect::{Effect, Effects, Record},
    state::{CurrentToken, Inputs, Stage, Standing, State},
};
use crate::{
    endpoint::Rotation,
    refresh::cooldown::{Decision, Refused},
    token::AccessToken,
};

/// A 401, and what is known of the token that the request was signed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) token: &'a AccessToken,
}

/// Takes in a refusal. Returns whether the token is no longer served because of it.
///
/// A refusal of a token that has been replaced says nothing about the one in use.
pub(super) fn refused(
    state: &mut State,
    refusal: Refusal<'_>,
    inputs: &Inputs<'_>,
) -> (bool, Effects) {
    let Inputs { rules, now, random, .. } = inputs;
    let Refusal { token } = refusal;
    let mut effects = Effects::default();
    effects.count(|tally| &tally.unauthorized);
    // The token dies by this cache's own request for its successor.
    let dying = state.flight.is_some_and(|flight| {
        let holds = flight.stage == Stage::Holding || !rules.policy.hold;
        rules.rotation == Rotation::Exclusive && holds
    });
    let is_backing_off = state.backing_off(now).is_some();
    let in_use =
        |it: &&mut CurrentToken| it.token.is(token) && it.standing == Standing::Good && !dying;
    let Some(current) = state.current.as_mut().filter(in_use) else {
        effects.count(|tally| &tally.unauthorized_replaced);
        return (false, effects);
    };
    let suspect = current.suspect && !inputs.accepted_lately;
    if suspect || !token.is_usable_at(now) {
        // The refusal of a suspect token explains itself: this cache's own request killed it.
        if suspect {
            effects.count(|tally| &tally.unauthorized_replaced);
        } else {
            effects.count(|tally| &tally.unauthorized_expired);
        }
        // One refusal is no proof. A suspect token that some resource had accepted may live, and
        // then the refusal is the resource's fault.
        let may_live = suspect && token.is_accepted();
        if may_live && current.hurried && is_backing_off {
            return (false, effects);
        }
        current.standing = if may_live { Standing::Refused } else { Standing::Dead };
        current.hurried |= suspect;
        // All callers are blocked and the endpoint sent no `Retry-After`, so the remaining
        // back-off is skipped.
        if suspect && state.gate().is_some_and(|gate| gate.error.retry_after().is_none()) {
            state.set_gate(None, &mut effects);
        }
        withdraw(state, &mut effects);
        return (true, effects);
    }
    (current.suspect, current.hurried) = (false, false);
    effects.count(|tally| &tally.unauthorized_foreign);
    let is_slow = state.flight.is_some_and(|flight| flight.hold_timed_out);
    if token.is_accepted() && (is_slow || is_backing_off) {
        // No successor is to be had yet. The 401 is its caller's, and the token is served on.
        return (false, effects);
    }
    let sequence = token.sequence();
    let refused = Refused {
        issued: token.times().sent.at,
        lifetime: token.lifetime(),
        accepted: token.is_accepted(),
    };
    let decision = state.cooldown.refused(refused, now.at, &rules.policy, *random);
    let record = match decision {
        Decision::Renew { shared } => {
            if let Some(current) = &mut state.current {
                current.standing = Standing::Refused;
            }
            withdraw(state, &mut effects);
            Record::Refused { sequence, shared }
        }
        Decision::Wait { breaker, .. } => {
            effects.count(|tally| &tally.cooled_down);
            if breaker {
                effects.count(|tally| &tally.breaker_open);
            }
            Record::RefusedTooSoon { sequence, breaker }
        }
    };
    effects.then.push(Effect::Log(record));
    (matches!(decision, Decision::Renew { .. }), effects)
}

/// Stops serving the token. A renewal need not wait for an idle moment any longer.
fn withdraw(state: &State, effects: &mut Effects) {
    effects.publish = true;
    if state.flight.is_some() {
        effects.then.push(Effect::Expedite);
    }
}
