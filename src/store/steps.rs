//! The steps of the protocol by which processes share a token. Pure.
//!
//! Each step turns the shared [`Value`] into the next one, which the caller writes with one
//! compare-and-set. If that finds another value, the caller decides anew.
//!
//! # Invariants
//!
//! 1. Fence and sequence of the value never decrease.
//! 2. There is one lease at most. It ends by its owner, or by its age.
//! 3. Under one fence at most one token is published, and one sequence is one token.
//! 4. A token is published under the newest fence alone.
//!
//! The tests in `search` try every order of the steps, and show what follows for the processes.

use std::time::Duration;

use bytes::Bytes;

use super::value::{Lease, Owner, SharedCooldown, SharedGate, TokenState, Value};
use crate::error::Fate;

/// Whoever takes a step, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) owner: Owner,
    /// The number of the newest token that this process knew when it made the wish. It wants a
    /// successor of that one, and nothing else makes it ask the endpoint.
    pub(crate) floor: u64,
    /// The back-off of the others does not count.
    pub(crate) forced: bool,
    /// A new token kills the one in use, and requests are held for it.
    pub(crate) holds: bool,
    /// The mark of a gate that is for other credentials than this process has, so that it does not
    /// count.
    pub(crate) passes: Option<u64>,
    pub(crate) cooldown: SharedCooldown,
    /// The longest that this process leaves the endpoint alone for the others.
    pub(crate) longest_back_off: Duration,
    /// How long a lease lasts without a sign of its owner.
    pub(crate) lease: Duration,
}

/// The answer to a wish.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// There is a newer token than the one that is to be replaced.
    Newer,
    /// The endpoint is left alone for this long.
    BackingOff(SharedGate, Duration),
    /// Another process asks for a token.
    Held,
    /// The caller asks for a token, once it has written this value. The fence is in it.
    Granted(Value),
}

/// The answer to a holder that has a token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Publication {
    /// All have the token, once the caller has written this value.
    Write(Value),
    /// The token is there. The answer to an earlier step was lost.
    Published,
    /// A newer lease was granted, so the token is not for the others.
    Fenced,
}

/// Enters with a wish into a value that is `age` old. `revision` is that of the next change.
pub(crate) fn enter(value: &Value, age: Duration, wish: &Wish, revision: u64) -> Entry {
    let head = &value.head;
    let others = head.lease.filter(|lease| lease.owner != wish.owner);
    let is_held = others.is_some() && age < wish.lease;
    // A token that is about to die is no use to a process that does not have it.
    if head.sequence > wish.floor && !(is_held && others.is_some_and(|lease| lease.hold)) {
        return Entry::Newer;
    }
    if let Some((gate, left)) = value.backing_off(age, wish.longest_back_off)
        && !wish.forced
        && (gate.credentials.is_none() || gate.credentials != wish.passes)
    {
        return Entry::BackingOff(gate.clone(), left);
    }
    if is_held {
        return Entry::Held;
    }
    let mut next = value.clone();
    // The answer to an earlier step of the same owner may have been lost. It goes on under the
    // same fence.
    let is_own = head.lease.is_some_and(|lease| lease.owner == wish.owner);
    if !is_own {
        next.head.fence = revision;
    }
    // A store that has lost its data knows no token, and the others have theirs all the same.
    let has_token = value.has_token() || wish.floor > 0;
    let hold = wish.holds && has_token && head.state == TokenState::Alive;
    // Its own lease too: a flight that was dropped may have sent a request under it.
    let takeover = head.lease.is_some();
    next.head.lease = Some(Lease { owner: wish.owner, hold, takeover });
    next.head.gate = None;
    next.head.cooldown = head.cooldown.and(wish.cooldown);
    Entry::Granted(next)
}

/// Confirms the lease of `owner` under `fence`. The caller writes the same value again, which
/// starts its age anew. Returns `None` if the lease is lost.
pub(crate) fn extend(value: &Value, owner: Owner, fence: u64) -> Option<Value> {
    is_holder(value, owner, fence).then(|| value.clone())
}

/// Publishes a token that was asked for under `fence`.
pub(crate) fn publish(
    value: &Value,
    fence: u64,
    token: &Bytes,
    cooldown: SharedCooldown,
) -> Publication {
    let head = &value.head;
    if head.fence != fence {
        return Publication::Fenced;
    }
    if head.sequence == fence {
        let is_it = value.token == *token;
        return if is_it { Publication::Published } else { Publication::Fenced };
    }
    let mut next = value.clone();
    next.token = token.clone();
    next.head.sequence = fence;
    next.head.state = TokenState::Alive;
    next.head.takeover = head.stray || head.lease.is_some_and(|lease| lease.takeover);
    next.head.stray = false;
    next.head.lease = None;
    next.head.gate = None;
    next.head.cooldown = cooldown;
    Publication::Write(next)
}

/// Gives the lease under `fence` back without a token. Returns `None` if it is no longer held.
pub(crate) fn leave(
    value: &Value,
    owner: Owner,
    fence: u64,
    fate: Fate,
    gate: Option<SharedGate>,
) -> Option<Value> {
    if !is_holder(value, owner, fence) {
        return None;
    }
    let takeover = value.head.lease.is_some_and(|lease| lease.takeover);
    let mut next = value.clone();
    next.head.lease = None;
    next.head.stray |= takeover;
    next.head.gate = gate;
    next.head.state = match (fate, value.head.state) {
        (Fate::Issued, _) | (_, TokenState::Dead) => TokenState::Dead,
        (Fate::Unknown, _) | (_, TokenState::Suspect) => TokenState::Suspect,
        // The former holder's request may have killed the token, whatever came of this one.
        (Fate::NotIssued, TokenState::Alive) if takeover => TokenState::Suspect,
        (Fate::NotIssued, TokenState::Alive) => TokenState::Alive,
    };
    Some(next)
}

fn is_holder(value: &Value, owner: Owner, fence: u64) -> bool {
    value.head.fence == fence && value.head.lease.is_some_and(|lease| lease.owner == owner)
}

impl SharedCooldown {
    /// Returns the greater of both counts, with the jitter of the one that has more renewals.
    fn and(self, other: Self) -> Self {
        let more = if other.early > self.early { other } else { self };
        Self {
            early: more.early,
            never_accepted: self.never_accepted.max(other.never_accepted),
            jitter: more.jitter,
        }
    }
}

#[cfg(test)]
#[path = "steps_sequences_tests.rs"]
mod sequences_tests;
#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
