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
    FutureExt, StreamExt,
    future::{pending, select},
    stream::BoxStream,
};
use tokio::{runtime::Handle, task::yield_now};

use super::{
    super::{core::Core, task},
    ANSWER, adopt,
    agenda::{Agenda, Due},
};
use crate::{
    fleet::{Anchor, Entered, Fleet, Found, Member, Order},
    store::{
        Notice, StoreError,
        steps::Wish,
        value::{SharedCooldown, Value},
    },
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

/// Something for the listener to do.
enum Event {
    Orders(Vec<Order>),
    Due(Due),
    /// `None` once the store has no more to tell.
    Notice(Option<Notice>),
}

impl Listener {
    async fn run(self) {
        let mut notices = self.fleet.watch(&self.member);
        let mut agenda = Agenda::default();
        let mut ended = false;
        loop {
            match self.next(&mut agenda, (!ended).then_some(&mut notices)).await {
                Event::Orders(orders) => {
                    for order in orders {
                        self.carry_out(order, &mut agenda).await;
                    }
                }
                Event::Due(Due::Offer(member, token)) => {
                    self.carry_out(Order::Offer(member, token), &mut agenda).await;
                }
                Event::Due(Due::Look) => self.look_again(&mut agenda).await,
                Event::Notice(Some(Notice::Changed { revision, value })) if self.is_well() => {
                    self.changed(revision, &value, &mut agenda).await;
                }
                // After an operation that failed, any notice is a sign that the store is back.
                Event::Notice(Some(_)) => {
                    self.look_again(&mut agenda).await;
                    if self.is_well()
                        && let Some((member, token)) = agenda.take_offer()
                    {
                        self.carry_out(Order::Offer(member, token), &mut agenda).await;
                    }
                }
                Event::Notice(None) => ended = true,
            }
            // A store that always has a notice must not keep this thread from all others.
            yield_now().await;
        }
    }

    /// Waits for something to do. Orders and the agenda come first, because they are few. A store
    /// may tell of changes without end.
    async fn next(
        &self,
        agenda: &mut Agenda,
        notices: Option<&mut BoxStream<'static, Notice>>,
    ) -> Event {
        let notice = pin!(async {
            match notices {
                Some(notices) => Event::Notice(notices.next().await),
                None => pending().await,
            }
        });
        let orders = pin!(self.fleet.orders.next().map(Event::Orders));
        let due = pin!(agenda.next().map(Event::Due));
        let later = select(due, notice).map(|event| event.factor_first().0);
        select(orders, later).await.factor_first().0
    }

    /// Returns whether the last operation of the store succeeded.
    fn is_well(&self) -> bool {
        self.core.upgrade().is_some_and(|core| !core.is_store_failing())
    }

    /// Takes in a change that the store told of.
    async fn changed(&self, revision: u64, value: &Bytes, agenda: &mut Agenda) {
        let value = match self.fleet.read(&self.member, revision, value) {
            Ok(value) => value,
            Err(error) => {
                if let Some(core) = self.core.upgrade() {
                    core.store_failed(&error);
                }
                return;
            }
        };
        if !self.member.note(revision, value.clone()) {
            // The store may have lost changes, and then this is the newest one.
            if self.member.seen().is_some_and(|seen| revision < seen.revision) {
                self.look_again(agenda).await;
            }
            return;
        }
        let is_newer = self.core.upgrade().is_some_and(|core| self.is_news(&core, &value));
        if is_newer {
            // A notice does not date a token.
            self.look_again(agenda).await;
        } else {
            self.hold(&value);
        }
    }

    /// Asks the store for the newest value, unless that was done often. Then it is done later.
    async fn look_again(&self, agenda: &mut Agenda) {
        if agenda.may_look() {
            self.look(None).await;
            self.member.mind_the_gap();
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
                adopt::open(core, &self.fleet, &self.member, &found.value, anchor)
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

    async fn carry_out(&self, order: Order, agenda: &mut Agenda) {
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
                if self.offer(&member, &token).await.is_err() && self.is_newest(&token) {
                    let pause = OFFER_EVERY.mul_f64(0.5 + fastrand::f64());
                    agenda.offer_after(pause, member, token);
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
        let found = turn.get(turn.bounds.operation).await?;
        // The answer of the store to an earlier try may have been lost. Or the next token has come,
        // and this one has died of that.
        if self.is_there(&found, member, token) || !self.is_newest(token) {
            return Ok(());
        }
        let wish = Wish {
            owner: self.fleet.owner(),
            floor: member.shared(token.sequence()),
            forced: true,
            holds: false,
            passes: None,
            longest_back_off: Duration::ZERO,
            cooldown,
            lease,
        };
        let age = token.lifetime().saturating_sub(token.time_left());
        match turn.enter(&wish, Some(age)).await? {
            Entered::Granted(mut lease) => {
                let sealed = self.fleet.seal(member, lease.fence, token)?;
                // Others may have asked alone as well, and killed it. That is over now, and its
                // first refusal tells.
                lease.stray = true;
                let cooldown = SharedCooldown::default();
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

    /// Returns whether a token can be sent and this cache has had none that is newer.
    fn is_newest(&self, token: &AccessToken) -> bool {
        let newest = self.core.upgrade().map(|core| core.newest());
        // The flight that has brought it may not have ended yet.
        newest.is_some_and(|newest| newest <= token.sequence()) && token.is_usable()
    }

    /// Returns whether the store has this token, under its own number.
    fn is_there(&self, found: &Found, member: &Member, token: &AccessToken) -> bool {
        let anchor = Anchor::Store { asked: found.asked, age: found.age };
        let has_number = found.value.head.sequence == member.shared(token.sequence());
        has_number
            && self.core.upgrade().is_some_and(|core| {
                let opened = adopt::open(&core, &self.fleet, member, &found.value, anchor);
                opened.is_some_and(|(it, _)| it.expose_secret() == token.expose_secret())
            })
    }
}
