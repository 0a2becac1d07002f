//! The listener: the task that hears of other processes which share the token, and does at the
//! store what requests and flights can't wait for.
//!
//! It runs from the first flight on, on the runtime of that flight, and ends with the last handle.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{Either, pending, select},
};
use tokio::{runtime::Handle, time::sleep};

use super::{core::Core, fleet::ANSWER, task, turn};
use crate::{
    fleet::{Anchor, Entered, Fleet, Found, Member, Order},
    store::{Notice, StoreError, steps::Wish, value::Value},
    sync,
    token::AccessToken,
};

/// The pause between two tries to publish a token.
const OFFER_EVERY: Duration = Duration::from_millis(500);

/// The listener of one cache.
struct Listener {
    core: Weak<Core>,
    fleet: Arc<Fleet>,
    member: Arc<Member>,
    runtime: Handle,
}

/// Spawns the listener, unless it runs.
pub(super) fn keep(core: &Arc<Core>, member: &Arc<Member>, runtime: &Handle) {
    let Some(fleet) = &core.fleet else { return };
    core.keep_listening(&member.name, || {
        let listener = Listener {
            core: Arc::downgrade(core),
            fleet: Arc::clone(fleet),
            member: Arc::clone(member),
            runtime: runtime.clone(),
        };
        sync::spawn(runtime, listener.run())
    });
}

impl Listener {
    async fn run(self) {
        let mut notices = self.fleet.watch(&self.member);
        let mut ended = false;
        loop {
            let notice = async { if ended { pending().await } else { notices.next().await } };
            match select(pin!(notice), pin!(self.fleet.orders.next())).await {
                Either::Left((Some(Notice::Changed { revision, value }), _)) => {
                    self.changed(revision, &value).await;
                }
                Either::Left((Some(Notice::Gap), _)) => {
                    self.look(None).await;
                    self.member.mind_the_gap();
                }
                Either::Left((None, _)) => ended = true,
                Either::Right((orders, _)) => {
                    for order in orders {
                        self.carry_out(order).await;
                    }
                }
            }
        }
    }

    /// Takes in a change that the store told of.
    async fn changed(&self, revision: u64, value: &Bytes) {
        let value = match self.fleet.read(&self.member, value) {
            Ok(value) => value,
            Err(error) => {
                if let Some(core) = self.core.upgrade() {
                    core.store_failed(&error);
                }
                return;
            }
        };
        if !self.member.note(revision, value.clone()) {
            return;
        }
        let is_newer = self.core.upgrade().is_some_and(|core| self.is_news(&core, &value));
        if is_newer {
            // A notice does not date a token.
            self.look(None).await;
        } else {
            self.hold(&value);
        }
    }

    /// Asks the store for the newest value, within this time, and adopts its token.
    async fn look(&self, within: Option<Duration>) {
        let Some(lifetime) = self.core.upgrade().map(|core| core.lifetime()) else { return };
        let turn = self.fleet.turn(&self.member, lifetime);
        let found = turn.get(within.unwrap_or(turn.bounds.operation)).await;
        let Some(core) = self.core.upgrade() else { return };
        match found {
            Ok(found) => {
                core.store_works();
                self.adopt(&core, &found);
                drop(core);
                self.hold(&found.value);
            }
            Err(error) => core.store_failed(&error),
        }
    }

    /// Returns whether `value` has a token that is to be adopted outside of a flight. A flight sees
    /// it for itself, and a cache that has had no token yet is idle.
    fn is_news(&self, core: &Core, value: &Value) -> bool {
        let newest = core.newest();
        newest > 0
            && value.head.sequence > self.member.shared(newest)
            && value.has_token()
            && !core.is_refreshing()
    }

    fn adopt(&self, core: &Core, found: &Found) {
        let anchor = Anchor::Store { asked: found.asked, age: found.age };
        if self.is_news(core, &found.value)
            && let Some((token, arrival)) =
                turn::open(core, &self.fleet, &self.member, &found.value, anchor)
        {
            core.adopt(&token, arrival);
        }
    }

    /// Holds requests if another process asks for the successor of the token in use.
    fn hold(&self, value: &Value) {
        let head = &value.head;
        let holds = head.lease.is_some_and(|it| it.hold && it.owner != self.fleet.owner());
        if !holds {
            return;
        }
        let Some(core) = self.core.upgrade() else { return };
        let sequence = self.member.local(head.sequence);
        if let Some(to_spawn) = core.begin_sibling(sequence, &self.runtime) {
            task::spawn(&core, &self.runtime, to_spawn, |_| {});
        }
    }

    async fn carry_out(&self, order: Order) {
        match order {
            Order::Ask => {
                self.look(Some(ANSWER)).await;
                if let Some(core) = self.core.upgrade() {
                    core.answered_by_store();
                }
            }
            Order::GiveBack(member, lease, fate) => {
                let turn = self.fleet.turn(&member, None);
                if let Err(error) = turn.leave(&lease, fate, None).await
                    && let Some(core) = self.core.upgrade()
                {
                    core.store_failed(&error);
                }
            }
            Order::Offer(member, token) => {
                let offered = self.offer(&member, &token).await;
                let is_current =
                    self.core.upgrade().is_some_and(|core| core.newest() == token.sequence());
                if offered.is_err() && is_current && token.is_usable() {
                    // Others wait for it, and further orders for this.
                    sleep(OFFER_EVERY.mul_f64(0.5 + fastrand::f64())).await;
                    self.fleet.orders.give(Order::Offer(member, token));
                }
            }
        }
    }

    /// Publishes a token that was asked for without a lease, or that could not be published, unless
    /// there is a newer one.
    async fn offer(&self, member: &Member, token: &AccessToken) -> Result<(), StoreError> {
        let Some((lease, cooldown)) = self.core.upgrade().map(|core| {
            let lease = self.fleet.turn(member, core.lifetime()).bounds.lease;
            (lease, core.cooldown())
        }) else {
            return Ok(());
        };
        let turn = self.fleet.turn(member, Some(token.lifetime()));
        // The answer of the store to an earlier try may have been lost.
        if self.is_there(&turn.get(turn.bounds.operation).await?, member, token) {
            return Ok(());
        }
        let wish = Wish {
            owner: self.fleet.owner(),
            floor: member.shared(token.sequence()),
            forced: true,
            holds: false,
            credentials: None,
            cooldown,
            lease,
        };
        let age = token.lifetime().saturating_sub(token.time_left());
        match turn.enter(&wish, Some(age)).await? {
            Entered::Granted(lease) => {
                let sealed = self.fleet.seal(member, lease.fence, token)?;
                let published = turn.publish(&lease, &sealed, cooldown).await?;
                // The token has a new number. Under the former one this process would not know
                // that another renews it.
                if let (Some(found), Some(core)) = (published, self.core.upgrade()) {
                    self.adopt(&core, &found);
                }
                Ok(())
            }
            Entered::Newer(found) => {
                if let Some(core) = self.core.upgrade() {
                    self.adopt(&core, &found);
                }
                Ok(())
            }
            Entered::BackingOff(..) | Entered::Held(_) => {
                Err(StoreError::unavailable("another process asks for a token"))
            }
        }
    }

    /// Returns whether the store has this token, under its own number.
    fn is_there(&self, found: &Found, member: &Member, token: &AccessToken) -> bool {
        let anchor = Anchor::Store { asked: found.asked, age: found.age };
        let has_number = found.value.head.sequence == member.shared(token.sequence());
        has_number
            && self.core.upgrade().is_some_and(|core| {
                let opened = turn::open(&core, &self.fleet, member, &found.value, anchor);
                opened.is_some_and(|(it, _)| it.expose_secret() == token.expose_secret())
            })
    }
}
