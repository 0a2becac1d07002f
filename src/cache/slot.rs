//! What the read path sees: one pointer to the token that may be sent, and the leases that count its use. A service that has
//! had a lease gets it again without the pointer, as long as the lease itself says so.
//!
//! Each request holds a lease on the token it was signed with until its response head is there. The reference count
//! of that lease *is* the number of requests under way; nothing else is counted. When the last one is gone, the
//! receiver that came with it resolves.

use std::{
    sync::{
        self as std_sync,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use http::HeaderValue;
use tokio::time::Instant;

use super::state::Core;
use crate::{
    clock::{self, Deadline},
    sync::Striped,
    sync::{Arc, ArcSwapOption, AtomicU64, Weak, fence, oneshot, thread},
    token::AccessToken,
};

/// A token in use by one request, or more. Aligned so that its count shares no cache line with anything else, and in this order
/// so that what each request needs of it is in one line.
#[repr(C, align(128))]
pub(crate) struct Lease {
    /// The token's header with bytes of its own, so that cloning it writes to no other core's count.
    pub(crate) header: HeaderValue,
    /// Until when, by the coarse clock, it may be had without a look at the clocks and at the slot; or [`CLOSED`].
    fresh_until: AtomicU64,
    /// A resource has accepted the token on this lease.
    accepted: AtomicBool,
    pub(crate) token: AccessToken,
    /// Whose token it is, for a 401. Not kept alive by its requests: what a cache that is gone would do about it is
    /// nothing.
    core: std_sync::Weak<Core>,
    /// Dropped with the last reference to the last of the copies, which tells the receiver.
    _gone: Arc<oneshot::Sender<()>>,
}

/// Not in the slot, and never fresh.
const CLOSED: u64 = 0;

/// In the slot, and not fresh.
const OPEN: u64 = 1;

/// A machine that slept is noticed by the first reader of each copy after so much time awake.
const FRESH: Duration = Duration::from_millis(20);

/// A lease on one token, with a copy of it for each core. Their reference counts together are the number of requests
/// under way.
pub(crate) type Leases = Striped<Arc<Lease>>;

/// Resolves, with an error, when no request holds the lease any more; each renewal that waits has a clone of its own.
pub(crate) type Drained = Shared<oneshot::Receiver<()>>;

impl Lease {
    pub(crate) fn new(token: &AccessToken, core: &std_sync::Weak<Core>) -> (Leases, Drained) {
        let (sender, gone) = oneshot::channel();
        let sender = Arc::new(sender);
        let leases = Striped::new(|| {
            Arc::new(Self {
                token: token.clone(),
                header: token.copy_header(),
                fresh_until: AtomicU64::new(CLOSED),
                core: std_sync::Weak::clone(core),
                accepted: AtomicBool::new(false),
                _gone: Arc::clone(&sender),
            })
        });
        (leases, gone.shared())
    }

    #[inline]
    fn is_fresh(&self) -> bool {
        // Whoever took a count after the slot had given up its own knows of `close`, which came before that.
        fence(Ordering::Acquire);
        clock::coarse() < self.fresh_until.load(Ordering::Relaxed)
    }

    fn freshen(&self, until: u64) {
        let unless_closed = |old| (old != CLOSED).then_some(until.max(OPEN));
        let _ = self.fresh_until.fetch_update(Ordering::Release, Ordering::Relaxed, unless_closed);
    }

    fn open(&self) {
        self.fresh_until.store(OPEN, Ordering::Relaxed);
    }

    /// While the slot still counts as a user: whoever counts only after that sees it, and is none.
    fn close(&self) {
        // Relaxed would do; but to loom, only what happens before it is older.
        self.fresh_until.swap(CLOSED, Ordering::Acquire);
    }

    /// A resource has refused the token.
    pub(crate) fn refuse(&self) {
        if let Some(core) = self.core.upgrade() {
            core.refuse(&self.token);
        }
    }

    pub(crate) fn core(&self) -> &std_sync::Weak<Core> {
        &self.core
    }

    /// A resource has accepted the token. Written once; after that, all cores only read it.
    #[inline]
    pub(crate) fn accept(&self) {
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
            self.token.accept();
        }
    }

    pub(crate) fn is_accepted(leases: &Leases) -> bool {
        leases.iter().any(|lease| lease.accepted.load(Ordering::Relaxed))
    }

    /// Whether the caller's are the only references.
    pub(crate) fn is_unused(leases: &Leases) -> bool {
        leases.iter().all(|lease| Arc::strong_count(lease) == 1)
    }
}

/// The pointer itself.
#[derive(Default)]
pub(crate) struct Slot {
    published: ArcSwapOption<Published>,
}

struct Published {
    leases: Leases,
    /// Until then, a reader has no question.
    until: Deadline,
}

impl Slot {
    /// One load of an `ArcSwap`, one look at a clock or (each time that the lease is not [fresh](FRESH) any more) a few, no lock. `None`
    /// is a question for the state.
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

    pub(crate) fn publish(&self, leases: &Leases, until: Instant) {
        let published = Published { leases: leases.clone(), until: Deadline::new(until) };
        self.replace(Some(Arc::new(published)));
        leases.iter().for_each(|lease| lease.open());
    }

    /// When this returns, no reader gets a lease any more, and those that were in the middle of it count already.
    pub(crate) fn withdraw(&self) {
        self.replace(None);
    }

    fn replace(&self, published: Option<Arc<Published>>) {
        if let Some(old) = self.published.swap(published) {
            old.leases.iter().for_each(|lease| lease.close());
            drop(old);
        }
    }
}

/// The lease that a service has taken last. As long as it is fresh, nobody else need be asked: a request then costs the slot
/// and the state nothing. It does not count as a use of the token.
#[derive(Default)]
pub(crate) struct CachedLease {
    lease: Weak<Lease>,
    /// Elsewhere, another copy is nearer. 0 is none.
    thread: usize,
}

impl CachedLease {
    #[inline]
    pub(crate) fn lease(&self) -> Option<Arc<Lease>> {
        if self.thread != thread() {
            return None;
        }
        self.lease.upgrade().filter(|lease| lease.is_fresh())
    }

    /// Kept from the second one on, because many a service is cloned for one call.
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
