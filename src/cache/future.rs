//! [`TokenFuture`]: a caller's wait for a token.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime,
    time::{Sleep, sleep_until},
};

use super::{
    core::Acquired,
    flight::{FlightHandle, Outcome, OutcomeFuture},
    handle::Handle,
    lease::Lease,
    state::Requirement,
};
use crate::{
    error::{AuthError, Kind},
    sync,
    token::AccessToken,
};

/// Resolves to a token: at once if there is one, else when the refresh that all callers share has
/// ended.
///
/// # Cancel safety
///
/// Dropping it loses nothing. The refresh is a task of its own, and the token that it brings is
/// kept. Nothing is started before the first poll.
#[must_use = "futures do nothing unless polled"]
pub struct TokenFuture {
    handle: Arc<Handle>,
    requirement: Requirement,
    wait: Wait,
}

/// The end of a wait.
pub(crate) struct Granted {
    pub(crate) token: AccessToken,
    /// The lease of the caller that goes first with a token that may have died. Nobody else gets
    /// one at that moment.
    pub(crate) scout: Option<sync::Arc<Lease>>,
}

/// The wait itself, for callers that hold the cache and know what they need.
pub(crate) enum Wait {
    Start {
        /// The wait has started over once, because the token of its flight had expired by then.
        again: bool,
    },
    Waiting {
        outcome: OutcomeFuture,
        /// Ends when the flight is overdue.
        overdue: Option<Pin<Box<Sleep>>>,
        again: bool,
    },
    Done,
}

impl Wait {
    pub(crate) fn new() -> Self {
        Self::Start { again: false }
    }

    /// Polls the wait, as the `poll` of a future. `requirement` is the same each time. `can_scout`
    /// says that the caller can use the lease of a scout. `is_usable` returns whether the token
    /// that a flight has brought can still be sent.
    pub(crate) fn poll(
        &mut self,
        handle: &Handle,
        requirement: &Requirement,
        can_scout: bool,
        mut is_usable: impl FnMut(&AccessToken) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted, AuthError>> {
        loop {
            match self {
                // ## Start => (Waiting | Done)
                //
                // The cache has a token, or an error, or a flight to wait for.
                &mut Self::Start { again } => match handle.acquire(requirement, can_scout) {
                    Acquired::Waiting(flight) => {
                        let overdue = overdue(&flight);
                        *self = Self::Waiting { outcome: flight.outcome, overdue, again };
                    }
                    Acquired::Token(token) => {
                        *self = Self::Done;
                        return Poll::Ready(Ok(Granted { token, scout: None }));
                    }
                    Acquired::Scout(lease) => {
                        *self = Self::Done;
                        let token = lease.token.clone();
                        return Poll::Ready(Ok(Granted { token, scout: Some(lease) }));
                    }
                    Acquired::Failed(error) => {
                        *self = Self::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                // ## Waiting => (Start | Done)
                //
                // The flight ends, and its outcome serves this caller, or one more flight is
                // needed. If the flight is overdue, the caller takes its place by starting over. If
                // the flight's hold has timed out, the caller asks again what it may have.
                Self::Waiting { outcome, overdue, again } => {
                    let again = *again;
                    let Poll::Ready(outcome) = Pin::new(outcome).poll(cx) else {
                        let Some(overdue) = overdue else { return Poll::Pending };
                        ready!(overdue.as_mut().poll(cx));
                        *self = Self::Start { again };
                        continue;
                    };
                    let Some(outcome) = outcome else {
                        *self = Self::Start { again };
                        continue;
                    };
                    *self = match judge(requirement, outcome, &mut is_usable, again) {
                        Some(result) => {
                            *self = Self::Done;
                            let granted = |token| Granted { token, scout: None };
                            return Poll::Ready(result.map(granted));
                        }
                        None => Self::Start { again: true },
                    };
                }
                // ## Done
                //
                // As a fused future: polled again after its result, it has no other.
                Self::Done => return Poll::Pending,
            }
        }
    }
}

/// Returns the timer of a waiter on another runtime than the flight's.
///
/// Such a waiter can't rely on that runtime being driven. On the flight's own runtime no waiter
/// runs unless the flight does, so a timer would be for nothing.
fn overdue(flight: &FlightHandle) -> Option<Pin<Box<Sleep>>> {
    let is_elsewhere =
        runtime::Handle::try_current().is_ok_and(|runtime| runtime.id() != flight.runtime);
    is_elsewhere.then(|| Box::pin(sleep_until(flight.overdue)))
}

/// Returns the result that the outcome of a flight means for this caller. `None` means that the
/// caller asks the cache again.
fn judge(
    requirement: &Requirement,
    outcome: Outcome,
    is_usable: impl FnOnce(&AccessToken) -> bool,
    again: bool,
) -> Option<Result<AccessToken, AuthError>> {
    match (outcome.result, outcome.standing) {
        (Ok(token), _) if is_usable(&token) => Some(Ok(token)),
        // This caller was polled so late that the token has expired. It starts over once, because
        // twice would be a loop at the endpoint's cost.
        (Ok(_), _) if !again => None,
        (Ok(_), _) => Some(Err(AuthError::new(
            Kind::Expired,
            "the token expired before it could be used; is this task polled too rarely?",
        ))),
        // The refresh failed, but this caller only needs a token, and there still is one.
        (Err(_), Some(standing))
            if matches!(requirement, Requirement::Usable) && standing.is_usable() =>
        {
            Some(Ok(standing))
        }
        (Err(error), _) => Some(Err(error)),
    }
}

impl TokenFuture {
    pub(super) fn new(handle: Arc<Handle>, requirement: Requirement) -> Self {
        Self { handle, requirement, wait: Wait::new() }
    }
}

impl Future for TokenFuture {
    type Output = Result<AccessToken, AuthError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { handle, requirement, wait } = &mut *self;
        let can_send = |token: &_| handle.can_send(token);
        let granted = ready!(wait.poll(handle, requirement, false, can_send, cx));
        Poll::Ready(granted.map(|granted| granted.token))
    }
}

impl fmt::Debug for TokenFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFuture")
            .field("requirement", &self.requirement)
            .finish_non_exhaustive()
    }
}
