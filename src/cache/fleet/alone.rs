//! A flight that can't use the store.

use std::{pin::pin, sync::Arc, time::UNIX_EPOCH};

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout_at};

use super::{
    super::{effect::Trigger, task::Refreshed},
    store_down,
    turn::SharedFlight,
};
use crate::{
    clock,
    events::TARGET,
    fleet::{News, Order, REGROUP, Seen},
    isolate::isolate,
    refresh::backoff,
    store::{StoreDown, StoreError},
};

impl SharedFlight<'_> {
    /// Returns when the store is asked again after so many failures in a row; `None` if there is no
    /// time for that.
    pub(super) fn next_try(&self, failures: u32) -> Option<Instant> {
        let (task, core) = (self.task, &*self.task.core);
        let pause = backoff::pause(&core.rules.policy, failures, None, fastrand::f64());
        let next = clock::later(clock::now(), pause);
        let next = match task.start.trigger {
            Trigger::Due => core.hold_time(task.start.sequence).map(|hold| next.min(hold)),
            // This process did not want a new token, and its own is better than none.
            Trigger::Sibling => Some(next).filter(|_| core.is_content()),
            _ => None,
        };
        next.filter(|next| clock::now() < *next)
    }

    /// Waits until then, or for a sign that the store works. Returns whether a caller needs a token
    /// now, and can wait for the answer to one more question at most.
    pub(super) async fn pause(&self, until: Instant, news: &mut News) -> bool {
        let hurried = pin!(self.task.expedite.notified());
        match select(hurried, pin!(timeout_at(until, news.next()))).await {
            Either::Left(_) => !self.task.core.is_content(),
            Either::Right(_) => false,
        }
    }

    /// Waits until the others use the store again too, if it was down until a moment ago and the
    /// token in use is good until then. Who does not hear of a renewal goes on with the token that
    /// dies of it. Returns whether a caller needs a token now, as [`pause`](Self::pause) does.
    pub(super) async fn regroup(&self, news: &mut News, floor: u64) -> Result<bool, StoreError> {
        let (task, core) = (self.task, &*self.task.core);
        let is_due = task.start.trigger == Trigger::Due && core.is_content();
        let Some(hold) = core.hold_time(task.start.sequence).filter(|_| is_due) else {
            return Ok(false);
        };
        if core.is_store_failing() {
            // Once the lease is taken it is too late to wait.
            self.turn.get(self.turn.bounds.operation).await?;
            core.store_works();
        }
        let Some(back) = core.store_back() else { return Ok(false) };
        let until = clock::later(back, REGROUP).min(hold);
        let has_moved = |seen: Seen| {
            let head = &seen.value.head;
            head.lease.is_some() || head.sequence > floor
        };
        let mut hurried = pin!(task.expedite.notified());
        while clock::now() < until && !news.take().is_some_and(has_moved) {
            match select(hurried.as_mut(), pin!(timeout_at(until, news.next()))).await {
                Either::Left(_) => return Ok(!core.is_content()),
                Either::Right(_) => {}
            }
        }
        Ok(false)
    }

    /// Does what was chosen for a store that can't be used.
    pub(super) async fn without_store(&self, error: StoreError) -> Refreshed {
        let (task, core) = (self.task, &*self.task.core);
        core.store_failed(&error);
        if self.fleet.store_down() == StoreDown::Fail {
            return self.failed(store_down(error));
        }
        core.tally.store_alone.add();
        isolate(|| {
            tracing::warn!(
                target: TARGET,
                "asking for a token without the token store; this may kill the token of other \
                 processes",
            );
        });
        self.holding.0.send_replace(None);
        let refreshed = task.ask(self.sequence_alone()).await;
        if let Ok(token) = &refreshed.result.result {
            self.fleet.orders.give(Order::Offer(Arc::clone(&self.member), token.clone()));
        }
        refreshed
    }

    /// Returns the number of a token that is asked for without a lease: greater than all known
    /// ones, and by the wall clock, so that the newest of several such tokens has the greatest.
    fn sequence_alone(&self) -> u64 {
        let since_epoch = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let seen = self.member.seen().map_or(0, |seen| seen.value.head.fence);
        let next = self.task.core.newest().max(self.member.local(seen)).saturating_add(1);
        next.max(self.member.local(wall))
    }
}
