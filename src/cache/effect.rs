//! [`Effects`]: what a transition of the [state](super::state) asks the core to do.

use std::time::Duration;

use super::{flight::Outcome, verdict::DoubtOutcome};
use crate::{
    error::AuthError,
    events::{Count, TARGET, Tally, log_news},
    isolate::isolate,
    token::AccessToken,
};

/// The effects of one transition.
///
/// The first fields are applied before the lock is released, because their order must be that of
/// the transitions. All of them touch values of this crate alone. The rest may run foreign code, so
/// it is carried out after the lock is released.
#[derive(Debug, Default)]
#[must_use = "a transition has taken place only when its effects have"]
pub(super) struct Effects {
    /// Starts leases.
    pub(super) leases: Option<NewLeases>,
    /// The flight that ended, and how.
    pub(super) ended: Option<Ended>,
    /// The flight that starts. It replaces the one that ended.
    pub(super) start: Option<Start>,
    /// The slot is brought in line with what the state serves.
    pub(super) publish: bool,
    /// The waiters of the flight ask the cache again, while the flight goes on.
    pub(super) release: bool,
    /// The doubt in progress ended, and how.
    pub(super) doubt: Option<DoubtOutcome>,
    /// Carried out in this order, without the lock.
    pub(super) then: Vec<Effect>,
}

/// Which leases start.
#[derive(Debug)]
pub(super) enum NewLeases {
    /// The first generation on this token.
    Of(AccessToken),
    /// The next generation on the token in use.
    NextGeneration,
}

/// How a flight ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its waiters wake with this.
    Completed(Outcome),
    /// It is given up: its waiters wake with an error, and its task is stopped.
    Abandoned,
    /// It is not needed any more: its waiters wake with this, and its task is stopped.
    CalledOff(Outcome),
}

/// A flight to be spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) sequence: u64,
    pub(super) trigger: Trigger,
    /// The number of the token that is to be replaced; 0 if there is none.
    pub(super) floor: u64,
}

/// The reason for which a flight starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A caller waits for a token.
    Needed,
    /// The token in use is still good, and its renewal is due.
    Due,
    /// A caller asked for a new token whatever the state of the one in use.
    Forced,
    /// The endpoint is left alone, but the credentials that it refused may have changed.
    Probe,
    /// Another process asks for a token, and the one in use dies of that.
    Sibling,
}

/// Something that may run foreign code.
#[derive(Debug)]
pub(super) enum Effect {
    /// Adds one to a counter, which may call a metrics recorder.
    Count(fn(&Tally) -> &Count),
    /// Wakes the task of the flight, which need not wait for an idle moment any longer.
    Expedite,
    /// Shows a new token to the subscribers.
    Announce(AccessToken),
    /// Emits an event, which calls a subscriber.
    Log(Record),
    /// Drops an error, whose source is of a user's type.
    Discard(AuthError),
}

/// An event for the log. One that may recur for hours says whether it is news.
#[derive(Debug)]
pub(super) enum Record {
    /// `failed_refreshes` in a row came before the token.
    Issued {
        sequence: u64,
        lifetime: Duration,
        failed_refreshes: u64,
    },
    /// Another process had asked for the token.
    Adopted {
        sequence: u64,
        lifetime: Duration,
        failed_refreshes: u64,
    },
    RefreshFailed {
        sequence: u64,
        error: AuthError,
        is_news: bool,
    },
    /// A request was refused, and there is no newer token for it.
    NotRenewed {
        error: AuthError,
        is_news: bool,
    },
    DrainTimedOut {
        sequence: u64,
        drain: Duration,
        is_news: bool,
    },
    MarginCut {
        lifetime: Duration,
    },
    Refused {
        sequence: u64,
        shared: bool,
    },
    RefusedTooSoon {
        sequence: u64,
        breaker: bool,
    },
}

impl Effects {
    /// The slot alone is brought in line.
    pub(super) fn publish() -> Self {
        Self { publish: true, ..Self::default() }
    }

    pub(super) fn count(&mut self, counter: fn(&Tally) -> &Count) {
        self.then.push(Effect::Count(counter));
    }
}

impl Record {
    /// Emits the event, isolated from a subscriber that panics.
    pub(super) fn emit(self) {
        isolate(|| match self {
            Self::Issued { sequence, lifetime, failed_refreshes: 0 } => {
                let lifetime_seconds = lifetime.as_secs();
                tracing::info!(target: TARGET, sequence, lifetime_seconds, "a token was issued");
            }
            Self::Issued { sequence, lifetime, failed_refreshes } => tracing::info!(
                target: TARGET,
                sequence,
                lifetime_seconds = lifetime.as_secs(),
                failed_refreshes,
                "a token was issued again",
            ),
            Self::Adopted { sequence, lifetime, failed_refreshes } => tracing::info!(
                target: TARGET,
                sequence,
                lifetime_seconds = lifetime.as_secs(),
                failed_refreshes,
                "a token of another process was adopted",
            ),
            Self::RefreshFailed { sequence, error, is_news } => log_news!(
                is_news,
                sequence,
                error = &error as &(dyn std::error::Error + 'static),
                "the refresh failed",
            ),
            Self::NotRenewed { error, is_news } => log_news!(
                is_news,
                error = &error as &(dyn std::error::Error + 'static),
                "a request was answered 401 and the token could not be renewed",
            ),
            Self::DrainTimedOut { sequence, drain, is_news } => log_news!(
                is_news,
                sequence,
                drain_seconds = drain.as_secs_f64(),
                "requests were still in flight when the drain timed out; they may be answered 401 \
                 and replayed",
            ),
            Self::MarginCut { lifetime } => tracing::warn!(
                target: TARGET,
                lifetime_seconds = lifetime.as_secs_f64(),
                "the expiry margin would take more than a quarter of the token's lifetime, and was \
                 cut to that",
            ),
            Self::Refused { sequence, shared: false } => {
                tracing::debug!(target: TARGET, sequence, "a resource refused the token");
            }
            Self::Refused { sequence, shared: true } => tracing::warn!(
                target: TARGET,
                sequence,
                "a resource refused the token soon after it was issued, as the one before it: the \
                 client id seems to be in use by another process as well",
            ),
            Self::RefusedTooSoon { sequence, breaker } => tracing::debug!(
                target: TARGET,
                sequence,
                breaker,
                "a resource refused the token, too soon to ask for another",
            ),
        });
    }
}
