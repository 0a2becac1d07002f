//! [`Core`]: the one lock, what happens under it, and what happens after it. The design of the
//! cache in one place.
//!
//! # States
//!
//! A cache has at most one current token and at most one flight. The pair decides what a caller
//! gets:
//!
//! ```text
//!                       needed, forced                    token
//!   ┌─────────────┐ ─────────────────────► ┌────────────┐ ─────► Served
//!   │ Empty       │                        │ Refreshing │
//!   │ no token    │ ◄───────────────────── │ callers    │
//!   └─────────────┘        error           │ wait       │
//!          ▲                               └────────────┘
//!          │ expired, or refused                 ▲
//!          │ (invalidate)                        │ expired, or refused
//!   ┌─────────────┐ due            ┌───────────────────────┐
//!   │ Served      │ ─────────────► │ Renewing              │
//!   │ no flight   │                │ the old token is      │
//!   └─────────────┘ ◄───────────── │ served (Serving)      │
//!      ▲   │   token, or error     └───────────────────────┘
//!      │   │                         │ exclusive endpoint: idle, or the
//!      │   │ forced                  ▼ end of the window (hold)
//!      │   │                       ┌───────────────────────┐
//!      │   └─────────────────────► │ Held                  │
//!      └────────────────────────── │ drain, then POST      │
//!           token, or error        │ (Holding)             │
//!                                  └───────────────────────┘
//! ```
//!
//! After an error a back-off ([`Gate`](crate::refresh::gate::Gate)) may keep the next flight from
//! starting. Then a caller without a token gets the stored error.
//!
//! # Invariants
//!
//! 1. At most one flight is in progress, and each has a greater sequence number than the one
//!    before.
//! 2. The current token is never replaced by one with a smaller sequence number.
//! 3. The slot shows a lease only on the token that [`State::servable`] returns. The two change
//!    under the same lock.
//! 4. While a flight holds, no lease can be acquired. So once all earlier leases are dropped, no
//!    request is in flight, and the POST that kills the token hurts nobody.
//! 5. A flight ends exactly once: with a result, by being abandoned, or by its task being dropped.
//!    Each of these wakes every waiter.
//! 6. A refusal names the token that it means. It never withdraws a newer one.
//!
//! # The lock rule
//!
//! One lock guards the [`State`], the [`Generations`] of leases, and the handle of the flight. No
//! await crosses it, and nothing that belongs to somebody else runs under it: no waker, no
//! `tracing` subscriber, no metrics recorder, no destructor of a user's error or endpoint. So any
//! of those may call the cache. The order is always:
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
//! | atomic | stores | loads | pairs with | shown by |
//! |---|---|---|---|---|
//! | `Slot::published` (`ArcSwap`) | `publish`, `withdraw`, under the lock | `Slot::lease`, any thread | the swap: a reader has the old pointer, and counts, or the new one | loom: `a_slot_that_was_withdrawn_gives_no_lease_and_the_last_one_that_it_gave_signals_its_end`, `a_moment_is_quiet_only_if_no_lease_is_out_and_none_can_be_had` |
//! | reference counts of `Lease` (`Arc`) | clone: `Relaxed`; drop: `Release` | `Generations::is_idle`: `Relaxed` | the last drop's `Acquire` fence, then the `Drained` channel | loom: `a_drain_waits_for_the_leases_from_before_a_renewal_that_failed` |
//! | `Lease::fresh_until`, close | `Slot::replace`: swap `Acquire`, before the slot drops its references (`Release`) | `CachedLease::lease`: `Acquire` fence after the upgrade, then `Relaxed` | that `Release` decrement with that fence: an upgrade after the decrement sees `CLOSED` | loom: `a_service_gets_the_lease_that_it_had_no_more_once_the_slot_was_withdrawn` |
//! | `Lease::fresh_until`, freshen | `Slot::lease`: update `Release`, never over `CLOSED` | as above | `close`'s `Acquire`: a reader that freshened before the close is seen by it | loom: `a_reader_that_found_a_lease_open_does_not_open_it_again_once_the_slot_was_withdrawn` |
//! | `Lease::accepted`, `AccessToken::accepted` | the first response that accepts: `Relaxed` | `Generations::is_accepted`, cool-down: `Relaxed` | nothing: a late read costs one renewal at most | `tests/renewal::a_lost_answer_makes_the_token_suspect_and_its_first_401_renews_at_once` |
//! | counters (`Tally`) | `Relaxed` | `Relaxed` | nothing | `tests/metrics` |

use std::{
    mem,
    sync::{Arc, PoisonError, Weak},
};

use http::Uri;
use tokio::{
    runtime::{self, Handle},
    sync::Notify,
    time::Instant,
};

use super::{
    acquire::{self, Acquisition},
    changes::Changes,
    complete::{self, Completion},
    effect::{Effect, Effects, Ended, NewLeases, Start},
    flight::{Flight, FlightHandle, Outcome},
    hold::{self, DrainPlan},
    invalidate::{self, Refusal},
    lease::{Drained, Generations, Lease, Leases, OnRefused},
    slot::Slot,
    state::{Inputs, Requirement, Rules, State},
};
use crate::{
    clock,
    endpoint::{DynEndpoint, IssuedToken, Rotation, TokenEndpoint},
    error::{AuthError, Kind},
    events::Tally,
    isolate::isolate,
    sync::{self, AbortHandle, Mutex, MutexGuard},
    token::AccessToken,
};

pub(crate) struct Core {
    pub(super) slot: Slot,
    locked: Mutex<Locked>,
    pub(super) changes: Changes,
    pub(super) endpoint: Box<dyn DynEndpoint>,
    pub(crate) uri: Option<Uri>,
    pub(crate) rules: Rules,
    pub(crate) scheme: Box<str>,
    pub(crate) tally: Tally,
    /// Itself, for the leases.
    on_refused: Weak<Self>,
}

/// Everything that the one lock guards.
#[derive(Default)]
pub(super) struct Locked {
    pub(super) state: State,
    pub(super) leases: Option<Generations>,
    flight: Option<Running>,
    /// The task that renews without traffic.
    warmer: Option<AbortHandle>,
}

/// The flight in progress, as far as the state knows nothing of it.
struct Running {
    sequence: u64,
    flight: Flight,
    runtime: runtime::Id,
    expedite: Arc<Notify>,
    task: Option<AbortHandle>,
}

/// What a caller gets.
pub(crate) enum Acquired {
    Token(AccessToken),
    Waiting(FlightHandle),
    Failed(AuthError),
}

/// A flight that has been entered, and is to be spawned.
#[must_use = "a flight that is not spawned leaves its waiters waiting"]
pub(super) struct ToSpawn {
    pub(super) start: Start,
    pub(super) expedite: Arc<Notify>,
}

/// What is left of a transition once the lock is released.
#[derive(Default)]
struct Deferred {
    ended: Option<(Running, Option<Outcome>)>,
    then: Vec<Effect>,
    expedite: Option<Arc<Notify>>,
    /// Kept for its destructor, which may resolve a [`Drained`].
    leases: Option<Leases>,
    to_spawn: Option<ToSpawn>,
}

impl Core {
    pub(super) fn new(
        endpoint: Box<dyn DynEndpoint>,
        uri: Option<Uri>,
        rules: Rules,
        scheme: Box<str>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            slot: Slot::default(),
            locked: Mutex::default(),
            changes: Changes::default(),
            endpoint,
            uri,
            rules,
            scheme,
            tally: Tally::default(),
            on_refused: Weak::clone(this),
        })
    }

    /// Returns a lease on the token that a request can be signed with now, and the renewal to
    /// spawn if that is due. For a reader whom the slot could not serve.
    pub(super) fn lease_slow(
        &self,
        runtime: Option<&Handle>,
    ) -> (Option<sync::Arc<Lease>>, Option<ToSpawn>) {
        let inputs = self.inputs();
        let mut locked = self.lock();
        let (token, effects) = acquire::lease(&mut locked.state, runtime.is_some(), &inputs);
        let deferred = self.settle(&mut locked, effects, runtime, &inputs);
        let leases = locked.leases.as_ref().filter(|_| token.is_some());
        let lease = leases.map(|leases| sync::Arc::clone(leases.current().local()));
        drop(locked);
        (lease, deferred.carry_out(self))
    }

    /// Serves `requirement`, or enters or joins the flight that will.
    pub(super) fn acquire(
        &self,
        requirement: &Requirement,
        runtime: Option<&Handle>,
    ) -> (Acquired, Option<ToSpawn>) {
        let inputs = self.inputs();
        let mut locked = self.lock();
        let (acquisition, effects) =
            acquire::acquire(&mut locked.state, requirement, runtime.is_some(), &inputs);
        let deferred = self.settle(&mut locked, effects, runtime, &inputs);
        let acquired = match acquisition {
            Acquisition::Token(token) => Acquired::Token(token),
            Acquisition::Failed(error) => Acquired::Failed(error),
            Acquisition::Wait => locked.handle(),
        };
        drop(locked);
        (acquired, deferred.carry_out(self))
    }

    /// Returns the token that can be sent now. Starts nothing.
    pub(super) fn current(&self) -> Option<AccessToken> {
        if let Some(lease) = self.slot.lease() {
            return Some(lease.token.clone());
        }
        let now = clock::moment();
        self.lock().state.servable(&now).cloned()
    }

    /// Returns whether a request would be signed with `token` now, as far as can be told without
    /// the lock.
    pub(super) fn serves(&self, token: &AccessToken) -> bool {
        self.slot.lease().is_some_and(|lease| lease.token.is(token))
    }

    /// Takes in a 401. Returns whether the token is no longer served because of it.
    pub(super) fn refuse(&self, token: &AccessToken) -> bool {
        self.transition(|locked, inputs| {
            let accepted_lately = locked.leases.as_ref().is_some_and(Generations::is_accepted);
            let refusal = Refusal { token, accepted_lately };
            invalidate::refused(&mut locked.state, refusal, inputs)
        })
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

    /// Returns how to drain requests for this flight; `None` if no token in use could die.
    pub(super) fn drain_plan(&self, sequence: u64) -> Option<DrainPlan> {
        let inputs = self.inputs();
        hold::plan(&self.lock().state, sequence, &inputs)
    }

    /// Returns whether this flight need not look for an idle moment any further. If no request is
    /// in flight, the flight holds from here on, before the next request can start.
    pub(super) fn look_idle(&self, sequence: u64) -> bool {
        self.transition(|locked, _| {
            // Once no reader can acquire a lease, a moment that is idle stays idle.
            self.slot.withdraw();
            let is_idle = locked.leases.as_ref().is_none_or(Generations::is_idle);
            hold::look(&mut locked.state, sequence, is_idle)
        })
    }

    /// Holds new requests back. Returns futures that resolve when those in flight are done; `None`
    /// if the token died by other means, so that nothing is worth waiting for.
    pub(super) fn hold(&self, sequence: u64) -> Option<Vec<Drained>> {
        let inputs = self.inputs();
        let mut locked = self.lock();
        self.slot.withdraw();
        let (drains, effects) = hold::hold(&mut locked.state, sequence, &inputs);
        let deferred = self.settle(&mut locked, effects, None, &inputs);
        let in_flight = locked.leases.as_ref().filter(|_| drains).map(Generations::earlier);
        drop(locked);
        drop(deferred.carry_out(self));
        in_flight
    }

    /// Returns whether the token in use died by other means.
    pub(super) fn is_dead(&self) -> bool {
        let now = clock::moment();
        self.lock().state.alive(&now).is_none()
    }

    /// Returns the error of the last failed flight, if it still holds flights back.
    pub(super) fn stored_error(&self) -> Option<AuthError> {
        self.lock().state.gate().map(|gate| gate.error.clone())
    }

    /// Returns when the next renewal may start, if that is known.
    pub(super) fn next_renewal(&self) -> Option<Instant> {
        let now = clock::moment();
        self.lock().state.next_renewal(&now)
    }

    /// Keeps the task of a flight, so that it can be stopped.
    pub(super) fn attach(&self, sequence: u64, task: AbortHandle) {
        let mut locked = self.lock();
        if let Some(running) = locked.flight.as_mut().filter(|it| it.sequence == sequence) {
            running.task = Some(task);
        }
    }

    /// Keeps the task that renews without traffic, made by `spawn`, unless there is one.
    pub(super) fn keep_warm(&self, spawn: impl FnOnce() -> AbortHandle) {
        let is_running = |warmer: &AbortHandle| !warmer.is_finished();
        let locked = self.lock();
        if locked.state.closed || locked.warmer.as_ref().is_some_and(is_running) {
            return;
        }
        drop(locked);
        // Spawned without the lock. If two flights end at once, the second task takes the first's
        // place.
        let warmer = spawn();
        let mut locked = self.lock();
        let spare = if locked.state.closed { Some(warmer) } else { locked.warmer.replace(warmer) };
        drop(locked);
        if let Some(spare) = spare {
            spare.abort();
        }
    }

    /// Stops the flight and the subscriptions. The last handle is gone, so nobody is left to use
    /// what a flight would bring.
    pub(super) fn close(&self) {
        let mut locked = self.lock();
        locked.state.closed = true;
        locked.state.flight = None;
        let (running, warmer) = (locked.flight.take(), locked.warmer.take());
        drop(locked);
        if let Some(running) = running {
            running.abandon();
        }
        if let Some(warmer) = warmer {
            warmer.abort();
        }
        self.changes.close();
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { rules: &self.rules, now: clock::moment(), random: fastrand::f64() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        // A transition calls no foreign code, so no panic leaves the state half-changed.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, applies `step`, unlocks, and carries out its effects. For steps that start no flight.
    fn transition<T>(&self, step: impl FnOnce(&mut Locked, &Inputs<'_>) -> (T, Effects)) -> T {
        let inputs = self.inputs();
        let mut locked = self.lock();
        let (value, effects) = step(&mut locked, &inputs);
        let deferred = self.settle(&mut locked, effects, None, &inputs);
        drop(locked);
        // Without a runtime no flight starts, so there is nothing to spawn.
        drop(deferred.carry_out(self));
        value
    }

    /// Applies the effects that must take place in the order of the transitions: those on the
    /// flight, the leases and the slot. Returns the rest.
    fn settle(
        &self,
        locked: &mut Locked,
        effects: Effects,
        runtime: Option<&Handle>,
        inputs: &Inputs<'_>,
    ) -> Deferred {
        let Effects { leases, ended, start, publish, then } = effects;
        let mut deferred = Deferred { then, ..Deferred::default() };
        deferred.expedite = locked.flight.as_ref().map(|running| Arc::clone(&running.expedite));
        if let Some(ended) = ended {
            let outcome = match ended {
                Ended::Completed(outcome) => Some(outcome),
                Ended::Abandoned => None,
            };
            deferred.ended = locked.flight.take().map(|running| (running, outcome));
        }
        if let (Some(start), Some(runtime)) = (start, runtime) {
            let running = Running::new(start.sequence, runtime.id());
            let expedite = Arc::clone(&running.expedite);
            deferred.to_spawn = Some(ToSpawn { start, expedite });
            locked.flight = Some(running);
        }
        deferred.leases = locked.start_leases(leases, &self.on_refused);
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

impl OnRefused for Core {
    fn refused(&self, token: &AccessToken) {
        self.refuse(token);
    }
}

/// Takes the place of the endpoint of a core that is being dropped.
struct NoEndpoint;

impl TokenEndpoint for NoEndpoint {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Err(interrupted(false))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
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

impl Locked {
    /// Returns what a waiter needs of the flight in progress.
    fn handle(&self) -> Acquired {
        let (Some(running), Some(flight)) = (&self.flight, &self.state.flight) else {
            return Acquired::Failed(interrupted(false));
        };
        Acquired::Waiting(FlightHandle {
            outcome: running.flight.outcome(),
            runtime: running.runtime,
            overdue: flight.overdue,
        })
    }

    /// Returns the old leases, which are dropped without the lock.
    fn start_leases(
        &mut self,
        leases: Option<NewLeases>,
        on_refused: &Weak<Core>,
    ) -> Option<Leases> {
        match leases? {
            NewLeases::Of(token) => {
                let on_refused: Weak<dyn OnRefused> = Weak::<Core>::clone(on_refused);
                let old = self.leases.replace(Generations::new(&token, &on_refused));
                old.map(Generations::into_current)
            }
            NewLeases::NextGeneration => self.leases.as_mut().map(Generations::advance),
        }
    }
}

impl Running {
    fn new(sequence: u64, runtime: runtime::Id) -> Self {
        Self { sequence, flight: Flight::new(), runtime, expedite: Arc::default(), task: None }
    }

    /// Wakes the waiters with an error, and stops the task if a runtime still drives it.
    fn abandon(self) {
        self.flight.end(Outcome { result: Err(interrupted(false)), standing: None });
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Deferred {
    /// Carries out what may run foreign code. Returns the flight that the caller has to spawn.
    fn carry_out(self, core: &Core) -> Option<ToSpawn> {
        let Self { ended, then, expedite, leases, to_spawn } = self;
        drop(leases);
        match ended {
            Some((running, Some(outcome))) => running.flight.end(outcome),
            Some((running, None)) => running.abandon(),
            None => {}
        }
        for effect in then {
            match effect {
                Effect::Count(counter) => counter(&core.tally).add(),
                Effect::Expedite => expedite.iter().for_each(|expedite| expedite.notify_one()),
                Effect::Announce(token) => core.changes.announce(token),
                Effect::Log(record) => record.emit(),
                Effect::Discard(error) => drop(error),
            }
        }
        to_spawn
    }
}

/// The error of a flight that died.
pub(super) fn interrupted(panicked: bool) -> AuthError {
    AuthError::new(
        Kind::Interrupted,
        if panicked {
            "the refresh panicked; the panic's own message names the place. The next call starts \
             afresh"
        } else {
            "the Tokio runtime that ran the refresh shut down; the next call starts afresh on its \
             own runtime"
        },
    )
}
