//! What the read path sees: one pointer to the token that may be sent, and the leases that count its use.
//!
//! Each request holds a lease on the token it was signed with until its response head is there. The reference count
//! of that lease *is* the number of requests under way; nothing else is counted. When the last one is gone, the
//! receiver that came with it resolves.

use std::sync::{
    Weak,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::Shared};
use http::HeaderValue;
use tokio::time::Instant;

use super::state::Core;
use crate::{
    clock::Deadline,
    stripe::Striped,
    sync::{ArcSwapOption, AtomicU64, Counted, oneshot},
    token::AccessToken,
};

/// A token in use by one request, or more. Aligned so that its count shares no cache line with anything else, and in this order
/// so that what each request needs of it is in one line.
#[repr(C, align(128))]
pub(crate) struct Lease {
    /// The token's header with bytes of its own, so that cloning it writes to no other core's count.
    pub(crate) header: HeaderValue,
    /// A resource has accepted the token on this lease.
    accepted: AtomicBool,
    pub(crate) token: AccessToken,
    /// Whose token it is, for a 401. Not kept alive by its requests: what a cache that is gone would do about it is
    /// nothing.
    core: Weak<Core>,
    /// Dropped with the last reference to the last of the copies, which tells the receiver.
    _gone: Counted<oneshot::Sender<()>>,
}

/// A lease on one token, with a copy of it for each core. Their reference counts together are the number of requests
/// under way.
pub(crate) type Leases = Striped<Counted<Lease>>;

/// Resolves, with an error, when no request holds the lease any more; each renewal that waits has a clone of its own.
pub(crate) type Gone = Shared<oneshot::Receiver<()>>;

impl Lease {
    pub(crate) fn new(token: &AccessToken, core: &Weak<Core>) -> (Leases, Gone) {
        let (sender, gone) = oneshot::channel();
        let sender = Counted::new(sender);
        let leases = Striped::new(|| {
            Counted::new(Self {
                token: token.clone(),
                header: token.copy_header(),
                core: Weak::clone(core),
                accepted: AtomicBool::new(false),
                _gone: Counted::clone(&sender),
            })
        });
        (leases, gone.shared())
    }

    /// A resource has refused the token.
    pub(crate) fn refuse(&self) {
        if let Some(core) = self.core.upgrade() {
            core.refuse(&self.token);
        }
    }

    pub(crate) fn core(&self) -> &Weak<Core> {
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
        leases.iter().all(|lease| Counted::strong_count(lease) == 1)
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
    /// When somebody last looked whether the machine had slept, in nanoseconds before `until`.
    looked: AtomicU64,
}

/// A machine that slept is noticed by the first reader after so much time awake.
const LOOK_EVERY: u64 = 20_000_000;

impl Slot {
    /// The read path: one load of an `ArcSwap`, one clock read, no lock. `None` is a question for the state.
    #[inline]
    pub(crate) fn lease(&self) -> Option<Counted<Lease>> {
        let published = self.published.load();
        let published = published.as_ref()?;
        let left = published.until.left()?;
        if published.is_past_a_sleep(left) {
            return None;
        }
        Some(Counted::clone(published.leases.mine()))
    }

    pub(crate) fn publish(&self, leases: &Leases, until: Instant) {
        let published = Published {
            leases: leases.clone(),
            until: Deadline::new(until),
            looked: AtomicU64::new(u64::MAX),
        };
        self.published.store(Some(Counted::new(published)));
    }

    /// When this returns, no reader gets a lease any more, and those that were in the middle of it count already.
    pub(crate) fn withdraw(&self) {
        self.published.store(None);
    }
}

impl Published {
    #[inline]
    fn is_past_a_sleep(&self, left: u64) -> bool {
        // Time runs backwards here: what is left becomes less.
        if self.looked.load(Ordering::Relaxed) <= left.saturating_add(LOOK_EVERY) {
            return false;
        }
        if !self.leases.mine().token.is_usable() {
            return true;
        }
        self.looked.store(left, Ordering::Relaxed);
        false
    }
}
