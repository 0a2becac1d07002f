//! [`Core`]: the one lock, what happens under it, and what happens after it. The design of the
//! cache in one place.
//!
//! # States
//!
//! A cache has at most one current token and at most one flight. The pair decides what a caller
//! gets:
//!
//! ```text
//!            needed                token               due              idle, or end
//! +-------+ -------> +------------+ ----> +--------+ -----> +----------+ of window +------+
//! | Empty |          | Refreshing |       | Served |        | Renewing | --------> | Held |
//! +-------+ <------- +------------+       +--------+ <----- +----------+           +------+
//!            error                          ^    |   ended                          ^  |
//!                                           |    +------------ forced --------------+  |
//!                                           +-------------- token, or error -----------+
//! ```
//!
//! | state | token | flight | a caller gets |
//! |---|---|---|---|
//! | Empty | none that can be sent | none | a new flight, or the stored error |
//! | Refreshing | none that can be sent | in progress | the outcome of the flight |
//! | Served | usable | none | the token |
//! | Renewing | usable | [`Serving`](super::state::Stage::Serving) | the token |
//! | Held | about to die | [`Holding`](super::state::Stage::Holding) | the outcome of the flight |
//!
//! A token that expires or is refused turns Served into Empty, and Renewing or Held into
//! Refreshing. A refused token that is served on leaves the state as it is.
//!
//! If the endpoint takes longer than the policy's `hold_timeout`, Held turns into Renewing by way
//! of [`Scouting`](super::state::Stage::Scouting): one request goes first with the old token, and
//! the others wait until the token is accepted, or for 100 ms. A refusal
//! [withholds](super::trial) the token: the flight makes all its attempts, and one request tries
//! the token in each.
//!
//! An overlapping endpoint is never Held: its flights end in Renewing, the forced ones too.
//!
//! After an error a back-off ([`Gate`](crate::refresh::gate::Gate)) may keep the next flight from
//! starting. Then a caller without a token gets the stored error.
//!
//! # Where the rest is
//!
//! The methods that a task calls while it drains are in [`drain`](super::drain), the tasks that a
//! cache runs in [`background`](super::background), and what is asked of the core where processes
//! share the token in [`fleet`](super::fleet).
//!
//! # Doubts
//!
//! A 401 that nothing explains may be the resource's fault. Then one request of its route, the
//! probe, is sent again with the same token, and the others of that route wait for what it finds.
//! [`Doubts`](crate::refresh::doubt::Doubts) has the rules, and the routes that refuse every token.
//! Responses enter through [`respond`](super::respond).
//!
//! # Invariants
//!
//! 1. At most one flight is in progress, and each has a greater sequence number than the one
//!    before.
//! 2. The current token is never replaced by one with a smaller sequence number.
//! 3. The slot shows a lease only on the token that
//!    [`State::servable`](super::state::State::servable) returns. The two change under the same
//!    lock.
//! 4. While a flight holds, no lease can be acquired. So once all earlier leases are dropped, no
//!    request is in flight, and the POST that kills the token hurts nobody.
//! 5. A flight ends exactly once: with a result, by being abandoned, or by its task being dropped.
//!    Each of these wakes every waiter.
//! 6. A refusal names the token that it means. It never withdraws a newer one.
//! 7. A doubt ends exactly once: with its probe's response, with the probe itself, with the token,
//!    or when a request has waited for it for 2 s. Each of these wakes every request that waits.
//!    One that nobody has waited for ends with the next refusal after 2 s.
//!
//! # The lock rule
//!
//! One lock guards the [`State`](super::state::State), the [`Generations`] of leases, and the
//! handle of the flight. No await crosses it, and nothing that belongs to somebody else runs under
//! it: no waker, no `tracing` subscriber, no metrics recorder, no destructor of a user's error or
//! endpoint. So any of those may call the cache. The order is always:
//!
//! 1. Read the clock and draw a random number. Lock.
//! 2. Apply a transition to the state, which returns [`Effects`].
//! 3. Apply the effects on leases, flight and slot. They must take place in the order of the
//!    transitions: a token published by an older transition after a younger one has withdrawn it
//!    would be sent while it dies.
//! 4. Unlock.
//! 5. Carry out the remaining effects, each isolated from a panic of the others. Waiters come
//!    first, so that a subscriber that blocks does not delay them.
//!
//! A task is spawned after the lock is released too, because a runtime that is shutting down drops
//! the task where it is spawned, and that takes the lock.
//!
//! # Atomics
//!
//! Each entry says who stores with which ordering, who loads, what it pairs with, and which test
//! shows it. The models are in `cache/loom_tests.rs` and `cache/loom_slot_tests.rs`.
//!
//! - **`Slot::published`**, an `ArcSwap`. Stored by `publish` and `withdraw`, under the lock.
//!   Loaded by `Slot::lease` on any thread. A reader has the old pointer, and is counted, or the
//!   new one. Models:
//!   `a_slot_that_was_withdrawn_gives_no_lease_and_the_last_one_that_it_gave_signals_its_end`,
//!   `a_moment_is_idle_only_if_no_lease_is_out_and_none_can_be_had`.
//! - **Reference counts of [`Lease`]**, in an `Arc`. `Arc::clone` and `Weak::upgrade` increment the
//!   count, with `Relaxed` at least. A drop decrements it with `Release`. `Generations::is_idle`
//!   loads `Relaxed`, after the swap in `withdraw`: a reader that had the old pointer was counted
//!   before the swap. The end of the last request is sent through the [`Drained`] channel. Models:
//!   `a_moment_is_idle_only_if_no_lease_is_out_and_none_can_be_had`,
//!   `a_drain_waits_for_the_leases_from_before_a_renewal_that_failed`.
//! - **`Lease::fresh_until`, closing**. `Slot::replace` swaps in `CLOSED` before the slot drops its
//!   references, each with `Release`. `CachedLease::lease` takes a reference, then an `Acquire`
//!   fence, then loads `Relaxed`. So an upgrade that succeeds after the slot's drop sees `CLOSED`.
//!   Model: `a_service_gets_the_lease_that_it_had_no_more_once_the_slot_was_withdrawn`.
//! - **`Lease::fresh_until`, freshening**. `Slot::lease` updates with `Release`, and never over
//!   `CLOSED`. The swap in `close` acquires it, so a reader that was about to freshen either did so
//!   before the mark or leaves the mark alone. Model:
//!   `a_reader_that_found_a_lease_open_does_not_open_it_again_once_the_slot_was_withdrawn`.
//! - **`Lease::mark` and the token's own mark**. Changed `Relaxed` by the first response that
//!   accepts the token, and by the core when the routes change that are watched. Loaded `Relaxed`
//!   when a request is signed without replay, when a response accepts the token, and when a refusal
//!   is judged. It pairs with nothing, because a late read costs one renewal, or a route that is
//!   forgotten at its next acceptance. Tests:
//!   `a_lost_answer_makes_the_token_suspect_and_its_first_401_renews_at_once`,
//!   `a_route_that_accepts_a_token_is_forgotten`.
//! - **The value of a [`Broadcast`](super::broadcast::Broadcast)**, a `OnceLock`. Set once, under
//!   the lock of the waiters, which are woken after that. A waiter reads it without the lock, and
//!   again under it before it enters. So no waiter enters that nobody wakes. Model:
//!   `a_waiter_that_comes_while_the_value_is_set_gets_it`.
//! - **Counters of the [`Tally`]**. `Relaxed` everywhere. They pair with nothing.

use std::{
    mem,
    sync::{Arc, PoisonError, Weak},
};

use http::Uri;
use tokio::{runtime::Handle, time::Instant};

pub(crate) use super::locked::Acquired;
use super::{
    acquire::{self, Acquisition, CanScout},
    changes::Changes,
    complete::{self, Completion},
    deferred::{Deferred, ToSpawn},
    effect::{Effects, Trigger},
    flight::Running,
    invalidate,
    lease::{Generations, Lease, OnResponse},
    locked::Locked,
    report,
    slot::Slot,
    state::{Inputs, Requirement, Rules},
};
use crate::{
    clock,
    endpoint::{self, DynEndpoint, NoEndpoint},
    error::AuthError,
    events::Tally,
    fleet::Fleet,
    isolate::isolate,
    origin::Origin,
    sync::{self, Mutex, MutexGuard},
    token::AccessToken,
};

pub(crate) struct Core {
    pub(super) slot: Slot,
    locked: Mutex<Locked>,
    pub(super) changes: Changes,
    pub(super) endpoint: Box<dyn DynEndpoint>,
    pub(crate) uri: Option<Uri>,
    /// The origins that may see the tokens.
    pub(crate) origins: Vec<Origin>,
    pub(crate) rules: Rules,
    pub(crate) scheme: Box<str>,
    pub(crate) tally: Tally,
    /// The other processes that share the token.
    pub(super) fleet: Option<Arc<Fleet>>,
    /// Itself, for the leases.
    pub(super) on_response: Weak<Self>,
}

impl Core {
    pub(super) fn new(
        endpoint: Box<dyn DynEndpoint>,
        (uri, origins): (Option<Uri>, Vec<Origin>),
        rules: Rules,
        scheme: Box<str>,
        fleet: Option<Arc<Fleet>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            slot: Slot::default(),
            locked: Mutex::default(),
            changes: Changes::default(),
            endpoint,
            uri,
            origins,
            rules,
            scheme,
            tally: Tally::default(),
            fleet,
            on_response: Weak::clone(this),
        })
    }

    /// Returns a lease on the token that a request can be signed with now, and the renewal to
    /// spawn if that is due. For a reader whom the slot could not serve.
    pub(super) fn lease_slow(
        &self,
        runtime: Option<&Handle>,
    ) -> (Option<sync::Arc<Lease>>, Option<ToSpawn>) {
        let (mut locked, inputs) = self.enter();
        let (token, effects) = acquire::lease(&mut locked.state, runtime.is_some(), &inputs);
        let deferred = self.settle(&mut locked, effects, runtime, &inputs);
        let leases = locked.leases.as_ref().filter(|_| token.is_some());
        let lease = leases.map(|leases| sync::Arc::clone(leases.current().local()));
        drop(locked);
        (lease, deferred.carry_out(&self.tally, &self.changes))
    }

    /// Serves `requirement`, or enters or joins the flight that will.
    pub(super) fn acquire(
        &self,
        requirement: &Requirement,
        can_scout: CanScout,
        runtime: Option<&Handle>,
    ) -> (Acquired, Option<ToSpawn>) {
        let (mut locked, inputs) = self.enter();
        let has_runtime = runtime.is_some();
        let (acquisition, effects) =
            acquire::acquire(&mut locked.state, requirement, can_scout, has_runtime, &inputs);
        let deferred = self.settle(&mut locked, effects, runtime, &inputs);
        let acquired = match acquisition {
            Acquisition::Token(token) => Acquired::Token(token),
            Acquisition::Failed(error) => Acquired::Failed(error),
            Acquisition::Scout => match &locked.leases {
                Some(leases) => Acquired::Scout(Lease::of_scout(leases.current().local())),
                None => locked.handle(true),
            },
            Acquisition::Wait => locked.handle(matches!(requirement, Requirement::Usable)),
        };
        drop(locked);
        (acquired, deferred.carry_out(&self.tally, &self.changes))
    }

    /// Returns the token that can be sent now. Starts nothing.
    pub(super) fn current(&self) -> Option<AccessToken> {
        if let Some(lease) = self.slot.lease() {
            return Some(lease.token.clone());
        }
        let now = clock::moment();
        self.lock().state.servable(&now).cloned()
    }

    /// Returns the token that meets `requirement` now. Starts nothing.
    pub(super) fn served(&self, requirement: &Requirement) -> Option<AccessToken> {
        let now = clock::moment();
        self.lock().state.serves(requirement, &now).cloned()
    }

    /// Returns whether a request would be signed with `token` now, as far as can be told without
    /// the lock.
    pub(super) fn serves(&self, token: &AccessToken) -> bool {
        self.slot.lease().is_some_and(|lease| lease.token.is(token))
    }

    /// Takes in that a caller names `token` as refused. Returns whether it is no longer served
    /// because of that.
    pub(super) fn invalidate(&self, token: &AccessToken) -> bool {
        self.transition(|locked, inputs| invalidate::invalidated(&mut locked.state, token, inputs))
    }

    /// Takes in the result of a flight.
    pub(super) fn complete(&self, sequence: u64, completion: &Completion) {
        self.transition(|locked, inputs| {
            ((), complete::complete(&mut locked.state, sequence, completion, inputs))
        });
    }

    /// Ends a flight that found the refused credentials unchanged.
    pub(super) fn complete_unchanged(&self, sequence: u64, error: AuthError) {
        self.transition(|locked, _| {
            ((), complete::complete_unchanged(&mut locked.state, sequence, error))
        });
    }

    /// Returns the token that a resource refused, if it is better than none.
    pub(super) fn refused_token(&self) -> Option<AccessToken> {
        let now = clock::moment();
        self.lock().state.refused_token(&now).cloned()
    }

    /// Returns the token that a flight for this reason replaces, and why as the endpoint hears it.
    pub(super) fn previous(&self, trigger: Trigger) -> Option<(endpoint::Trigger, AccessToken)> {
        self.lock().state.previous(trigger)
    }

    /// Returns the error of the last failed flight, if it still holds flights back.
    pub(super) fn stored_error(&self) -> Option<AuthError> {
        self.lock().state.gate().map(|gate| gate.error.clone())
    }

    /// Takes in a 401 after which the token could not be renewed.
    pub(super) fn not_renewed(&self, error: AuthError) {
        self.transition(|locked, _| ((), report::not_renewed(&mut locked.state, error)));
    }

    /// Returns whether refreshes have failed since the last token was issued.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().state.outage.has_begun()
    }

    /// Returns when the next renewal may start, if that is known.
    pub(super) fn next_renewal(&self) -> Option<Instant> {
        let now = clock::moment();
        self.lock().state.next_renewal(&now)
    }

    /// Locks, and reads everything that a transition depends on. The clocks are read before the
    /// lock is taken.
    pub(super) fn enter(&self) -> (MutexGuard<'_, Locked>, Inputs<'_>) {
        let (rules, now, random) = (&self.rules, clock::moment(), fastrand::f64());
        let locked = self.lock();
        let accepted_lately = locked.leases.as_ref().is_some_and(Generations::is_accepted);
        (locked, Inputs { rules, now, random, accepted_lately })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        // A transition calls no foreign code, so no panic leaves the state half-changed.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, applies `step`, unlocks, and carries out its effects. For steps that start no flight.
    pub(super) fn transition<T>(
        &self,
        step: impl FnOnce(&mut Locked, &Inputs<'_>) -> (T, Effects),
    ) -> T {
        let (mut locked, inputs) = self.enter();
        let (value, effects) = step(&mut locked, &inputs);
        let deferred = self.settle(&mut locked, effects, None, &inputs);
        drop(locked);
        // Without a runtime no flight starts, so there is nothing to spawn.
        drop(deferred.carry_out(&self.tally, &self.changes));
        value
    }

    /// Applies the effects that must take place in the order of the transitions: those on the
    /// flight, the leases and the slot. Returns the rest.
    pub(super) fn settle(
        &self,
        locked: &mut Locked,
        effects: Effects,
        runtime: Option<&Handle>,
        inputs: &Inputs<'_>,
    ) -> Deferred {
        let Effects { leases, ended, start, publish, release, doubt, then } = effects;
        let mut deferred = Deferred { then, ..Deferred::default() };
        let running = locked.flight.as_ref().filter(|_| release);
        deferred.released = running.map(|running| running.flight.clone());
        deferred.expedite = locked.flight.as_ref().map(|running| Arc::clone(&running.expedite));
        if let Some(ended) = ended {
            deferred.ended = locked.flight.take().map(|running| (running, ended));
        }
        if let (Some(start), Some(runtime)) = (start, runtime) {
            let running = Running::new(start.sequence, runtime.id());
            let expedite = Arc::clone(&running.expedite);
            deferred.to_spawn = Some(ToSpawn { start, expedite });
            locked.flight = Some(running);
        }
        let on_response: Weak<dyn OnResponse> = Weak::<Self>::clone(&self.on_response);
        deferred.leases = locked.start_leases(leases, &on_response);
        deferred.doubt = doubt.and_then(|outcome| Some((locked.doubt.take()?, outcome)));
        let watched = locked.state.doubts.watched(inputs.now.at);
        locked.leases.iter_mut().for_each(|leases| leases.watch(watched));
        if publish {
            let until = locked.state.served_until(&inputs.now);
            match (&locked.leases, until) {
                (Some(leases), Some(until)) => self.slot.publish(leases.current(), until),
                _ => self.slot.withdraw(),
            }
        }
        deferred
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // The endpoint is of a user's type. Its destructor may panic where the last reference
        // goes, which may be a request of somebody else.
        let endpoint = mem::replace(&mut self.endpoint, Box::new(NoEndpoint));
        isolate(|| drop(endpoint));
    }
}
