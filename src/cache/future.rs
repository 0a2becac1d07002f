//! [`TokenFuture`]: a caller's wait for a token.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::Shared;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep_until},
};

use crate::{
    cache::{
        TokenCache,
        state::{Acquired, Core, FlightHandle, Outcome, Requirement, interrupted},
    },
    error::{AuthError, Kind},
    sync::oneshot,
    token::AccessToken,
};

/// Resolves to a token: at once if there is one, else when the refresh that all callers share has landed.
///
/// # Cancel safety
///
/// Dropping it loses nothing: the refresh is a task of its own and what it brings is kept. Nothing is started
/// before the first poll.
#[must_use = "futures do nothing unless polled"]
pub struct TokenFuture {
    cache: TokenCache,
    want: Requirement,
    wait: Wait,
}

/// The wait itself, for those who hold the cache already and know what they want.
pub(crate) enum Wait {
    Start {
        again: bool,
    },
    Waiting {
        outcome: Shared<oneshot::Receiver<Outcome>>,
        lookout: Option<Pin<Box<Sleep>>>,
        again: bool,
    },
    Done,
}

/// A waiter on another runtime than the flight's can't rely on that one being driven, so it keeps an eye on the time
/// itself. On the flight's own runtime, where no waiter runs unless the flight does, that would be for nothing.
fn lookout(landed: &FlightHandle) -> Option<Pin<Box<Sleep>>> {
    let elsewhere = Handle::try_current().is_ok_and(|runtime| runtime.id() != landed.runtime);
    elsewhere.then(|| Box::pin(sleep_until(landed.overdue)))
}

impl Wait {
    pub(crate) fn new() -> Self {
        Self::Start { again: false }
    }

    /// As the `poll` of a future. `want` is the same each time; `is_usable` says whether the token that a flight has brought
    /// can still be sent.
    pub(crate) fn poll(
        &mut self,
        core: &Arc<Core>,
        want: &Requirement,
        mut is_usable: impl FnMut(&AccessToken) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AccessToken, AuthError>> {
        loop {
            match self {
                &mut Self::Start { again } => match core.get(want) {
                    Acquired::Waiting(landed) => {
                        let lookout = lookout(&landed);
                        *self = Self::Waiting { outcome: landed.outcome, lookout, again };
                    }
                    Acquired::Token(token) => {
                        *self = Self::Done;
                        return Poll::Ready(Ok(token));
                    }
                    Acquired::Failed(error) => {
                        *self = Self::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                Self::Waiting { outcome, lookout, again } => {
                    let again = *again;
                    let Poll::Ready(outcome) = Pin::new(outcome).poll(cx) else {
                        if let Some(lookout) = lookout {
                            ready!(lookout.as_mut().poll(cx));
                            *self = Self::Start { again };
                            continue;
                        }
                        return Poll::Pending;
                    };
                    let outcome = outcome.unwrap_or_else(|_| Outcome {
                        result: Err(interrupted(false)),
                        standing: None,
                    });
                    *self = match judge(want, outcome, &mut is_usable, again) {
                        Some(result) => {
                            *self = Self::Done;
                            return Poll::Ready(result);
                        }
                        None => Self::Start { again: true },
                    };
                }
                // As a fused future: asked again after its answer, it has no other.
                Self::Done => return Poll::Pending,
            }
        }
    }
}

/// What the flight brought, for this caller; `None` to go round once more.
fn judge(
    want: &Requirement,
    outcome: Outcome,
    is_usable: impl FnOnce(&AccessToken) -> bool,
    again: bool,
) -> Option<Result<AccessToken, AuthError>> {
    match (outcome.result, outcome.standing) {
        (Ok(token), _) if is_usable(&token) => Some(Ok(token)),
        // Polled so late that the token has expired. Once more; twice would be a loop at the endpoint's cost.
        (Ok(_), _) if !again => None,
        (Ok(_), _) => Some(Err(AuthError::new(
            Kind::Expired,
            "the token expired before it could be used; is this task polled too rarely?",
        ))),
        // The refresh was somebody else's wish and failed; this caller only needs a token, and there is one.
        (Err(_), Some(standing)) if matches!(want, Requirement::Usable) && standing.is_usable() => {
            Some(Ok(standing))
        }
        (Err(error), _) => Some(Err(error)),
    }
}

impl TokenFuture {
    pub(crate) fn new(cache: TokenCache, want: Requirement) -> Self {
        Self { cache, want, wait: Wait::new() }
    }
}

impl Future for TokenFuture {
    type Output = Result<AccessToken, AuthError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cache, want, wait } = &mut *self;
        let core = cache.core();
        // Nearly always it is the token of the slot, and asking that takes a fifth of the time.
        wait.poll(core, want, |token| core.serves(token) || token.is_usable(), cx)
    }
}

impl fmt::Debug for TokenFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFuture").field("want", &self.want).finish_non_exhaustive()
    }
}
