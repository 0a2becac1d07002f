//! The invariants: of each state, and of each event.

use super::{
    event::{Event, Kind},
    state::{Process, State},
};

/// The name of an invariant that does not hold.
pub(super) type Broken = &'static str;

/// Checks an event. The names of the processes are the same before it and after. `first` is the
/// state that the search began with.
pub(super) fn check_event(
    first: &State,
    before: &State,
    event: Event,
    after: &State,
) -> Result<(), Broken> {
    if matches!(event.kind, Kind::Crash | Kind::Forget) {
        return Ok(());
    }
    let is_older = |(before, after): (&Process, &Process)| after.serves < before.serves;
    if before.processes.iter().zip(&after.processes).any(is_older) {
        return Err("1: no process goes back to an older token");
    }
    // A loss of the store's data takes a lease away without a sign.
    if event.kind == Kind::Check && before.left.losses == first.left.losses {
        check_request(before, event.at)?;
    }
    check_change(before, event.at, after)
}

/// Checks what a process that is about to send a request knows.
fn check_request(state: &State, at: usize) -> Result<(), Broken> {
    let value = state.value;
    let me = state.processes[at];
    let is_holder = usize::from(value.owner) == at + 1 && value.fence == me.fence;
    if !is_holder || value.sequence > me.floor {
        return Err("5: the holder alone asks the endpoint, for a successor of the newest token");
    }
    if value.sequence > 0 && value.state == 0 && !value.hold {
        return Err("5: a request that kills a living token is announced");
    }
    Ok(())
}

/// Checks what a step has made of the value.
fn check_change(before: &State, at: usize, after: &State) -> Result<(), Broken> {
    let (old, new) = (before.value, after.value);
    let me = before.processes[at];
    if new.fence < old.fence || new.sequence < old.sequence {
        return Err("1: numbers never decrease");
    }
    if new.sequence == old.sequence && new.token != old.token {
        return Err("3: one sequence is one token");
    }
    let is_published = new.sequence != old.sequence;
    if is_published && (new.sequence != me.fence || me.fence != old.fence) {
        return Err("4: a token is published under the newest fence");
    }
    let is_ended = old.owner > 0 && new.owner != old.owner;
    if is_ended && usize::from(old.owner) != at + 1 && !before.old {
        return Err("2: a lease ends by its owner, or by its age");
    }
    if new.owner > 0 && new.owner != old.owner && new.fence <= old.fence {
        return Err("2: each lease has a fence of its own");
    }
    if is_published && (new.owner > 0 || new.state > 0) {
        return Err("a token is published as alive, and ends the lease");
    }
    if old.early && !new.early {
        return Err("the count of early refusals is not forgotten");
    }
    Ok(())
}

/// Checks a state. `first` is the one that the search began with.
pub(super) fn check_state(state: &State, first: &State) -> Result<(), Broken> {
    let State { value, left, .. } = *state;
    if value.sequence > value.fence {
        return Err("1: no token is newer than the newest lease, or it is refused");
    }
    let differs =
        |process: &Process| process.serves == value.sequence && process.token != value.token;
    if state.processes.iter().any(differs) {
        return Err("3: one sequence is one token");
    }
    if value.owner > 0 && value.gate {
        return Err("a lease ends the back-off");
    }
    // Nobody gives back the lease of a flight that was dropped.
    let is_dropped = left.drops < first.left.drops;
    if state.holder().is_some_and(|holder| !holder.flies()) && !is_dropped {
        return Err("2: a lease ends with the flight of its owner");
    }
    let is_killed = state.living != value.token && state.issued > value.sequence;
    if value.owner == 0 && value.sequence > 0 && value.state == 0 && is_killed {
        return Err("a token that was killed by a request for its successor is not called alive");
    }
    let wishes = 1 + first.left.renewals - left.renewals;
    if first.left.are_none() && state.posts > wishes {
        return Err("6: without faults there is one request for a wish");
    }
    Ok(())
}
