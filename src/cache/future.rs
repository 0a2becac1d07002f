//! [`TokenFuture`]: a caller's wait for a token.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{runtime, time::Instant};

use super::{
    acquire::{CanScout, issued_again},
    core::Acquired,
    flight::{FlightHandle, Outcome, OutcomeListener},
    handle::{Handle, On},
    lease::Lease,
    state::Requirement,
};
use crate::{
    clock::Alarm,
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
pub(crate) enum Granted<T> {
    /// There is a token that can be sent.
    Token(AccessToken),
    /// A flight has brought a token, and this is what the caller took of it.
    Flown(T),
    /// The caller goes first with a token that may have died. Nobody else gets a lease at that
    /// moment.
    Scout(sync::Arc<Lease>),
}

/// The wait itself, for callers that hold the cache and know what they need.
pub(crate) enum Wait {
    Start(Tries),
    Waiting { outcome: OutcomeListener, overdue: Overdue, tries: Tries },
    Done,
}

/// How often this caller has started over.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tries {
    /// The token of an earlier flight could not be used.
    expired: bool,
    /// How many flights were lost with their runtimes.
    lost: u8,
    /// The next flight, if this caller starts it, runs on the caller's own runtime.
    on: On,
}

/// How many flights a caller may lose with their runtimes before that is its error. Each of them
/// may have cost a request to the endpoint.
const MAX_LOST: u8 = 8;

impl Wait {
    pub(crate) fn new() -> Self {
        Self::Start(Tries::default())
    }

    /// Polls the wait, as the `poll` of a future. `requirement` is the same each time. `can_scout`
    /// says whether the caller goes first with a token that may have died. `grant` returns what the
    /// caller takes of the token that a flight has brought, or `None` if that token can't be sent
    /// any longer. Few callers need a clone of the token, which is 2 % of what a waiter costs.
    pub(crate) fn poll<T>(
        &mut self,
        handle: &Handle,
        requirement: &Requirement,
        can_scout: CanScout,
        mut grant: impl FnMut(&AccessToken) -> Option<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted<T>, AuthError>> {
        loop {
            match self {
                // ## Start => (Waiting | Done)
                //
                // The cache has a token, or an error, or a flight to wait for.
                &mut Self::Start(tries) => match handle.acquire(requirement, can_scout, tries.on) {
                    Acquired::Waiting(flight) => {
                        let overdue = Overdue::of(&flight);
                        *self = Self::Waiting { outcome: flight.outcome, overdue, tries };
                    }
                    Acquired::Token(token) => {
                        *self = Self::Done;
                        return Poll::Ready(Ok(Granted::Token(token)));
                    }
                    Acquired::Scout(lease) => {
                        *self = Self::Done;
                        return Poll::Ready(Ok(Granted::Scout(lease)));
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
                Self::Waiting { outcome, overdue, tries } => {
                    let mut tries = *tries;
                    let next = match outcome.poll(cx) {
                        Poll::Ready(Some(outcome)) => {
                            judge(requirement, outcome, &mut grant, &mut tries, overdue.flight)
                                .map(|result| or_served(result, handle, requirement))
                        }
                        Poll::Ready(None) => None,
                        Poll::Pending => {
                            ready!(overdue.poll(cx));
                            tries.on = On::OwnRuntime;
                            None
                        }
                    };
                    *self = match next {
                        Some(result) => {
                            *self = Self::Done;
                            return Poll::Ready(result);
                        }
                        None => Self::Start(tries),
                    };
                }
                // ## Done
                //
                // Polled again after its result, it has no other, like a fused future.
                Self::Done => return Poll::Pending,
            }
        }
    }

    /// Polls the wait of a caller that takes nothing of the token: it waits until there is one that
    /// can be sent.
    ///
    /// Not generic, so that it is compiled once, and not for each type of service.
    pub(crate) fn poll_sendable(
        &mut self,
        handle: &Handle,
        requirement: &Requirement,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AuthError>> {
        let grant = |token: &_| handle.can_send(token).then_some(());
        self.poll(handle, requirement, CanScout::No, grant, cx).map_ok(drop)
    }
}

/// The timer of a waiter on another runtime than the flight's.
///
/// Such a waiter can't rely on that runtime being driven. On the flight's own runtime no waiter
/// runs unless the flight does, so a timer would be for nothing. A waiter may move to another
/// runtime between two polls, and a timer ends only where it was made.
pub(crate) struct Overdue {
    at: Instant,
    flight: runtime::Id,
    /// The runtime where the alarm was set, and the alarm. Boxed, because few waiters need one, and
    /// every future would carry the place for it.
    alarm: Option<Box<(runtime::Id, Alarm)>>,
}

impl Overdue {
    fn of(flight: &FlightHandle) -> Self {
        Self { at: flight.overdue, flight: flight.runtime, alarm: None }
    }

    /// Resolves when the flight is overdue. On a runtime without timers it never resolves.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(here) = here().filter(|here| *here != self.flight) else {
            // A timer of a runtime that this waiter has left is of no use.
            self.alarm = None;
            return Poll::Pending;
        };
        let set = self.alarm.take().filter(|alarm| alarm.0 == here);
        let alarm = self.alarm.insert(set.unwrap_or_else(|| Box::new((here, Alarm::at(self.at)))));
        alarm.1.poll(cx)
    }
}

/// Returns the runtime that this is called on.
fn here() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|runtime| runtime.id())
}

/// Returns the result that the outcome of a flight means for this caller. `None` means that the
/// caller asks the cache again.
fn judge<T>(
    requirement: &Requirement,
    outcome: &Outcome,
    grant: impl FnOnce(&AccessToken) -> Option<T>,
    tries: &mut Tries,
    flight: runtime::Id,
) -> Option<Result<Granted<T>, AuthError>> {
    if outcome.called_off && matches!(requirement, Requirement::Fresh) {
        // Whoever asked for a new token gets one.
        return None;
    }
    if let (Requirement::NewerThan(refused), Ok(token)) = (requirement, &outcome.result)
        && !outcome.called_off
        && token.is_sent_as(refused)
    {
        return Some(Err(issued_again()));
    }
    let granted = outcome.result.as_ref().map(grant);
    match (granted, &outcome.standing) {
        (Ok(Some(granted)), _) => Some(Ok(Granted::Flown(granted))),
        // This caller was polled so late that the token has expired. It starts over once, because
        // twice would be a loop at the endpoint's cost.
        (Ok(None), _) if !tries.expired => {
            tries.expired = true;
            None
        }
        (Ok(None), _) => Some(Err(AuthError::new(
            Kind::Expired,
            "the token expired before it could be used; check that nothing blocks the task",
        ))),
        // The refresh failed, but this caller only needs a token, and there still is one.
        (Err(_), Some(standing))
            if matches!(requirement, Requirement::Usable) && standing.is_usable() =>
        {
            Some(Ok(Granted::Token(standing.clone())))
        }
        (Err(error), _) if tries.may_replace(error, flight) => None,
        (Err(error), _) => Some(Err(error.clone())),
    }
}

/// Returns the token that the cache serves by now, if the flight brought none that this caller can
/// use. Between the end of the flight and this poll another process' token may have come.
fn or_served<T>(
    result: Result<Granted<T>, AuthError>,
    handle: &Handle,
    requirement: &Requirement,
) -> Result<Granted<T>, AuthError> {
    result.or_else(|error| {
        handle.core().served(requirement).map_or(Err(error), |token| Ok(Granted::Token(token)))
    })
}

impl Tries {
    /// Returns whether this caller starts over because the flight was lost with its runtime.
    ///
    /// On the flight's own runtime that is of use only if another caller gave the flight up, and
    /// never a second time.
    fn may_replace(&mut self, error: &AuthError, flight: runtime::Id) -> bool {
        let is_own = here() == Some(flight);
        if !error.is_of_runtime() || self.lost >= MAX_LOST || is_own && error.is_no_runtime() {
            return false;
        }
        self.lost = if is_own { MAX_LOST } else { self.lost + 1 };
        self.on = On::OwnRuntime;
        true
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
        let grant = |token: &AccessToken| handle.can_send(token).then(|| token.clone());
        let granted = ready!(wait.poll(handle, requirement, CanScout::No, grant, cx));
        Poll::Ready(granted.map(|granted| match granted {
            Granted::Token(token) | Granted::Flown(token) => token,
            Granted::Scout(lease) => lease.token.clone(),
        }))
    }
}

impl fmt::Debug for TokenFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFuture")
            .field("requirement", &self.requirement)
            .finish_non_exhaustive()
    }
}
