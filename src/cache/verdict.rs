//! [`Verdict`]: what a request does after its 401, and its part in a doubt.
//!
//! [`Doubts`](crate::refresh::doubt::Doubts) has the rules. This module has what requests hold
//! while a doubt is in progress.

use std::{
    pin::Pin,
    sync::Weak,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::broadcast::Listener;
use crate::{clock::Alarm, refresh::doubt::Sends, route::Route, token::AccessToken};

/// A 401, and what is known of the request that was answered with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) token: &'a AccessToken,
    /// The route of the request, if it is known.
    pub(crate) route: Option<Route>,
    pub(crate) sends: Sends,
    /// The request can be sent again.
    pub(crate) resendable: bool,
    /// The 401 has been judged before.
    pub(crate) is_counted: bool,
}

/// The next step of a request that was answered 401.
pub(crate) enum Verdict {
    /// Its caller gets the 401.
    Return,
    /// It is sent again with the same token after this pause. If it is the probe of a new doubt, it
    /// holds this part in it.
    Again { after: Duration, probe: Option<Probe> },
    /// It is sent again with the same token, as the probe that it is already.
    ProbeAgain { after: Duration },
    /// It waits for the probe of its route.
    Wait(DoubtFuture),
    /// It waits until the store that processes share was asked for a newer token. It is judged
    /// then.
    AskStore(DoubtFuture),
    /// It waits for a newer token. If there will be none, that is an error, and its caller gets the
    /// 401.
    Renew,
}

/// The end of a doubt, for the requests that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoubtOutcome {
    /// The token lives. The requests are sent again with it.
    Cleared,
    /// The requests wait for a newer token.
    Renew,
    /// The probe went away. The requests are judged again, and one of them becomes the probe.
    Undecided,
}

/// The number of a wait that is no doubt, but for the answer of a store. No doubt has it.
pub(super) const ASKS_STORE: u64 = u64::MAX;

/// Whoever keeps the doubt in progress.
pub(crate) trait OnDoubt: Send + Sync {
    /// Ends the doubt, if it is in progress.
    fn end_doubt(&self, id: u64, outcome: DoubtOutcome);

    /// Ends the doubt because its probe takes too long, and has the token renewed.
    fn time_out_doubt(&self, id: u64);
}

/// The part of the request that is sent again for its route.
///
/// Dropped, it ends the doubt without a result, because the requests that wait must not wait for a
/// request that is gone.
pub(crate) struct Probe {
    doubts: Weak<dyn OnDoubt>,
    id: u64,
}

/// Resolves to the end of a doubt.
///
/// The wait is bounded by a timer of its own. Without timers it lasts as long as the probe.
pub(crate) struct DoubtFuture {
    doubts: Weak<dyn OnDoubt>,
    id: u64,
    listener: Listener<DoubtOutcome>,
    until: Instant,
    alarm: Option<Alarm>,
}

impl Probe {
    pub(super) fn new(doubts: Weak<dyn OnDoubt>, id: u64) -> Self {
        Self { doubts, id }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ends the doubt, because the token was accepted where it had been refused.
    pub(crate) fn clear(self) {
        if let Some(doubts) = self.doubts.upgrade() {
            doubts.end_doubt(self.id, DoubtOutcome::Cleared);
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(doubts) = self.doubts.upgrade() {
            doubts.end_doubt(self.id, DoubtOutcome::Undecided);
        }
    }
}

impl DoubtFuture {
    pub(super) fn new(
        doubts: Weak<dyn OnDoubt>,
        id: u64,
        listener: Listener<DoubtOutcome>,
        until: Instant,
    ) -> Self {
        Self { doubts, id, listener, until, alarm: None }
    }

    /// Returns when the wait ends at the latest.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

impl Future for DoubtFuture {
    type Output = DoubtOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DoubtOutcome> {
        let Self { doubts, id, listener, until, alarm } = &mut *self;
        if let Poll::Ready(outcome) = listener.poll(cx) {
            return Poll::Ready(outcome.copied().unwrap_or(DoubtOutcome::Undecided));
        }
        let had_timer = alarm.as_ref().is_some_and(Alarm::is_set);
        let alarm = alarm.get_or_insert_with(|| Alarm::at(*until));
        // A timer that is gone with its runtime counts as one that has ended.
        if alarm.poll(cx).is_pending() && (alarm.is_set() || !had_timer) {
            return Poll::Pending;
        }
        // The probe has taken too long. Its doubt is over for all who wait.
        let Some(doubts) = doubts.upgrade() else { return Poll::Ready(DoubtOutcome::Renew) };
        doubts.time_out_doubt(*id);
        let outcome = match listener.poll(cx) {
            Poll::Ready(Some(outcome)) => *outcome,
            Poll::Ready(None) | Poll::Pending => DoubtOutcome::Undecided,
        };
        Poll::Ready(outcome)
    }
}
