//! Transitions of conditions that may last for hours, so that the log is told of them once. Pure.

use std::time::Duration;

use super::{
    effect::{Effect, Effects, Record},
    state::State,
};
use crate::error::AuthError;

/// Takes in a 401 after which the token could not be renewed, for this reason.
///
/// A cool-down outlasts the tokens that are issued meanwhile, so it keeps its own record.
pub(super) fn not_renewed(state: &mut State, error: AuthError) -> Effects {
    let is_news = if error.is_cooling_down() {
        state.cooldown.report()
    } else {
        state.outage.not_renewed(&error)
    };
    let mut effects = Effects::default();
    effects.then.push(Effect::Log(Record::NotRenewed { error, is_news }));
    effects
}

/// Takes in the end of a drain of the flight `sequence`. `timed_out` is how long the drain took, if
/// requests were still in flight.
pub(super) fn drained(state: &mut State, sequence: u64, timed_out: Option<Duration>) -> Effects {
    let is_news = !std::mem::replace(&mut state.drain_timed_out, timed_out.is_some());
    let mut effects = Effects::default();
    if let Some(drain) = timed_out {
        effects.count(|tally| &tally.drains_timed_out);
        effects.then.push(Effect::Log(Record::DrainTimedOut { sequence, drain, is_news }));
    }
    effects
}
