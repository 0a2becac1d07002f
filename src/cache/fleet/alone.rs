//! A flight that can't use the store.

use std::{sync::Arc, time::UNIX_EPOCH};

use tokio::time::timeout_at;

use super::{
    super::{effect::Trigger, task::Refreshed},
    store_down,
    turn::SharedFlight,
};
use crate::{
    clock,
    events::TARGET,
    fleet::Order,
    isolate::isolate,
    refresh::backoff,
    store::{StoreDown, StoreError},
};

impl SharedFlight<'_> {
    /// Decides what follows when the store can't be used. Returns `None` to try again.
    pub(super) async fn without_store(
        &self,
        error: StoreError,
        failures: u32,
    ) -> Option<Refreshed> {
        let (task, core) = (self.task, &*self.task.core);
        core.store_failed(&error);
        let pause = backoff::pause(&core.rules.policy, failures, None, fastrand::f64());
        let next = clock::later(clock::now(), pause);
        let next = match task.start.trigger {
            Trigger::Due => core.hold_time(task.start.sequence).map(|hold| next.min(hold)),
            // This process did not want a new token, and its own is better than none.
            Trigger::Sibling => Some(next).filter(|_| core.is_content()),
            _ => None,
        };
        if let Some(next) = next.filter(|next| clock::now() < *next)
            // A caller that needs a token now does not wait for the store.
            && (timeout_at(next, task.expedite.notified()).await.is_err() || core.is_content())
        {
            return None;
        }
        if self.fleet.store_down() == StoreDown::Fail {
            return Some(Refreshed::failed(store_down(error)));
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
        Some(refreshed)
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
