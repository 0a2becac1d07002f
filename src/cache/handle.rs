//! [`Handle`]: what all clones of a [`TokenCache`](crate::TokenCache) share, and how a caller gets
//! a token from it.

use std::{
    future,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime, time::sleep_until};

use super::{
    acquire::CanScout,
    complete::{Arrival, Completion},
    core::{Acquired, Core},
    deferred::ToSpawn,
    flight::no_timers,
    lease::Lease,
    state::Requirement,
    task,
};
use crate::{
    clock,
    error::{AuthError, Fate},
    sync,
    token::AccessToken,
};

/// The last handle that goes stops the flight, because nobody is left to use its token. The tasks
/// of the cache hold the core and not the handle.
pub(crate) struct Handle {
    core: Arc<Core>,
    tasks: Tasks,
}

/// Where and how the tasks of the cache run.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    /// The runtime that was named for all of them. Otherwise it is that of the caller.
    pub(super) runtime: Option<runtime::Handle>,
    /// Tokens are renewed without traffic too.
    pub(super) keep_warm: bool,
    /// The runtimes that were found to have no timers. No refresh can run there. Tokio tells it by
    /// a panic alone, so each is asked once.
    without_timers: Arc<OnceLock<Mutex<Vec<runtime::Id>>>>,
}

/// How many runtimes without timers are remembered. Those that come after them are asked again.
const MAX_WITHOUT_TIMERS: usize = 64;

/// The runtime for a flight that a caller starts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum On {
    /// The runtime that was named. If none was, the caller's.
    #[default]
    NamedRuntime,
    /// The caller's. If it is on none, the one that was named.
    OwnRuntime,
}

impl Handle {
    pub(super) fn new(core: Arc<Core>, tasks: Tasks) -> Self {
        Self { core, tasks }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns the token that a request can be signed with now, on lease until its response head
    /// arrives.
    #[inline]
    pub(crate) fn lease(&self) -> Option<sync::Arc<Lease>> {
        self.core.slot.lease().or_else(|| self.lease_slow())
    }

    #[cold]
    fn lease_slow(&self) -> Option<sync::Arc<Lease>> {
        let runtime = self.tasks.runtime(On::NamedRuntime);
        let (lease, to_spawn) = self.core.lease_slow(runtime.as_ref());
        spawn(&self.core, runtime, to_spawn, &self.tasks);
        lease
    }

    /// Takes in a 401 after which the token could not be renewed, for this reason.
    pub(crate) fn not_renewed(&self, error: AuthError) {
        self.core.not_renewed(error);
    }

    /// Returns whether `token`, which a flight has just brought, can still be sent.
    ///
    /// Nearly always the token is the slot's, and asking the slot takes a fifth of the time.
    pub(crate) fn can_send(&self, token: &AccessToken) -> bool {
        self.core.serves(token) || token.is_usable()
    }

    /// Returns a token at once, or the flight to wait for: the one in progress, or one that this
    /// call starts.
    ///
    /// A caller that [can scout](CanScout) may go first with a token that may have died.
    pub(super) fn acquire(
        &self,
        requirement: &Requirement,
        can_scout: CanScout,
        on: On,
    ) -> Acquired {
        acquire(&self.core, requirement, can_scout, on, &self.tasks)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close();
    }
}

fn acquire(
    core: &Arc<Core>,
    requirement: &Requirement,
    can_scout: CanScout,
    on: On,
    tasks: &Tasks,
) -> Acquired {
    if let Requirement::Usable = requirement
        && let Some(lease) = core.slot.lease()
    {
        return Acquired::Token(lease.token.clone());
    }
    let runtime = tasks.runtime(on);
    let (acquired, to_spawn) = core.acquire(requirement, can_scout, runtime.as_ref());
    spawn(core, runtime, to_spawn, tasks);
    match acquired {
        // There is a runtime, which was found to be of no use.
        Acquired::Failed(error) if error.is_no_runtime() && own_runtime().is_some() => {
            Acquired::Failed(no_timers())
        }
        acquired => acquired,
    }
}

/// Spawns a flight, if one is to be spawned. Once it has ended, renewals come without traffic if
/// that was asked for.
fn spawn(
    core: &Arc<Core>,
    runtime: Option<runtime::Handle>,
    to_spawn: Option<ToSpawn>,
    tasks: &Tasks,
) {
    let (Some(runtime), Some(to_spawn)) = (runtime, to_spawn) else { return };
    // The waiters take the flight to be on the runtime that was named. Those on the runtime that
    // takes its place set an alarm for nothing.
    let runtime = tasks.instead_of(runtime);
    if !tasks.has_timers(&runtime) {
        let (result, fate) = (Err(no_timers()), Fate::NotIssued);
        let arrival = Arrival::default();
        let completion = Completion { result, fate, panicked: false, arrival };
        core.complete(to_spawn.start.sequence, &completion);
        return;
    }
    let (warm, tasks) = (runtime.clone(), tasks.clone());
    task::spawn(core, &runtime, to_spawn, move |core| {
        if tasks.keep_warm {
            let weak = Arc::downgrade(core);
            core.keep_warm(|| sync::spawn(&warm, keep_warm(weak, tasks)));
        }
    });
}

impl Tasks {
    /// Returns the runtime for a flight, if there is one on which a flight can run.
    fn runtime(&self, on: On) -> Option<runtime::Handle> {
        let own = || own_runtime().filter(|own| !self.is_known_without_timers(own));
        match on {
            On::NamedRuntime => self.runtime.clone().or_else(own),
            On::OwnRuntime => own().or_else(|| self.runtime.clone()),
        }
    }

    /// Returns the runtime for a flight that is to run on `runtime`. It is the caller's if
    /// `runtime` is the one that was named, and that one has shut down or no timers.
    fn instead_of(&self, runtime: runtime::Handle) -> runtime::Handle {
        let is_named = self.runtime.as_ref().is_some_and(|named| named.id() == runtime.id());
        if is_named && (self.is_known_without_timers(&runtime) || has_shut_down(&runtime)) {
            return own_runtime().unwrap_or(runtime);
        }
        runtime
    }

    /// Returns whether `runtime` has timers, and remembers if not.
    fn has_timers(&self, runtime: &runtime::Handle) -> bool {
        if self.is_known_without_timers(runtime) {
            return false;
        }
        let _runtime = runtime.enter();
        let has_timers = clock::has_timers();
        if !has_timers {
            let known = self.without_timers.get_or_init(Mutex::default);
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() < MAX_WITHOUT_TIMERS {
                known.push(runtime.id());
            }
        }
        has_timers
    }

    fn is_known_without_timers(&self, runtime: &runtime::Handle) -> bool {
        let Some(known) = self.without_timers.get() else { return false };
        known.lock().unwrap_or_else(PoisonError::into_inner).contains(&runtime.id())
    }
}

/// Returns the runtime that this is called on.
fn own_runtime() -> Option<runtime::Handle> {
    runtime::Handle::try_current().ok()
}

/// Returns whether `runtime` has shut down. Tokio tells it only of a task that is spawned there,
/// which has ended before it was ever polled.
fn has_shut_down(runtime: &runtime::Handle) -> bool {
    let probe = runtime.spawn(future::pending::<()>());
    let has_ended = probe.is_finished();
    probe.abort();
    has_ended
}

/// Starts each renewal when it is due, until the last handle is gone.
async fn keep_warm(core: Weak<Core>, tasks: Tasks) {
    loop {
        let Some(next) = core.upgrade().map(|core| core.next_renewal()) else { return };
        // Not sooner than a moment from now, because this is a loop.
        let soon = clock::later(clock::now(), Duration::from_millis(50));
        sleep_until(next.map_or(soon, |next| next.max(soon))).await;
        let Some(core) = core.upgrade() else { return };
        // Starts what is due. The task has no use for the token or the error.
        drop(acquire(&core, &Requirement::Usable, CanScout::No, On::NamedRuntime, &tasks));
    }
}

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
#[path = "handle_tests.rs"]
mod tests;
