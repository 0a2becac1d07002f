//! [`Handle`]: what all clones of a [`TokenCache`](crate::TokenCache) share, and how a caller gets
//! a token from it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime, time::sleep_until};

use super::{
    core::{Acquired, Core},
    deferred::ToSpawn,
    lease::Lease,
    state::Requirement,
    task,
};
use crate::{clock, sync, token::AccessToken};

/// The last handle that goes stops the flight, because nobody is left to use its token. The tasks
/// of the cache hold the core and not the handle.
pub(crate) struct Handle {
    core: Arc<Core>,
    keep_warm: bool,
}

impl Handle {
    pub(super) fn new(core: Arc<Core>, keep_warm: bool) -> Self {
        Self { core, keep_warm }
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
        let runtime = runtime::Handle::try_current().ok();
        let (lease, to_spawn) = self.core.lease_slow(runtime.as_ref());
        spawn(&self.core, runtime, to_spawn, self.keep_warm);
        lease
    }

    /// Lets another request go first after a hold that timed out, because this one can't be sent
    /// yet.
    pub(crate) fn give_up_scouting(&self) {
        self.core.give_up_scouting();
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
    /// A caller that `can_scout` may go first with a token that may have died.
    pub(super) fn acquire(&self, requirement: &Requirement, can_scout: bool) -> Acquired {
        acquire(&self.core, requirement, can_scout, self.keep_warm)
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
    can_scout: bool,
    keep_warm: bool,
) -> Acquired {
    if let Requirement::Usable = requirement
        && let Some(lease) = core.slot.lease()
    {
        return Acquired::Token(lease.token.clone());
    }
    let runtime = runtime::Handle::try_current().ok();
    let (acquired, to_spawn) = core.acquire(requirement, can_scout, runtime.as_ref());
    spawn(core, runtime, to_spawn, keep_warm);
    acquired
}

/// Spawns a flight, if one is to be spawned. Once it has ended, renewals come without traffic if
/// that was asked for.
fn spawn(
    core: &Arc<Core>,
    runtime: Option<runtime::Handle>,
    to_spawn: Option<ToSpawn>,
    keep_warm: bool,
) {
    if let (Some(runtime), Some(to_spawn)) = (runtime, to_spawn) {
        let warm = runtime.clone();
        task::spawn(core, &runtime, to_spawn, move |core| {
            if keep_warm {
                let weak = Arc::downgrade(core);
                core.keep_warm(|| sync::spawn(&warm, self::keep_warm(weak)));
            }
        });
    }
}

/// Starts each renewal when it is due, until the last handle is gone.
async fn keep_warm(core: Weak<Core>) {
    loop {
        let Some(next) = core.upgrade().map(|core| core.next_renewal()) else { return };
        // Not sooner than a moment from now, because this is a loop.
        let soon = clock::later(clock::now(), Duration::from_millis(50));
        sleep_until(next.map_or(soon, |next| next.max(soon))).await;
        let Some(core) = core.upgrade() else { return };
        // Starts what is due. The task has no use for the token or the error.
        drop(acquire(&core, &Requirement::Usable, false, true));
    }
}

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
#[path = "handle_tests.rs"]
mod tests;
