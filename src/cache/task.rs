//! The task of one flight. For an exclusive endpoint it makes way first: the token in use dies with the request for the
//! next one, so it looks for a quiet moment, or holds new requests back and waits for those under way.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    slot::Drained,
    state::{Core, Requirement, interrupted},
};
use crate::{
    clock,
    error::{AuthError, Fate},
    events::TARGET,
    refresh::attempts::{Attempts, RefreshResult},
    sync,
    token::AccessToken,
};

/// Trigger a flight was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Somebody waits for it.
    Needed,
    /// The token in use is still good; it is time to renew it.
    Due,
    /// It was asked for, whatever there is.
    Forced,
    /// Nobody is let through to the endpoint; the credentials may have changed.
    Probe,
}

/// How far a flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The token in use is served.
    Serving,
    /// Nobody gets it any more: it is about to die.
    Holding,
}

impl Stage {
    pub(crate) fn first(why: Trigger, holds: bool) -> Self {
        match why {
            Trigger::Needed | Trigger::Forced if holds => Self::Holding,
            Trigger::Needed | Trigger::Forced | Trigger::Due | Trigger::Probe => Self::Serving,
        }
    }
}

/// How many times in its window a renewal looks for a quiet moment.
const LOOKS: u32 = 64;

/// A flight's end, whichever it is: dropped without a result (a panic, a runtime shutting down), it wakes the
/// waiters with an error, so that none is left behind and the next caller can start another.
pub(crate) struct RefreshTask {
    core: Arc<Core>,
    sequence: u64,
    why: Trigger,
    landed: bool,
}

impl RefreshTask {
    pub(crate) fn new(core: Arc<Core>, sequence: u64, why: Trigger) -> Self {
        Self { core, sequence, why, landed: false }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn why(&self) -> Trigger {
        self.why
    }

    pub(crate) async fn run(mut self) {
        let core = Arc::clone(&self.core);
        if let Some(error) = self.finds_nothing_new().await {
            self.landed = true;
            return core.land_unchanged(self.sequence, error);
        }
        let held = self.drain().await;
        let attempts = Attempts {
            endpoint: &*core.endpoint,
            policy: &core.policy,
            scheme: &core.scheme,
            sequence: self.sequence,
            tally: &core.tally,
            fallback: held.as_ref().map(|held| held.token.clone()),
        };
        let flown = attempts.run().await;
        self.landed = true;
        core.land(self.sequence, flown);
        if let Some(held) = held {
            core.tally.longest_hold.record(clock::now().saturating_duration_since(held.since));
        }
    }

    /// The stored error, if this flight is a look at the credentials and they are as they were.
    async fn finds_nothing_new(&self) -> Option<AuthError> {
        let error = self.core.stored_error().filter(|_| self.why == Trigger::Probe)?;
        let look = self.core.endpoint.credentials_changed();
        let changed = timeout(self.core.policy.attempt_timeout, look).await.unwrap_or(false);
        (!changed).then_some(error)
    }

    /// Sees to it that no request is under way with a token that is about to die. Returns whose callers have been held
    /// back, and since when.
    async fn drain(&self) -> Option<Held> {
        let core = &*self.core;
        if !core.holds() {
            return None;
        }
        let way = core.way(self.sequence)?;
        if self.why == Trigger::Due {
            self.wait_until_idle(&way).await;
        }
        let under_way = core.hold(self.sequence)?;
        let since = clock::now();
        core.tally.holds.add();
        let drained = async {
            for gone in under_way {
                let _ = gone.await;
            }
        };
        if timeout(way.drain, or_expedite(drained, &way.expedite, || core.is_dead())).await.is_err()
        {
            core.tally.drains_timed_out.add();
            tracing::warn!(
                target: TARGET,
                sequence = self.sequence,
                drain_seconds = way.drain.as_secs_f64(),
                "requests were still under way when the drain timed out; they may be answered 401 and replayed",
            );
        }
        core.tally.longest_drain.record(clock::now().saturating_duration_since(since));
        Some(Held { token: way.token, since })
    }

    async fn wait_until_idle(&self, way: &Way) {
        let step = (way.hold.saturating_duration_since(clock::now()) / LOOKS)
            .max(Duration::from_millis(1));
        while clock::now() < way.hold && !self.core.is_quiet(self.sequence) {
            let next = clock::later(clock::now(), step).min(way.hold);
            if timeout_at(next, way.expedite.notified()).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for RefreshTask {
    fn drop(&mut self) {
        if !self.landed {
            // It may have been anywhere.
            let result = Err(interrupted(std::thread::panicking()));
            self.core.land(self.sequence, RefreshResult { result, fate: Fate::Unknown });
        }
    }
}

/// Callers are held back from this token.
struct Held {
    token: AccessToken,
    since: Instant,
}

/// What a renewal has to know to make way.
struct Way {
    token: AccessToken,
    expedite: Arc<Notify>,
    /// When the search for a quiet moment ends.
    hold: Instant,
    drain: Duration,
}

/// Waits for `work`, or until a expedite for which there is a reason.
async fn or_expedite(work: impl Future<Output = ()>, expedite: &Notify, reason: impl Fn() -> bool) {
    let urgent = async {
        while !reason() {
            expedite.notified().await;
        }
    };
    futures_util::future::select(std::pin::pin!(work), std::pin::pin!(urgent)).await;
}

impl Core {
    /// How to make way for this flight; `None` if there is no token in use that could die.
    fn way(&self, sequence: u64) -> Option<Way> {
        let state = self.lock();
        let flight = state.flight.as_ref().filter(|flight| flight.sequence == sequence)?;
        let newest = state.newest.as_ref().filter(|newest| newest.is_alive())?;
        let times = newest.token.times();
        Some(Way {
            token: newest.token.clone(),
            expedite: Arc::clone(&flight.expedite),
            hold: times.at(times.schedule.hold),
            drain: times.schedule.drain,
        })
    }

    /// Whether the token in use died by other means, so that nothing is worth waiting for.
    fn is_dead(&self) -> bool {
        self.lock().newest.as_ref().is_none_or(|newest| !newest.is_alive())
    }

    /// Whether no request is under way. If so, the flight holds from here on, before the next one can start.
    fn is_quiet(&self, sequence: u64) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let (Some(newest), Some(flight)) = (&state.newest, &mut state.flight) else { return true };
        if newest.refused || flight.sequence != sequence {
            return true;
        }
        // Once nobody can get it any more, the lease that the state holds is the only one, or it is not quiet.
        self.slot.withdraw();
        let quiet = newest.is_unused();
        if quiet {
            flight.stage = Stage::Holding;
        }
        self.publish(state);
        quiet
    }

    /// Holds new requests back. Returns what resolves when those under way are done; `None` if the token died by other
    /// means, so that there is nothing to wait for.
    fn hold(&self, sequence: u64) -> Option<Vec<Drained>> {
        let mut state = self.lock();
        let state = &mut *state;
        let flight = state.flight.as_mut().filter(|flight| flight.sequence == sequence)?;
        flight.stage = Stage::Holding;
        flight.overdue = clock::later(clock::now(), self.flight_bound());
        self.slot.withdraw();
        let newest = state.newest.as_mut().filter(|newest| newest.is_alive())?;
        Some(newest.hand_over())
    }

    /// Sees to it that renewals come without traffic, if that was asked for: until the last handle is dropped.
    pub(super) fn keep_warm(self: &Arc<Self>) {
        if !self.keep_warm {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut state = self.lock();
        if state.closed || state.warmer.as_ref().is_some_and(|warmer| !warmer.is_finished()) {
            return;
        }
        let core = Arc::downgrade(self);
        state.warmer = Some(sync::spawn(&runtime, keep_warm(core)));
    }

    /// When the next renewal may be due. Not sooner than a moment from now: it is asked for in a loop.
    fn next_renewal(&self) -> Instant {
        let soon = clock::now() + Duration::from_millis(50);
        let state = self.lock();
        let due = state.newest.as_ref().filter(|newest| !newest.refused).map(|newest| {
            let times = newest.token.times();
            times.at(times.schedule.due)
        });
        let gate = state.gate_ends();
        due.into_iter().chain(gate).max().map_or(soon, |at| at.max(soon))
    }
}

async fn keep_warm(core: Weak<Core>) {
    loop {
        let Some(next) = core.upgrade().map(|core| core.next_renewal()) else { return };
        sleep_until(next).await;
        let Some(core) = core.upgrade() else { return };
        // Starts what is due; a token or an error is nothing to this task.
        let _ = core.get(&Requirement::Usable);
    }
}

#[cfg(all(test, tower_reauth_loom))]
#[path = "loom_tests.rs"]
mod loom_tests;
