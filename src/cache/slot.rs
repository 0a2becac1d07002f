//! What the read path sees: one pointer to the token that may be sent, and the leases that count its use.
//!
//! Each request holds a lease on the token it was signed with until its response head is there. The reference count
//! of that lease *is* the number of requests under way; nothing else is counted. When the last one is gone, the
//! receiver that came with it resolves.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt, future::Shared};
use tokio::time::Instant;

use crate::{
    clock,
    sync::{ArcSwapOption, AtomicU64, Counted, oneshot},
    token::AccessToken,
};

/// A token in use by one request, or more.
pub(crate) struct Lease {
    pub(crate) token: AccessToken,
    /// A resource has accepted the token on this lease.
    accepted: AtomicBool,
    /// Dropped with the last reference, which tells the receiver.
    _gone: oneshot::Sender<()>,
}

/// Resolves, with an error, when no request holds the lease any more; each renewal that waits has a clone of its own.
pub(crate) type Gone = Shared<oneshot::Receiver<()>>;

impl Lease {
    pub(crate) fn new(token: AccessToken) -> (Counted<Self>, Gone) {
        let (sender, gone) = oneshot::channel();
        (Counted::new(Self { token, accepted: AtomicBool::new(false), _gone: sender }), gone.shared())
    }

    /// A resource has accepted the token. Written once; after that, all cores only read it.
    pub(crate) fn accept(&self) {
        if !self.is_accepted() {
            self.accepted.store(true, Ordering::Relaxed);
            self.token.accept();
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// The pointer itself.
#[derive(Default)]
pub(crate) struct Slot {
    published: ArcSwapOption<Published>,
}

struct Published {
    lease: Counted<Lease>,
    /// Until then, a reader has no question.
    until: Instant,
    /// When somebody last looked whether the machine had slept, in nanoseconds before `until`.
    looked: AtomicU64,
}

/// A machine that slept is noticed by the first reader after so much time awake.
const LOOK_EVERY: u64 = 20_000_000;

impl Slot {
    /// The read path: one atomic load, one clock read, no lock. `None` is a question for the state.
    pub(crate) fn lease(&self) -> Option<Counted<Lease>> {
        let published = self.published.load();
        let published = published.as_ref()?;
        let left = published.until.checked_duration_since(clock::now())?;
        if left.is_zero() || published.is_past_a_sleep(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)) {
            return None;
        }
        Some(Counted::clone(&published.lease))
    }

    pub(crate) fn publish(&self, lease: &Counted<Lease>, until: Instant) {
        let published = Published { lease: Counted::clone(lease), until, looked: AtomicU64::new(u64::MAX) };
        self.published.store(Some(Counted::new(published)));
    }

    /// When this returns, no reader gets a lease any more, and those that were in the middle of it count already.
    pub(crate) fn withdraw(&self) {
        self.published.store(None);
    }
}

impl Published {
    fn is_past_a_sleep(&self, left: u64) -> bool {
        // Time runs backwards here: what is left becomes less.
        if self.looked.load(Ordering::Relaxed) <= left.saturating_add(LOOK_EVERY) {
            return false;
        }
        if !self.lease.token.is_usable() {
            return true;
        }
        self.looked.store(left, Ordering::Relaxed);
        false
    }
}
