//! [`RefreshTask`]: the task of one flight.
//!
//! For an exclusive endpoint it drains first. The token in use dies with the request for the next
//! one, so the task waits for an idle moment, or holds new requests and waits for those in flight.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    complete::{Arrival, Completion},
    core::Core,
    deferred::ToSpawn,
    effect::{Start, Trigger},
    fleet::HeldTurn,
    flight::interrupted,
    hold::DrainPlan,
    trial::TRY_ALONE_EVERY,
};
use crate::{
    clock,
    error::{AuthError, Fate},
    events::TARGET,
    isolate::{InSpan, isolate},
    refresh::attempts::{Attempts, Permit, RefreshResult},
    sync,
    token::AccessToken,
};

/// About how many times a renewal checks for an idle moment in its window.
const CHECKS: u32 = 64;

/// How long all requests wait for the one that goes first after a hold that timed out.
pub(super) const SILENCE: Duration = Duration::from_millis(100);

/// The task of one flight.
///
/// However it ends, its waiters wake. Dropped without a result, because a runtime shuts down, it
/// completes the flight with an error, so that the next caller can start another.
pub(super) struct RefreshTask {
    pub(super) core: Arc<Core>,
    pub(super) start: Start,
    pub(super) expedite: Arc<Notify>,
    completed: bool,
    /// The endpoint has been asked.
    pub(super) asked: AtomicBool,
    /// The end of the attempts, from the first one on. Callers do not wait for longer because the
    /// flight asks under another lease, or alone.
    ends: OnceLock<Instant>,
}

/// The work of a task, done.
pub(super) enum Done {
    /// The credentials that the endpoint refused are as they were. This is the stored error.
    Unchanged(AuthError),
    /// The token in use is served on.
    CalledOff,
    Refreshed(Refreshed),
}

/// The token that a flight has brought, or its error.
pub(super) struct Refreshed {
    pub(super) result: RefreshResult,
    /// Since when requests are held for it.
    pub(super) held: Option<Instant>,
    pub(super) arrival: Arrival,
    /// The lease to give back to the other processes.
    pub(super) lease: Option<HeldTurn>,
}

/// Requests are held because this token is about to die.
struct Held {
    token: AccessToken,
    since: Instant,
}

/// Spawns the task of a flight. `then` runs when the flight has ended.
pub(super) fn spawn(
    core: &Arc<Core>,
    runtime: &Handle,
    to_spawn: ToSpawn,
    then: impl FnOnce(&Arc<Core>) + Send + 'static,
) {
    let ToSpawn { start, expedite } = to_spawn;
    let Start { sequence, trigger, .. } = start;
    let task = RefreshTask {
        core: Arc::clone(core),
        start,
        expedite,
        completed: false,
        asked: AtomicBool::new(false),
        ends: OnceLock::new(),
    };
    // The span has no parent: whichever caller started the flight, it belongs to all of them.
    let task = InSpan::new(task.run(then), || {
        let trigger = tracing::field::debug(trigger);
        tracing::info_span!(target: TARGET, parent: None, "token_refresh", sequence, trigger)
    });
    core.attach(sequence, sync::spawn(runtime, task));
}

impl RefreshTask {
    async fn run(mut self, then: impl FnOnce(&Arc<Core>)) {
        let core = Arc::clone(&self.core);
        let sequence = self.start.sequence;
        // The endpoint and the credentials source are a user's code. A panic of theirs is caught
        // here, because a task that completes its flight while it unwinds would abort the process
        // if a subscriber panicked too.
        let done = AssertUnwindSafe(self.work()).catch_unwind().await;
        self.completed = true;
        match done {
            Ok(Done::Unchanged(error)) => core.complete_unchanged(sequence, error),
            Ok(Done::CalledOff) => core.call_off(sequence),
            Ok(Done::Refreshed(refreshed)) => complete(&core, sequence, refreshed).await,
            Err(panic) => {
                isolate(|| drop(panic));
                core.complete(sequence, &Completion::interrupted(true, self.fate()));
            }
        }
        then(&core);
    }

    /// Waits for `work` after the hold has timed out, and lets a request try the token in use now
    /// and then if that was refused meanwhile.
    pub(super) async fn with_trials<T>(&self, mut work: impl Future<Output = T> + Unpin) -> T {
        loop {
            // Twice per attempt, so that no trial is seen late, and no later than the next one may
            // be if nothing is heard of one.
            let now = clock::now();
            let pause = (self.core.rules.policy.attempt_timeout / 2).min(TRY_ALONE_EVERY);
            let latest = clock::later(now, pause);
            let next = self.core.next_trial().filter(|next| now < *next);
            let next = next.map_or(latest, |next| next.min(latest));
            match timeout_at(next, &mut work).await {
                Ok(done) => return done,
                Err(_) if self.core.is_withheld() => self.core.release_trial(),
                Err(_) => {}
            }
        }
    }

    /// Returns what may have become of the request for a token, if the task dies now.
    fn fate(&self) -> Fate {
        if self.asked.load(Ordering::Relaxed) { Fate::Unknown } else { Fate::NotIssued }
    }

    async fn work(&self) -> Done {
        if let Some(error) = self.unchanged_credentials().await {
            return Done::Unchanged(error);
        }
        match &self.core.fleet {
            Some(fleet) => self.work_in_fleet(fleet).await,
            None => Done::Refreshed(self.ask(self.start.sequence).await),
        }
    }

    /// Asks the endpoint for the token `token_sequence`, once the requests are done that its
    /// predecessor would die under. Other processes are told nothing.
    pub(super) async fn ask(&self, token_sequence: u64) -> Refreshed {
        let core = &*self.core;
        let held = self.drain().await;
        if !core.asking(self.start.sequence) {
            // The token is served again, and would die of the request.
            return Refreshed::failed(interrupted(false));
        }
        self.asked.store(true, Ordering::Relaxed);
        let attempts =
            self.attempts(token_sequence, held.as_ref().map(|held| held.token.clone()), None);
        let Some(held) = held else { return Refreshed::by(attempts.run().await, None) };
        let mut attempts = pin!(attempts.run());
        let hold_timeout = core.rules.policy.hold_timeout;
        if let Ok(result) = timeout(hold_timeout, &mut attempts).await {
            return Refreshed::by(result, Some(held.since));
        }
        // The endpoint takes long. Nobody is held any longer, and its response is awaited all the
        // same.
        core.time_out_hold(self.start.sequence);
        core.tally.longest_hold.record(clock::now().saturating_duration_since(held.since));
        if let Ok(result) = timeout(SILENCE, &mut attempts).await {
            return Refreshed::by(result, None);
        }
        core.follow(self.start.sequence);
        Refreshed::by(self.with_trials(attempts).await, None)
    }

    /// Returns the attempts of this flight at the token `token_sequence`, which begin now. `held`
    /// is the token that callers are held back from. The `permit` is confirmed before each further
    /// attempt.
    pub(super) fn attempts<'a>(
        &'a self,
        token_sequence: u64,
        held: Option<AccessToken>,
        permit: Option<&'a dyn Permit>,
    ) -> Attempts<'a> {
        let core = &*self.core;
        let fallback = held.or_else(|| core.refused_token());
        let falls_back = move || {
            let is_usable = fallback.as_ref().is_some_and(AccessToken::is_usable);
            core.attempt_failed() && is_usable
        };
        Attempts {
            endpoint: &*core.endpoint,
            policy: &core.rules.policy,
            scheme: &core.scheme,
            sequence: self.start.sequence,
            token_sequence,
            tally: &core.tally,
            is_failing: core.is_failing(),
            falls_back: Box::new(falls_back),
            previous: core.previous(self.start.trigger),
            permit,
            deadline: *self
                .ends
                .get_or_init(|| clock::later(clock::now(), core.rules.policy.deadline)),
        }
    }

    /// Returns the stored error if this flight is a probe and the credentials are as they were.
    async fn unchanged_credentials(&self) -> Option<AuthError> {
        let core = &*self.core;
        let error = core.stored_error().filter(|_| self.start.trigger == Trigger::Probe)?;
        let check = core.endpoint.credentials_changed();
        let changed = timeout(core.rules.policy.attempt_timeout, check).await.unwrap_or(false);
        (!changed).then_some(error)
    }

    /// Waits until no request is in flight with a token that is about to die. Returns which token
    /// is held since when; `None` if nothing has to be held.
    async fn drain(&self) -> Option<Held> {
        let core = &*self.core;
        let sequence = self.start.sequence;
        if !core.rules.holds() {
            return None;
        }
        let plan = core.drain_plan(sequence)?;
        if self.start.trigger == Trigger::Due {
            self.wait_until_idle(&plan).await;
        }
        let in_flight = core.hold(sequence)?;
        let since = clock::now();
        let drained = async {
            for generation in in_flight {
                let _ = generation.await;
            }
        };
        let timed_out = timeout(plan.drain, self.or_over(drained)).await.is_err();
        core.end_drain(sequence, timed_out.then_some(plan.drain));
        core.tally.longest_drain.record(clock::now().saturating_duration_since(since));
        Some(Held { token: plan.token, since })
    }

    /// Waits for a moment without a request in flight until the end of the window, or until the
    /// flight is expedited.
    async fn wait_until_idle(&self, plan: &DrainPlan) {
        let window = plan.hold.saturating_duration_since(clock::now());
        let step = window / CHECKS;
        while clock::now() < plan.hold && !self.core.hold_if_idle(self.start.sequence) {
            // The steps are uneven, because even ones may keep time with periodic traffic, and then
            // each finds a request in flight.
            let uneven = step.mul_f64(0.5 + fastrand::f64()).max(Duration::from_millis(1));
            let next = clock::later(clock::now(), uneven).min(plan.hold);
            if timeout_at(next, self.expedite.notified()).await.is_ok() {
                return;
            }
        }
    }

    /// Waits for `drained`, or until the token is taken for dead, so that nothing is left to
    /// protect.
    pub(super) async fn or_over(&self, drained: impl Future<Output = ()>) {
        let over = async {
            while !self.core.is_drain_over() {
                self.expedite.notified().await;
            }
        };
        futures_util::future::select(pin!(drained), pin!(over)).await;
    }
}

impl Completion {
    /// The end of a flight that died.
    fn interrupted(panicked: bool, fate: Fate) -> Self {
        let arrival = Arrival::default();
        Self { result: Err(interrupted(panicked)), fate, panicked, arrival }
    }
}

impl Refreshed {
    /// The result of the attempts of this process.
    pub(super) fn by(result: RefreshResult, held: Option<Instant>) -> Self {
        Self { result, held, arrival: Arrival::default(), lease: None }
    }

    /// The error of a flight that did not ask the endpoint.
    pub(super) fn failed(error: AuthError) -> Self {
        let result = RefreshResult { result: Err(error), fate: Fate::NotIssued, issued_to: None };
        Self::by(result, None)
    }
}

/// Completes the flight, and gives back its lease.
async fn complete(core: &Arc<Core>, sequence: u64, refreshed: Refreshed) {
    let Refreshed { result: RefreshResult { result, fate, .. }, held, arrival, lease } = refreshed;
    let completion = Completion { result, fate, panicked: false, arrival };
    core.complete(sequence, &completion);
    if let Some(since) = held {
        core.tally.longest_hold.record(clock::now().saturating_duration_since(since));
    }
    if let (Some(lease), Err(error)) = (lease, &completion.result) {
        lease.leave(core, fate, error).await;
    }
}

impl Drop for RefreshTask {
    fn drop(&mut self) {
        if !self.completed {
            let completion = Completion::interrupted(false, self.fate());
            self.core.complete(self.start.sequence, &completion);
        }
    }
}

#[cfg(all(test, tower_reauth_loom))]
#[path = "loom_tests.rs"]
mod loom_tests;
