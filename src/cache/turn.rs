//! The work of a flight where processes share the token: wait for the others, or ask for all.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::{Either, pending, select};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    complete::Arrival,
    core::Core,
    effect::Trigger,
    fleet::store_down,
    flight::interrupted,
    listener,
    task::{Done, RefreshTask, Refreshed, SILENCE},
};
use crate::{
    clock::{self, Moment},
    error::{AuthError, Fate, Kind},
    events::TARGET,
    fleet::{
        Anchor, Entered, Fleet, Found, HeldLease, Member, News, Order, Seen, Turn, look_after,
    },
    isolate::isolate,
    refresh::{attempts::RefreshResult, backoff},
    store::{
        StoreDown, StoreError,
        steps::Wish,
        value::{SharedGate, TokenState, Value},
    },
    token::AccessToken,
};

/// A lease, and the way to give it back.
///
/// Dropped, it is given back by the listener, so that the others need not wait for its end.
pub(super) struct HeldTurn {
    fleet: Arc<Fleet>,
    member: Arc<Member>,
    /// `None` once it has been given back, or is lost.
    lease: Option<HeldLease>,
    /// The fate of the request for a token, if the flight dies now.
    fate: Fate,
    lifetime: Option<Duration>,
}

/// The requests that are held in this flight.
struct Holding(watch::Sender<Option<Hold>>);

#[derive(Clone, Copy)]
struct Hold {
    /// The fence of the lease for which requests are held; 0 if none was heard of yet.
    fence: u64,
    /// When this process heard of it. Nothing was asked for before that.
    since: Moment,
    /// When this process began to hold, which may be later.
    began: Instant,
    /// When they are held no longer.
    until: Instant,
}

/// One flight's view of the fleet.
struct Flight<'a> {
    task: &'a RefreshTask,
    fleet: &'a Arc<Fleet>,
    member: Arc<Member>,
    turn: Turn<'a>,
    holding: &'a Holding,
}

/// The end of a wait for another process.
enum Waited {
    /// The flight has ended.
    Done(Done),
    /// The store has to be asked.
    Look,
}

impl RefreshTask {
    pub(super) async fn work_in_fleet(&self, fleet: &Arc<Fleet>) -> Done {
        let holding = Holding(watch::Sender::new(None));
        let work = pin!(self.obtain(fleet, &holding));
        match select(work, pin!(self.bound_holds(&holding))).await {
            Either::Left((Done::Refreshed(mut refreshed), _)) => {
                let is_held = self.core.is_holding(self.start.sequence);
                let held = holding.0.borrow().filter(|_| is_held).map(|hold| hold.began);
                refreshed.held = refreshed.held.or(held);
                Done::Refreshed(refreshed)
            }
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        }
    }

    /// Ends each hold of this flight when it has lasted for long enough.
    async fn bound_holds(&self, holding: &Holding) -> Done {
        let (core, flight) = (&*self.core, self.start.sequence);
        let mut changes = holding.0.subscribe();
        loop {
            let hold = *changes.borrow_and_update();
            let Some(hold) = hold else {
                changed(&mut changes).await;
                continue;
            };
            if timeout_at(hold.until, changed(&mut changes)).await.is_ok() {
                continue;
            }
            core.time_out_hold(flight);
            let lasted = clock::now().saturating_duration_since(hold.began);
            core.tally.longest_hold.record(lasted);
            if timeout(SILENCE, changed(&mut changes)).await.is_ok() {
                continue;
            }
            core.follow(flight);
            changed(&mut changes).await;
        }
    }

    async fn obtain(&self, fleet: &Arc<Fleet>, holding: &Holding) -> Done {
        let core = &*self.core;
        let member = match self.member(fleet).await {
            Ok(member) => member,
            Err(error) => return Done::Refreshed(Refreshed::failed(error)),
        };
        listener::keep(&self.core, &member, &Handle::current());
        let borrowed = Arc::clone(&member);
        let turn = fleet.turn(&borrowed, core.lifetime());
        let flight = Flight { task: self, fleet, member, turn, holding };
        if core.is_holding(self.start.sequence) {
            flight.hold(0, clock::moment());
        }
        flight.run().await
    }

    /// Returns the part of this process in the fleet.
    async fn member(&self, fleet: &Fleet) -> Result<Arc<Member>, AuthError> {
        if let Some(member) = fleet.member() {
            return Ok(member);
        }
        let core = &*self.core;
        let asking = core.endpoint.identity();
        let identity =
            timeout(core.rules.policy.attempt_timeout, asking).await.map_err(|_| {
                AuthError::new(Kind::Credentials, "the credentials source did not respond in time")
            })??;
        fleet.join(identity.as_ref(), core.uri.as_ref(), core.newest()).ok_or_else(|| {
            AuthError::new(
                Kind::Permanent,
                "the endpoint does not tell whose tokens it issues, so they can't be shared by \
                 that; name them with `TokenCacheBuilder::shared_as`",
            )
        })
    }
}

impl Flight<'_> {
    async fn run(&self) -> Done {
        let (task, core) = (self.task, &*self.task.core);
        let mut wish = self.wish();
        let mut news = self.member.news();
        let ends = clock::later(clock::now(), core.rules.policy.deadline);
        if task.start.trigger == Trigger::Sibling
            && let Some(seen) = news.take()
            && let Waited::Done(done) = self.wait(&seen, &mut news, wish.floor).await
        {
            return done;
        }
        let mut failures = 0;
        loop {
            if clock::now() >= ends {
                return Done::Refreshed(Refreshed::failed(no_turn(core.rules.policy.deadline)));
            }
            let token = core.token_age(self.member.local(wish.floor));
            let entered = self.turn.enter(&wish, token).await;
            if entered.is_ok() {
                core.store_works();
            }
            match entered {
                Ok(Entered::Newer(found)) => {
                    wish.floor = found.value.head.sequence;
                    if let Some(refreshed) = self.adopt(&found) {
                        return Done::Refreshed(refreshed);
                    }
                }
                Ok(Entered::BackingOff(gate, left)) => {
                    return Done::Refreshed(Refreshed::failed(backing_off(&gate, left)));
                }
                Ok(Entered::Held(found)) => {
                    let seen = news.take().filter(|seen| seen.revision >= found.revision);
                    let seen = seen.unwrap_or_else(|| seen_now(found));
                    if let Waited::Done(done) = self.wait(&seen, &mut news, wish.floor).await {
                        return done;
                    }
                }
                Ok(Entered::Granted(lease)) => {
                    if let Some(refreshed) = self.renew(lease).await {
                        return Done::Refreshed(refreshed);
                    }
                }
                Err(error) => {
                    failures += 1;
                    if let Some(refreshed) = self.without_store(error, failures).await {
                        return Done::Refreshed(refreshed);
                    }
                }
            }
        }
    }

    fn wish(&self) -> Wish {
        let (start, core) = (&self.task.start, &*self.task.core);
        Wish {
            owner: self.fleet.owner(),
            floor: self.member.shared(start.floor),
            forced: start.trigger == Trigger::Forced,
            holds: core.rules.holds(),
            credentials: None,
            cooldown: core.cooldown(),
            lease: self.turn.bounds.lease,
        }
    }

    /// Notes that requests are held for the lease `fence` since then.
    fn hold(&self, fence: u64, since: Moment) {
        let bound = self.turn.bounds.grace + self.task.core.rules.policy.hold_timeout;
        let bound = bound.min(self.task.core.lifetime().map_or(bound, |lifetime| lifetime / 4));
        let until = clock::later(since.at, bound);
        self.holding.0.send_replace(Some(Hold { fence, since, began: clock::now(), until }));
    }

    /// Makes the token of a value this process' own; `None` if it can't be sent.
    fn adopt(&self, found: &Found) -> Option<Refreshed> {
        let anchor = Anchor::Store { asked: found.asked, age: found.age };
        self.adopt_dated(&found.value, anchor)
    }

    fn adopt_dated(&self, value: &Value, anchor: Anchor) -> Option<Refreshed> {
        let (token, arrival) = open(&self.task.core, self.fleet, &self.member, value, anchor)?;
        let result = RefreshResult { result: Ok(token), fate: Fate::NotIssued, issued_to: None };
        Some(Refreshed { arrival, ..Refreshed::by(result, None) })
    }

    /// Waits for the process that has the lease, until there is something to ask the store for.
    async fn wait(&self, seen: &Seen, news: &mut News, floor: u64) -> Waited {
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
            let Some(lease) = lease else { return self.given_back(&seen.value) };
            let fence = head.fence;
            let is_new = self.holding.0.borrow().is_none_or(|hold| hold.fence != fence);
            if lease.hold && is_new && core.hold_for_sibling(self.task.start.sequence) {
                self.hold(fence, seen.at);
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
    /// was announced. If the announcement came late, the store has to date the token.
    fn adopt_held_for(&self, seen: &Seen) -> Waited {
        let hold = *self.holding.0.borrow();
        let Some(hold) = hold.filter(|hold| hold.fence == seen.value.head.sequence) else {
            return Waited::Look;
        };
        let Some(refreshed) = self.adopt_dated(&seen.value, Anchor::Held(hold.since)) else {
            return Waited::Look;
        };
        let waited = seen.at.at.saturating_duration_since(hold.since.at);
        let spent = self.fleet.spent(&self.member, &seen.value);
        if spent.is_some_and(|spent| waited >= spent) {
            Waited::Done(Done::Refreshed(refreshed))
        } else {
            Waited::Look
        }
    }

    /// Decides what follows when the lease is given back without a token.
    fn given_back(&self, value: &Value) -> Waited {
        if let Some((gate, left)) = value.backing_off(Duration::ZERO) {
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

    /// Asks the endpoint for all. Returns `None` if the lease was lost, so that the flight has to
    /// enter again.
    async fn renew(&self, lease: HeldLease) -> Option<Refreshed> {
        let (task, core) = (self.task, &*self.task.core);
        let (fence, holds) = (lease.fence, lease.holds);
        let takeover = lease.takeover;
        if takeover {
            core.tally.store_takeovers.add();
        }
        isolate(|| tracing::info!(target: TARGET, fence, takeover, "took the lease of the fleet"));
        let mut held = HeldTurn {
            fleet: Arc::clone(self.fleet),
            member: Arc::clone(&self.member),
            lease: Some(lease),
            fate: Fate::NotIssued,
            lifetime: core.lifetime(),
        };
        let fallback = if holds { self.hold_own(fence).await } else { None };
        let lease = held.lease.as_mut()?;
        if !self.turn.is_confirmed(lease) && !self.turn.extend(lease).await.unwrap_or(false) {
            held.lease = None;
            return None;
        }
        if !core.asking(task.start.sequence) {
            return Some(Refreshed::failed(interrupted(false)));
        }
        task.asked.store(true, Ordering::Relaxed);
        held.fate = Fate::Unknown;
        let lost = AtomicBool::new(false);
        let attempts = task.attempts(self.member.local(fence), fallback, Some(&lost));
        let result = match select(pin!(attempts.run()), pin!(self.keep(lease, &lost))).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => never,
        };
        self.publish(result, held).await
    }

    /// Holds the requests of this process for its own renewal, and waits until all others have
    /// heard of it. Returns the token that is held back.
    async fn hold_own(&self, fence: u64) -> Option<AccessToken> {
        let (task, core) = (self.task, &*self.task.core);
        let plan = core.drain_plan(task.start.sequence)?;
        core.hold(task.start.sequence)?;
        self.hold(fence, clock::moment());
        let _ = timeout(self.turn.bounds.grace, task.or_over(pending())).await;
        Some(plan.token)
    }

    /// Confirms the lease again and again. Notes it if the lease is lost.
    async fn keep(&self, lease: &mut HeldLease, lost: &AtomicBool) -> RefreshResult {
        loop {
            sleep(self.turn.bounds.extend).await;
            match self.turn.extend(lease).await {
                Ok(true) => {}
                Ok(false) => {
                    lost.store(true, Ordering::Relaxed);
                    return pending().await;
                }
                Err(error) => self.task.core.store_failed(&error),
            }
        }
    }

    /// Hands a token to the others. Returns `None` if a newer lease was granted, so that the token
    /// is not for them.
    async fn publish(&self, result: RefreshResult, mut held: HeldTurn) -> Option<Refreshed> {
        let core = &*self.task.core;
        let Ok(token) = &result.result else {
            return Some(Refreshed { lease: Some(held), ..Refreshed::by(result, None) });
        };
        let lease = held.lease.as_ref()?;
        if let Some(identity) = &result.issued_to {
            let member = self.fleet.join(Some(identity), core.uri.as_ref(), token.sequence());
            if member.is_some_and(|member| !Arc::ptr_eq(&member, &self.member)) {
                // The credentials are another client's by now. The lease is given back unused.
                held.fate = Fate::NotIssued;
                return Some(Refreshed::by(result, None));
            }
        }
        let arrival = Arrival { takeover: lease.takeover, ..Arrival::default() };
        let published = match self.fleet.seal(&self.member, lease.fence, token) {
            Ok(sealed) => self.turn.publish(lease, &sealed, core.next_cooldown()).await,
            Err(error) => Err(error),
        };
        held.lease = None;
        match published {
            Ok(Some(_)) => {}
            Ok(None) => {
                core.tally.store_fenced.add();
                isolate(|| {
                    tracing::warn!(
                        target: TARGET,
                        "another process took over before the token came, so the token is dropped",
                    );
                });
                return None;
            }
            Err(error) => {
                core.store_failed(&error);
                let order = Order::Offer(Arc::clone(&self.member), token.clone());
                self.fleet.orders.give(order);
            }
        }
        Some(Refreshed { arrival, ..Refreshed::by(result, None) })
    }

    /// Decides what follows when the store can't be used. Returns `None` to try again.
    async fn without_store(&self, error: StoreError, failures: u32) -> Option<Refreshed> {
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

impl HeldTurn {
    /// Gives the lease back, after the flight has ended with this error.
    pub(super) async fn leave(mut self, core: &Core, fate: Fate, error: &AuthError) {
        let Some(lease) = self.lease.take() else { return };
        // A runtime that went away says nothing about the endpoint.
        let pause = core.back_off().filter(|_| !(error.is_interrupted() || error.is_of_runtime()));
        let gate = pause.map(|pause| SharedGate {
            kind: error.kind().name().into(),
            status: error.status().map(|status| status.as_u16()),
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            credentials: None,
        });
        let turn = self.fleet.turn(&self.member, self.lifetime);
        if let Err(error) = turn.leave(&lease, fate, gate).await {
            core.store_failed(&error);
        }
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let order = Order::GiveBack(Arc::clone(&self.member), lease, self.fate);
            self.fleet.orders.give(order);
        }
    }
}

/// Opens the token of `value` as one of this cache; `None` if it can't be sent.
pub(super) fn open(
    core: &Core,
    fleet: &Fleet,
    member: &Member,
    value: &Value,
    anchor: Anchor,
) -> Option<(AccessToken, Arrival)> {
    let head = &value.head;
    if head.state == TokenState::Dead {
        return None;
    }
    let windows = &core.rules.policy.windows;
    let opened = fleet.open(member, value, anchor, (&core.scheme, windows));
    let token = opened.map_err(|error| core.store_failed(&error)).ok()?;
    // A holder that stopped may have asked for the token's successor.
    let was_held = head.lease.is_some_and(|lease| lease.hold);
    let arrival = Arrival {
        adopted: true,
        takeover: head.takeover,
        suspect: head.state == TokenState::Suspect || was_held,
        cooldown: Some(head.cooldown),
    };
    token.is_usable().then_some((token, arrival))
}

/// The result of a flight whose token came by another way.
fn adopted_already(token: AccessToken) -> Refreshed {
    let result = RefreshResult { result: Ok(token), fate: Fate::NotIssued, issued_to: None };
    let arrival = Arrival { adopted: true, ..Arrival::default() };
    Refreshed { arrival, ..Refreshed::by(result, None) }
}

fn seen_now(found: Found) -> Seen {
    Seen { revision: found.revision, value: Arc::new(found.value), at: found.asked }
}

/// Returns the error that another process has told of.
fn backing_off(gate: &SharedGate, left: Duration) -> AuthError {
    let message = "another process that shares the token could not get one, so the token endpoint \
                   is left alone for a while; its log has the cause";
    let kind = Kind::named(&gate.kind);
    let status = gate.status.and_then(|status| http::StatusCode::from_u16(status).ok());
    let error = match status {
        Some(status) => AuthError::responded(kind, message, status),
        None => AuthError::new(kind, message),
    };
    error.with_fate(Fate::NotIssued).with_retry_after(Some(left))
}

fn no_turn(deadline: Duration) -> AuthError {
    let waited = clock::in_seconds(deadline);
    AuthError::new(
        Kind::Timeout,
        format!("other processes that share the token did not get one within {waited}"),
    )
    .with_fate(Fate::NotIssued)
}

async fn changed(changes: &mut watch::Receiver<Option<Hold>>) {
    if changes.changed().await.is_err() {
        pending::<()>().await;
    }
}
