//! The wait of a flight for the process that asks for a token.

use std::time::Duration;

use tokio::time::timeout_at;

use super::{
    super::{
        complete::Arrival,
        effect::Trigger,
        task::{Done, Refreshed},
    },
    turn::{SharedFlight, Waited, backing_off},
};
use crate::{
    clock::{self, Moment},
    error::Fate,
    fleet::{Anchor, News, Seen, look_after},
    refresh::attempts::RefreshResult,
    store::value::{TokenState, Value},
    token::AccessToken,
};

impl SharedFlight<'_> {
    /// Waits for the process that has the lease, until there is something to ask the store for.
    pub(super) async fn wait(&self, seen: &Seen, news: &mut News, floor: u64) -> Waited {
        let core = &*self.task.core;
        let mut seen = seen.clone();
        let mut look = clock::later(clock::now(), look_after(fastrand::f64()));
        loop {
            if let Some(token) = core.newer_than(self.member.local(floor)) {
                return Waited::Done(Done::Refreshed(adopted_already(token)));
            }
            let head = &seen.value.head;
            let lease = head.lease.filter(|it| it.owner != self.fleet.owner());
            // A token that is about to die is no use to a process that does not have it. The store
            // does not hand it out either, so asking it would not end.
            if head.sequence > floor && !lease.is_some_and(|lease| lease.hold) {
                return self.adopt_held_for(&seen);
            }
            let Some(lease) = lease else { return self.given_back(&seen.value).await };
            let fence = head.fence;
            let is_new = self.holding.0.borrow().is_none_or(|hold| hold.fence != fence);
            if lease.hold && is_new && core.hold_for_sibling(self.task.start.sequence) {
                self.hold_for_sibling(fence, seen.at);
            }
            if timeout_at(look, news.next()).await.is_err() {
                return Waited::Look;
            }
            match news.take() {
                Some(newer) if newer.revision > seen.revision => {
                    seen = newer;
                    look = clock::later(clock::now(), look_after(fastrand::f64()));
                }
                // Something may have been missed.
                _ => return Waited::Look,
            }
        }
    }

    /// Adopts the token for which this process holds its requests. It was asked for after the hold
    /// was announced. If the announcement came late, or the first request for the token brought
    /// none, the store has to date the token.
    fn adopt_held_for(&self, seen: &Seen) -> Waited {
        let hold = *self.holding.0.borrow();
        let Some(hold) = hold.filter(|hold| hold.fence == seen.value.head.sequence) else {
            return self.adopt_by_fence(seen);
        };
        let waited = seen.at.at.saturating_duration_since(hold.since.at);
        let times = self.fleet.record_times(&self.member, &seen.value);
        if times.is_some_and(|(_, spent)| waited >= spent) {
            self.adopt_since(seen, hold.since)
        } else {
            Waited::Look
        }
    }

    /// Adopts a token that this process waits for with nothing to hold: its own token is dead. Its
    /// fence dates the token.
    ///
    /// Without this all processes of a fleet would ask the store at the moment of the publication.
    fn adopt_by_fence(&self, seen: &Seen) -> Waited {
        let before = seen.before.filter(|_| seen.value.head.fence == seen.value.head.sequence);
        before.map_or(Waited::Look, |before| self.adopt_since(seen, before))
    }

    /// Adopts a token that was asked for after this moment, as if it had been asked for then. If
    /// that cut more than a twentieth of its life off, the store dates it.
    ///
    /// A shorter cut is not worth it that all processes ask the store at the same moment.
    fn adopt_since(&self, seen: &Seen, since: Moment) -> Waited {
        let Some((lifetime, spent)) = self.fleet.record_times(&self.member, &seen.value) else {
            return Waited::Look;
        };
        let passed = seen.at.at.saturating_duration_since(since.at);
        if passed.saturating_sub(spent) > lifetime / 20 {
            return Waited::Look;
        }
        let adopted = self.adopt_dated(&seen.value, Anchor::Held(since));
        adopted.map_or(Waited::Look, |refreshed| Waited::Done(Done::Refreshed(refreshed)))
    }

    /// Decides what follows when the lease is given back without a token.
    async fn given_back(&self, value: &Value) -> Waited {
        let may_be_dead = value.head.state != TokenState::Alive;
        if let Some((gate, left)) = value.backing_off(Duration::ZERO, Duration::MAX)
            && !(may_be_dead && self.task.core.is_withheld())
            && !self.is_for_others(gate).await
        {
            let mut refreshed = Refreshed::failed(backing_off(gate, left));
            refreshed.result.fate = match value.head.state {
                TokenState::Alive => Fate::NotIssued,
                TokenState::Suspect => Fate::Unknown,
                TokenState::Dead => Fate::Issued,
            };
            return Waited::Done(Done::Refreshed(refreshed));
        }
        let is_content = value.head.state == TokenState::Alive && self.task.core.is_content();
        if is_content && self.task.start.trigger == Trigger::Sibling {
            return Waited::Done(Done::CalledOff);
        }
        Waited::Look
    }
}

/// The result of a flight whose token came by another way.
fn adopted_already(token: AccessToken) -> Refreshed {
    let result = RefreshResult { result: Ok(token), fate: Fate::NotIssued, issued_to: None };
    let arrival = Arrival { adopted: true, ..Arrival::default() };
    Refreshed { arrival, ..Refreshed::by(result, None) }
}
