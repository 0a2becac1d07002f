//! The work of a flight where processes share the token: wait for the others, or ask for all.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    super::{
        effect::Trigger,
        task::{Done, RefreshTask, Refreshed},
    },
    adopt,
    hold_bound::{Hold, Holding},
    listener, store_down,
};
use crate::{
    clock::{self, Moment},
    error::{AuthError, Fate, Kind},
    fleet::{Anchor, Entered, Fleet, Found, Member, News, Seen, Turn},
    refresh::attempts::RefreshResult,
    store::{
        StoreError,
        steps::Wish,
        value::{SharedGate, Value},
    },
};

/// One flight's view of the fleet.
pub(super) struct SharedFlight<'a> {
    pub(super) task: &'a RefreshTask,
    pub(super) fleet: &'a Arc<Fleet>,
    pub(super) member: Arc<Member>,
    pub(super) turn: Turn<'a>,
    pub(super) holding: &'a Holding,
    lost: Mutex<Lost>,
}

/// The requests for a token that this flight made under leases which it has lost.
struct Lost {
    /// The worst fate of them.
    fate: Fate,
    /// The error of the last one.
    error: Option<AuthError>,
}

/// The end of a wait for another process.
pub(super) enum Waited {
    /// The flight has ended.
    Done(Done),
    /// The store has to be asked.
    Look,
}

impl RefreshTask {
    pub(in crate::cache) async fn work_in_fleet(&self, fleet: &Arc<Fleet>) -> Done {
        let holding = Holding(watch::Sender::new(None));
        let work = pin!(self.obtain(fleet, &holding));
        let mut done = match select(work, pin!(self.bound_holds(&holding))).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        };
        let hold = *holding.0.borrow();
        match (hold.filter(|_| self.core.is_holding(self.start.sequence)), &mut done) {
            (Some(hold), Done::Refreshed(refreshed)) if !hold.for_sibling => {
                refreshed.held = refreshed.held.or(Some(hold.began));
            }
            (Some(hold), _) => hold.record(&self.core),
            (None, _) => {}
        }
        done
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
        let lost = Mutex::new(Lost { fate: Fate::NotIssued, error: None });
        let flight = SharedFlight { task: self, fleet, member, turn, holding, lost };
        if core.is_holding(self.start.sequence) {
            flight.hold_for_sibling(0, clock::moment());
        }
        let mut done = flight.run().await;
        if let Done::Refreshed(refreshed) = &mut done
            && refreshed.result.result.is_err()
        {
            // A request under a lost lease may have killed the token in use, however the last one
            // has ended.
            refreshed.result.fate = refreshed.result.fate.max(flight.lost().fate);
        }
        done
    }

    /// Returns the part of this process in the fleet.
    async fn member(&self, fleet: &Fleet) -> Result<Arc<Member>, AuthError> {
        if let Some(member) = fleet.member() {
            return Ok(member);
        }
        let core = &*self.core;
        let identity = core.identity().await?;
        fleet.join(identity.as_ref(), core.uri.as_ref(), core.newest()).ok_or_else(|| {
            AuthError::new(
                Kind::Permanent,
                "the endpoint does not tell whose tokens it issues, so they can't be shared by \
                 that; name them with `TokenCacheBuilder::shared_as`",
            )
        })
    }
}

impl SharedFlight<'_> {
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
        let (mut failures, mut is_hurried, mut failed) = (0, false, None);
        loop {
            // A caller that needs a token now has the store asked once more.
            if clock::now() >= ends && !is_hurried {
                let error = failed.map(store_down).or_else(|| self.lost().error.take());
                let error = error.unwrap_or_else(|| no_turn(core.rules.policy.deadline));
                return Done::Refreshed(self.failed(error));
            }
            match self.enter(&wish, &mut news, &mut is_hurried).await {
                Ok(entered) => {
                    (is_hurried, failed) = (false, None);
                    if let Some(done) = self.follow(entered, &mut wish, &mut news, ends).await {
                        return done;
                    }
                }
                Err(error) => {
                    failures += 1;
                    let next = self.next_try(failures).filter(|_| !is_hurried);
                    let Some(next) = next else {
                        return Done::Refreshed(self.without_store(error).await);
                    };
                    core.store_failed(&error);
                    failed = Some(error);
                    is_hurried = self.pause(next, &mut news).await;
                }
            }
        }
    }

    /// Waits for the others if the store was down, then asks it for the lease. `is_hurried` is set
    /// if a caller needs a token now.
    async fn enter(
        &self,
        wish: &Wish,
        news: &mut News,
        is_hurried: &mut bool,
    ) -> Result<Entered, StoreError> {
        let core = &*self.task.core;
        *is_hurried |= self.regroup(news, wish.floor).await?;
        let token = core.token_age(self.member.local(wish.floor));
        let entered = self.turn.enter(wish, token).await?;
        core.store_works();
        Ok(entered)
    }

    /// Does what the store's answer calls for. Returns `None` if the store has to be asked again.
    async fn follow(
        &self,
        entered: Entered,
        wish: &mut Wish,
        news: &mut News,
        ends: Instant,
    ) -> Option<Done> {
        match entered {
            Entered::Newer(found) => {
                wish.floor = found.value.head.sequence;
                self.adopt(&found).map(Done::Refreshed)
            }
            Entered::BackingOff(gate, left) => {
                if self.is_for_others(&gate).await {
                    wish.passes = gate.credentials;
                    return None;
                }
                let error = backing_off(&gate, left);
                // Processes that wait must not all ask the store at the same moment.
                let pause = left.mul_f64(1.0 + fastrand::f64());
                let is_in_time = clock::later(clock::now(), pause) < ends;
                if !(self.task.core.is_withheld() && error.is_transient() && is_in_time) {
                    return Some(Done::Refreshed(self.failed(error)));
                }
                // Callers have no token to go on with, so the flight goes on for them.
                sleep(pause).await;
                None
            }
            Entered::Held(found) => {
                // It may have been seen before the store was asked, or changed after that.
                let seen = news
                    .take()
                    .filter(|seen| seen.revision == found.revision || seen.at.at > found.asked.at);
                let seen = seen.unwrap_or_else(|| seen_now(found));
                match self.wait(&seen, news, wish.floor).await {
                    Waited::Done(done) => Some(done),
                    Waited::Look => None,
                }
            }
            Entered::Granted(lease) => self.renew(lease).await.map(Done::Refreshed),
        }
    }

    /// Notes a request for a token under a lease that was lost.
    pub(super) fn lose(&self, fate: Fate, error: Option<AuthError>) {
        let mut lost = self.lost();
        lost.fate = lost.fate.max(fate);
        lost.error = error;
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a flight in which this process asked for nothing. Another one may have killed a
    /// token that was refused here meanwhile.
    pub(super) fn failed(&self, error: AuthError) -> Refreshed {
        let mut refreshed = Refreshed::failed(error);
        if self.task.core.is_withheld() {
            refreshed.result.fate = Fate::Unknown;
        }
        refreshed
    }

    /// Returns whether `gate` is for other credentials than those of this process.
    pub(super) async fn is_for_others(&self, gate: &SharedGate) -> bool {
        if gate.credentials.is_none() {
            return false;
        }
        let identity = self.task.core.identity().await.ok().flatten();
        identity.is_some_and(|it| self.fleet.is_for_others(&self.member, gate, &it))
    }

    fn wish(&self) -> Wish {
        let (start, core) = (&self.task.start, &*self.task.core);
        Wish {
            owner: self.fleet.owner(),
            floor: self.member.shared(start.floor),
            forced: start.trigger == Trigger::Forced,
            holds: core.rules.holds(),
            passes: None,
            longest_back_off: core.rules.policy.longest_back_off(),
            cooldown: core.cooldown(),
            lease: self.turn.bounds.lease,
        }
    }

    /// Notes that requests are held for the lease `fence` of this process since then.
    pub(super) fn hold(&self, fence: u64, since: Moment) {
        self.note_hold(fence, since, false);
    }

    /// Notes that requests are held for the lease `fence` of another process since then.
    pub(super) fn hold_for_sibling(&self, fence: u64, since: Moment) {
        self.note_hold(fence, since, true);
    }

    fn note_hold(&self, fence: u64, since: Moment, for_sibling: bool) {
        let bound = self.turn.bounds.grace + self.task.core.rules.policy.hold_timeout;
        let bound = bound.min(self.task.core.lifetime().map_or(bound, |lifetime| lifetime / 4));
        let (began, until) = (clock::now(), clock::later(since.at, bound));
        self.holding.0.send_replace(Some(Hold { fence, for_sibling, since, began, until }));
    }

    /// Makes the token of a value this process' own; `None` if it can't be sent.
    fn adopt(&self, found: &Found) -> Option<Refreshed> {
        let anchor = Anchor::Store { asked: found.asked, age: found.age };
        self.adopt_dated(&found.value, anchor)
    }

    pub(super) fn adopt_dated(&self, value: &Value, anchor: Anchor) -> Option<Refreshed> {
        let (token, arrival) =
            adopt::open(&self.task.core, self.fleet, &self.member, value, anchor)?;
        let result = RefreshResult { result: Ok(token), fate: Fate::NotIssued, issued_to: None };
        Some(Refreshed { arrival, ..Refreshed::by(result, None) })
    }
}

/// Returns the error that another process has told of.
pub(super) fn backing_off(gate: &SharedGate, left: Duration) -> AuthError {
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

fn seen_now(found: Found) -> Seen {
    Seen::new(found.revision, found.value, Some(found.asked))
}
