//! [`Slot`]: the read path's one pointer to the token that may be sent.
//!
//! Only the [core](super::core) writes to the slot, always under its lock. A service that has had a
//! lease takes it again without the slot, through its [`CachedLease`], while the lease is fresh.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Lease, Leases};
use crate::{
    clock::Deadline,
    sync::{Arc, ArcSwapOption, Weak, thread},
};

/// How long a lease may be reused without reading the clocks again. After a suspend of the machine,
/// each copy of the lease notices within this much awake time.
const FRESH: Duration = Duration::from_millis(20);

/// The pointer itself.
#[derive(Default)]
pub(crate) struct Slot {
    published: ArcSwapOption<Published>,
}

struct Published {
    leases: Leases,
    /// Before this, a reader need not ask the state.
    until: Deadline,
}

impl Slot {
    /// Returns this thread's copy of the lease. `None` means that the state has to be asked.
    ///
    /// Costs one load of an `ArcSwap` and one clock read, and a few more reads each time that the
    /// lease is [no longer fresh](FRESH). It takes no lock.
    pub(crate) fn lease(&self) -> Option<Arc<Lease>> {
        let published = self.published.load();
        let published = published.as_ref()?;
        let lease = published.leases.local();
        if !lease.is_fresh() {
            let until = published.until.ask_again(FRESH)?;
            if !lease.token.is_usable() {
                return None;
            }
            lease.freshen(until);
        }
        Some(Arc::clone(lease))
    }

    /// Shows `leases` to all readers until then.
    pub(super) fn publish(&self, leases: &Leases, until: Instant) {
        let published = Published { leases: leases.clone(), until: Deadline::new(until) };
        self.replace(Some(Arc::new(published)));
        leases.iter().for_each(|lease| lease.open());
    }

    /// Shows no lease. After this returns no reader can acquire a lease, and every reader that was
    /// acquiring one is already counted.
    pub(super) fn withdraw(&self) {
        self.replace(None);
    }

    fn replace(&self, published: Option<Arc<Published>>) {
        if let Some(old) = self.published.swap(published) {
            // First close, then drop the slot's references: an upgrade that succeeds after the
            // drop sees the mark.
            old.leases.iter().for_each(|lease| lease.close());
            drop(old);
        }
    }
}

/// The lease that a service took last.
///
/// While the lease is fresh, a request takes it from here and asks neither the slot nor the state.
/// The weak reference does not count as a use of the token.
#[derive(Default)]
pub(crate) struct CachedLease {
    lease: Weak<Lease>,
    /// The thread whose copy it is, because on another core another copy is nearer. 0 is none.
    thread: usize,
}

impl CachedLease {
    /// Returns the lease if it is fresh and this thread's copy.
    #[inline]
    pub(crate) fn lease(&self) -> Option<Arc<Lease>> {
        self.upgrade().filter(|lease| lease.is_fresh())
    }

    /// Returns the lease if it is this thread's copy, fresh or not.
    #[inline]
    pub(crate) fn upgrade(&self) -> Option<Arc<Lease>> {
        if self.thread != thread() {
            return None;
        }
        self.lease.upgrade()
    }

    /// Keeps `lease` from the second one on, because many a service is cloned for one call.
    pub(crate) fn keep(&mut self, lease: &Arc<Lease>) {
        let thread = thread();
        if self.thread == thread {
            self.lease = Arc::downgrade(lease);
        } else {
            *self = Self { thread, ..Self::default() };
        }
    }
}

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
#[path = "slot_tests.rs"]
mod tests;
