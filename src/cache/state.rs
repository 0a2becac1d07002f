//! The state behind a [`TokenCache`](crate::TokenCache): which token is served, and the one flight for the next.
//!
//! The read path asks one pointer (`ready`) and nothing else. Whatever makes a token unusable but its age is
//! published through that pointer: refused by a resource, or being replaced by an exclusive endpoint. Everything
//! that changes is decided under one short lock that no await ever crosses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::Shared};
use http::Uri;
use tokio::{
    runtime::{self, Handle},
    sync::{oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    clock,
    endpoint::{DynEndpoint, Rotation},
    error::{AuthError, Kind},
    events::Tally,
    refresh::{RefreshPolicy, flight::Order},
    token::{AccessToken, Issued},
};

pub(crate) struct Core {
    ready: ArcSwapOption<Issued>,
    state: Mutex<State>,
    changes: watch::Sender<Option<AccessToken>>,
    endpoint: Box<dyn DynEndpoint>,
    pub(crate) uri: Option<Uri>,
    pub(crate) rotation: Rotation,
    pub(crate) scheme: Box<str>,
    pub(crate) policy: RefreshPolicy,
    pub(crate) tally: Tally,
}

#[derive(Default)]
struct State {
    newest: Option<AccessToken>,
    /// A resource answered 401 to `newest`.
    refused: bool,
    flight: Option<Flight>,
    /// The number of the newest flight, and of the token that it brings.
    last_sequence: u64,
}

/// The flight that is under way.
struct Flight {
    sequence: u64,
    landed: Landed,
    waiters: oneshot::Sender<Outcome>,
    task: Option<AbortHandle>,
    /// When it must have landed. Later than that, the runtime that should drive it does not.
    overdue: Instant,
}

/// What a waiter holds of a flight.
#[derive(Clone)]
pub(crate) struct Landed {
    /// Resolves when it has landed; every waiter polls a clone of its own.
    pub(crate) outcome: Shared<oneshot::Receiver<Outcome>>,
    /// The runtime that drives it.
    pub(crate) runtime: runtime::Id,
    pub(crate) overdue: Instant,
}

/// What a flight brought, for all who waited for it.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// After a failure: the older token, if it can still be sent.
    pub(crate) standing: Option<AccessToken>,
}

/// What a caller needs.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// A token that can be sent.
    Usable,
    /// One that is newer than this, which a resource refused.
    NewerThan(AccessToken),
    /// The result of a flight, whatever there is now.
    Fresh,
}

pub(crate) enum Acquired {
    Token(AccessToken),
    Waiting(Landed),
    Failed(AuthError),
}

impl Core {
    pub(crate) fn new(
        endpoint: Box<dyn DynEndpoint>,
        uri: Option<Uri>,
        rotation: Rotation,
        scheme: Box<str>,
        policy: RefreshPolicy,
    ) -> Self {
        Self {
            ready: ArcSwapOption::empty(),
            state: Mutex::default(),
            changes: watch::Sender::new(None),
            endpoint,
            uri,
            rotation,
            scheme,
            policy,
            tally: Tally::default(),
        }
    }

    /// The read path: one atomic load, one clock read.
    pub(crate) fn ready(&self) -> Option<AccessToken> {
        let ready = self.ready.load();
        let issued = ready.as_ref().filter(|issued| issued.is_usable_at(clock::now()))?;
        Some(AccessToken::from_issued(Arc::clone(issued)))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<AccessToken>> {
        self.changes.subscribe()
    }

    /// Marks `token` as refused. A token that has been replaced already is not looked at: a late 401 for it says
    /// nothing about the one in use.
    pub(crate) fn invalidate(&self, token: &AccessToken) -> bool {
        let mut state = self.lock();
        let is_newest =
            state.newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest.issued(), token.issued()));
        if !is_newest || state.refused {
            return false;
        }
        state.refused = true;
        self.publish(&state);
        drop(state);
        tracing::debug!(sequence = token.sequence(), "the token was marked as refused");
        true
    }

    /// A token at once, or the flight to wait for: the one under way, or one that this call starts.
    pub(crate) fn get(self: &Arc<Self>, want: &Want) -> Acquired {
        match want {
            Want::Usable => self.ready().map_or_else(|| self.acquire(want), Acquired::Token),
            Want::NewerThan(_) | Want::Fresh => self.acquire(want),
        }
    }

    fn acquire(self: &Arc<Self>, want: &Want) -> Acquired {
        let now = clock::now();
        let mut state = self.lock();
        if let Some(token) = self.serves(&state, want, now) {
            return Acquired::Token(token);
        }
        if let Some(flight) = state.flight.as_ref().filter(|flight| now < flight.overdue) {
            Tally::add(&self.tally.joined);
            return Acquired::Waiting(flight.landed.clone());
        }
        let Ok(runtime) = Handle::try_current() else {
            return Acquired::Failed(AuthError::new(
                Kind::NoRuntime,
                "a token has to be asked for, and there is no Tokio runtime here; call from within one",
            ));
        };
        let (landing, landed, abandoned) = self.prepare_flight(&mut state, runtime.id(), now);
        drop(state);
        if let Some(abandoned) = abandoned {
            abandoned.give_up();
        }
        // Not under the lock: a runtime that is shutting down drops the task, and with it the landing, right here.
        let sequence = landing.sequence;
        let task = runtime.spawn(landing.fly()).abort_handle();
        if let Some(flight) = self.lock().flight.as_mut().filter(|flight| flight.sequence == sequence) {
            flight.task = Some(task);
        }
        Acquired::Waiting(landed)
    }

    /// Enters a new flight into the state; returns what is left of one that is overdue.
    fn prepare_flight(
        self: &Arc<Self>,
        state: &mut State,
        runtime: runtime::Id,
        now: Instant,
    ) -> (Landing, Landed, Option<Flight>) {
        Tally::add(&self.tally.refreshes);
        state.last_sequence += 1;
        let sequence = state.last_sequence;
        // Twice its deadline: a busy runtime may be late, one that nobody drives is later still.
        let overdue = clock::later(now, self.policy.deadline.saturating_mul(2));
        let (waiters, receiver) = oneshot::channel();
        let landed = Landed { outcome: receiver.shared(), runtime, overdue };
        let flight = Flight { sequence, landed: landed.clone(), waiters, task: None, overdue };
        let abandoned = state.flight.replace(flight);
        self.publish(state);
        (Landing { core: Arc::clone(self), sequence, landed: false }, landed, abandoned)
    }

    /// The last handle is gone, and nobody is left to use what a flight would bring.
    pub(crate) fn close(&self) {
        let flight = self.lock().flight.take();
        if let Some(flight) = flight {
            flight.give_up();
        }
    }

    /// The token that `want` can have without a flight.
    fn serves(&self, state: &State, want: &Want, now: Instant) -> Option<AccessToken> {
        let token = self.servable(state).filter(|token| token.is_usable_at(now))?;
        match want {
            Want::Usable => Some(token.clone()),
            Want::NewerThan(refused) if token.sequence() > refused.sequence() => Some(token.clone()),
            Want::NewerThan(_) | Want::Fresh => None,
        }
    }

    /// The newest token, unless it was refused, or is being replaced by an endpoint that kills it in doing so.
    fn servable<'a>(&self, state: &'a State) -> Option<&'a AccessToken> {
        let dying = state.flight.is_some() && self.rotation == Rotation::Exclusive;
        state.newest.as_ref().filter(|_| !state.refused && !dying)
    }

    /// Shows the read path what `servable` says.
    fn publish(&self, state: &State) {
        self.ready.store(self.servable(state).map(|token| Arc::clone(token.issued())));
    }

    /// Takes in a flight's result and tells its waiters. First the state, then the waiters, and only then whoever
    /// else listens: wakers and subscribers are somebody else's code, which may block or panic.
    fn land(&self, sequence: u64, result: Result<AccessToken, AuthError>) {
        let mut state = self.lock();
        let flight = state.flight.take_if(|flight| flight.sequence == sequence);
        // A flight that was given up on may land after its successor.
        let newer = state.newest.as_ref().is_none_or(|newest| newest.sequence() < sequence);
        if let (Ok(token), true) = (&result, newer) {
            state.newest = Some(token.clone());
            state.refused = false;
        }
        self.publish(&state);
        let standing = self.serves(&state, &Want::Usable, clock::now());
        drop(state);
        if result.is_err() && flight.is_none() {
            return;
        }
        if let Some(flight) = flight {
            // Nobody may be waiting any more; the token is kept all the same.
            let _ = flight.waiters.send(Outcome { result: result.clone(), standing });
        }
        self.report(sequence, result);
    }

    fn report(&self, sequence: u64, result: Result<AccessToken, AuthError>) {
        match result {
            Ok(token) => {
                Tally::add(&self.tally.tokens_issued);
                let life_seconds = token.life().as_secs();
                self.changes.send_if_modified(|newest| {
                    let newer = newest.as_ref().is_none_or(|newest| newest.sequence() < sequence);
                    if newer {
                        *newest = Some(token);
                    }
                    newer
                });
                tracing::info!(sequence, life_seconds, "a token was issued");
            }
            Err(error) => {
                Tally::add(&self.tally.refreshes_failed);
                tracing::warn!(
                    sequence,
                    error = &error as &(dyn std::error::Error + 'static),
                    "the refresh failed"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Wakes its waiters, and stops its task if a runtime still drives it.
    fn give_up(self) {
        let _ = self.waiters.send(Outcome { result: Err(interrupted(false)), standing: None });
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// A flight's end, whichever it is: dropped without a result (a panic, a runtime shutting down), it wakes the
/// waiters with an error, so that none is left behind and the next caller can start another.
struct Landing {
    core: Arc<Core>,
    sequence: u64,
    landed: bool,
}

impl Landing {
    async fn fly(mut self) {
        let core = Arc::clone(&self.core);
        let order = Order {
            endpoint: &*core.endpoint,
            policy: &core.policy,
            scheme: &core.scheme,
            sequence: self.sequence,
            tally: &core.tally,
        };
        let result = order.fly().await;
        self.landed = true;
        core.land(self.sequence, result);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            self.core.land(self.sequence, Err(interrupted(std::thread::panicking())));
        }
    }
}

pub(crate) fn interrupted(panicked: bool) -> AuthError {
    AuthError::new(
        Kind::Interrupted,
        if panicked {
            "the refresh panicked; the panic's own message names the place. The next call starts afresh"
        } else {
            "the Tokio runtime that ran the refresh shut down; the next call starts afresh on its own runtime"
        },
    )
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
