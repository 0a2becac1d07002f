//! The side of the cache where processes share its token, and the [core](super::core)'s part in it.
//! The protocol's side is in [`fleet`](crate::fleet).
//!
//! - [`sibling`] has the transitions of the state while another process asks for a token. Pure.
//! - [`turn`] is the work of a flight: [wait] for another process, [renew] for all, or ask [alone]
//!   because the store can't be used.
//! - [`keeper`] keeps a lease while the endpoint is asked, and [`held_turn`] gives it back,
//!   whatever becomes of the flight.
//! - [`hold_bound`] ends a hold that has lasted for long enough.
//! - [`listener`] is the task that hears of other processes between flights, and [`agenda`] what it
//!   does after a while.
//! - [`adopt`] turns a token of another process into one of this cache.

mod adopt;
mod agenda;
mod alone;
mod held_turn;
mod hold_bound;
mod keeper;
mod listener;
mod renew;
mod sibling;
mod turn;
mod wait;

use std::{error::Error, mem, sync::Weak, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

pub(super) use self::held_turn::HeldTurn;
use super::{
    broadcast::Broadcast,
    complete::{self, Arrival},
    core::Core,
    deferred::ToSpawn,
    state::Standing,
    verdict::{ASKS_STORE, DoubtFuture, DoubtOutcome, OnDoubt, Refusal},
};
use crate::{
    clock,
    error::{AuthError, Kind},
    events::log_news,
    fleet::Order,
    isolate::isolate,
    store::{StoreError, value::SharedCooldown},
    token::{AccessToken, Identity},
};

/// How long a request waits for the answer of the store to its refusal.
const ANSWER: Duration = Duration::from_millis(50);

impl Core {
    /// Returns the number of the newest token; 0 if there has been none.
    pub(super) fn newest(&self) -> u64 {
        self.lock().state.current.as_ref().map_or(0, |current| current.token.sequence())
    }

    /// Returns the newest token's lifetime, if there has been one.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.lock().state.current.as_ref().map(|current| current.token.lifetime())
    }

    /// Returns how long ago the newest token was asked for, if it has this number.
    pub(super) fn token_age(&self, sequence: u64) -> Option<Duration> {
        let token = self.lock().state.current.as_ref().map(|current| current.token.clone());
        let token = token.filter(|token| token.sequence() == sequence)?;
        Some(token.lifetime().saturating_sub(token.time_left()))
    }

    /// Returns the newest token if it is newer than `floor` and can be sent.
    pub(super) fn newer_than(&self, floor: u64) -> Option<AccessToken> {
        let locked = self.lock();
        let current = locked.state.current.as_ref().map(|current| current.token.clone());
        drop(locked);
        current.filter(|token| token.sequence() > floor && token.is_usable())
    }

    pub(super) fn cooldown(&self) -> SharedCooldown {
        self.lock().state.cooldown.shared()
    }

    /// Returns the count of early refusals as it will be once the token in use is replaced.
    pub(super) fn next_cooldown(&self) -> SharedCooldown {
        let now = clock::now();
        let locked = self.lock();
        let mut cooldown = locked.state.cooldown;
        if let Some(old) = locked.state.current.as_ref().filter(|it| it.standing == Standing::Good)
        {
            cooldown.replaced(now, old.token.times());
        }
        cooldown.shared()
    }

    /// Returns the back-off that is left.
    pub(super) fn back_off(&self) -> Option<Duration> {
        let now = clock::now();
        let locked = self.lock();
        let left = locked.state.gate().map(|gate| gate.until.saturating_duration_since(now));
        left.filter(|left| !left.is_zero())
    }

    /// Returns whether a flight is in progress.
    pub(super) fn is_refreshing(&self) -> bool {
        self.lock().state.flight.is_some()
    }

    /// Returns whether the token in use is served on if the flight in progress brings none.
    pub(super) fn is_content(&self) -> bool {
        let (locked, inputs) = self.enter();
        sibling::is_content(&locked.state, &inputs)
    }

    /// Returns whether this flight holds requests back.
    pub(super) fn is_holding(&self, flight: u64) -> bool {
        self.lock().state.is_holding(flight)
    }

    /// Takes in a token that another process has published, outside of a flight.
    pub(super) fn adopt(&self, token: &AccessToken, arrival: Arrival) {
        self.transition(|locked, inputs| {
            ((), complete::adopted(&mut locked.state, token, arrival, inputs))
        });
    }

    /// Starts a flight that waits for another process' renewal of the token `sequence`, if that
    /// token or a newer one is in use here.
    pub(super) fn begin_sibling(&self, sequence: u64, runtime: &Handle) -> Option<ToSpawn> {
        let (mut locked, inputs) = self.enter();
        let effects = sibling::begin(&mut locked.state, sequence, &inputs);
        let deferred = self.settle(&mut locked, effects, Some(runtime), &inputs);
        drop(locked);
        deferred.carry_out(&self.tally, &self.changes)
    }

    /// Holds new requests back because another process asks for a token. Returns `false` if there
    /// is nothing to hold for.
    pub(super) fn hold_for_sibling(&self, flight: u64) -> bool {
        self.transition(|locked, inputs| sibling::hold(&mut locked.state, flight, inputs))
    }

    /// Ends a flight because nobody needs a newer token.
    pub(super) fn call_off(&self, flight: u64) {
        self.transition(|locked, _| ((), sibling::call_off(&mut locked.state, flight)));
    }

    /// Asks the endpoint for the identity of its client. Waits for at most `attempt_timeout`.
    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        let asking = self.endpoint.identity();
        timeout(self.rules.policy.attempt_timeout, asking).await.map_err(|_| {
            AuthError::new(Kind::Credentials, "the credentials source did not respond in time")
        })?
    }

    /// Returns the wait for the answer of the store, if it is asked for a newer token before this
    /// refusal is judged.
    pub(super) fn ask_store(&self, refusal: &Refusal<'_>) -> Option<DoubtFuture> {
        let fleet = self.fleet.as_ref()?;
        if !refusal.resendable || refusal.is_counted || refusal.sends.replays > 0 {
            return None;
        }
        let (mut locked, inputs) = self.enter();
        // The listener ends with its runtime. The next flight starts another one.
        locked.listener.as_ref().filter(|(_, listener)| !listener.is_finished())?;
        let is_first = sibling::asks(&mut locked.state, refusal.token.sequence(), &inputs);
        if is_first {
            locked.question = Some(Broadcast::new());
        }
        let listener = locked.question.as_ref()?.listen(false);
        drop(locked);
        if is_first {
            fleet.orders.give(Order::Ask);
        }
        let doubts: Weak<dyn OnDoubt> = Weak::<Self>::clone(&self.on_response);
        // The listener bounds its question. This bound is for a listener that is not driven.
        let until = clock::later(inputs.now.at, 2 * ANSWER);
        Some(DoubtFuture::new(doubts, ASKS_STORE, listener, until))
    }

    /// Has the requests judged that waited for the answer of the store.
    pub(super) fn answered_by_store(&self) {
        let question = self.lock().question.take();
        if let Some(question) = question {
            question.end(DoubtOutcome::Undecided);
        }
    }

    /// Counts a failed operation of the store, and tells the log of the first of several in a row.
    pub(super) fn store_failed(&self, error: &StoreError) {
        self.tally.store_errors.add();
        let is_news = !mem::replace(&mut self.lock().state.store_failing, true);
        isolate(|| {
            log_news!(is_news, error = error as &(dyn Error + 'static), "the token store failed",);
        });
    }

    /// Notes that the store works. Nobody is kept from asking it any longer.
    pub(super) fn store_works(&self) {
        self.transition(|locked, inputs| ((), sibling::store_works(&mut locked.state, inputs)));
    }

    /// Returns when the store worked again after it had failed last; `None` if it never has.
    pub(super) fn store_back(&self) -> Option<Instant> {
        self.lock().state.store_back
    }

    /// Returns whether the last operation of the store failed.
    pub(super) fn is_store_failing(&self) -> bool {
        self.lock().state.store_failing
    }
}

/// Returns the error of a process that may not ask for a token without the store.
pub(super) fn store_down(error: StoreError) -> AuthError {
    AuthError::caused_by(
        Kind::StoreDown,
        "the token store can't be used, and no token is asked for without it; check the store, or \
         choose `StoreDown::Alone`",
        error,
    )
}
