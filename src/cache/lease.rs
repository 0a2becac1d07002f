//! [`Lease`]: one request's use of the token in use, and [`Generations`]: all uses of one token.
//!
//! Each request holds a lease on the token it was signed with until its response head arrives. The
//! reference count of the leases *is* the number of requests in flight. Nothing else is counted.
//! When the last reference is gone, the [`Drained`] that came with the leases resolves.

use std::sync::{
    self as std_sync,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::Shared};
use http::HeaderValue;

use crate::{
    clock,
    sync::{Arc, AtomicU64, Striped, fence, oneshot},
    token::AccessToken,
};

/// Whoever wants to know what resources say of a token.
pub(crate) trait OnResponse: Send + Sync {
    /// Handles a 401 to a request that was signed with `token`.
    fn refused(&self, token: &AccessToken);

    /// Handles a refusal for what stands beside the token.
    fn proof_refused(&self) {}

    /// Handles the first acceptance of `token` on a lease.
    fn accepted(&self, token: &AccessToken);
}

/// A token in use by one request or more.
///
/// Aligned so that its reference count shares no cache line with anything else, and ordered so that
/// everything that a request needs of it lies in one line.
#[repr(C, align(128))]
pub(crate) struct Lease {
    /// The token's header with bytes of its own, so that cloning it writes to no other core's
    /// reference count.
    pub(crate) header: HeaderValue,
    /// The end of the freshness by the coarse clock: before it, a service may take the lease
    /// without asking the slot. Otherwise [`CLOSED`] or [`OPEN`].
    fresh_until: AtomicU64,
    /// A response to a request that held this copy of the lease has accepted the token.
    accepted: AtomicBool,
    pub(crate) token: AccessToken,
    /// The cache that issued the lease. Requests do not keep it alive, because nobody is left to
    /// act on a 401 once the cache is gone.
    on_response: std_sync::Weak<dyn OnResponse>,
    /// Dropped with the last reference to the last copy, which resolves the [`Drained`].
    _in_use: Arc<oneshot::Sender<()>>,
}

/// No reader can freshen the lease until [`Slot::publish`](super::slot::Slot::publish) opens it.
const CLOSED: u64 = 0;

/// The lease is in the slot and is not fresh.
const OPEN: u64 = 1;

/// The copies of one lease, of which each thread always takes the same one. Their reference counts
/// together are the number of requests in flight.
pub(crate) type Leases = Striped<Arc<Lease>>;

/// Resolves, with an error, when nobody holds the leases any longer. Each renewal that waits has a
/// clone of its own.
pub(crate) type Drained = Shared<oneshot::Receiver<()>>;

impl Lease {
    pub(super) fn copies(
        token: &AccessToken,
        on_response: &std_sync::Weak<dyn OnResponse>,
    ) -> (Leases, Drained) {
        let (sender, drained) = oneshot::channel();
        let sender = Arc::new(sender);
        let leases = Striped::new(|| {
            Arc::new(Self {
                token: token.clone(),
                header: token.copy_header(),
                fresh_until: AtomicU64::new(CLOSED),
                on_response: std_sync::Weak::clone(on_response),
                accepted: AtomicBool::new(false),
                _in_use: Arc::clone(&sender),
            })
        });
        (leases, drained.shared())
    }

    /// Returns whether the lease may be taken without asking the slot.
    #[inline]
    pub(super) fn is_fresh(&self) -> bool {
        // Pairs with the `Release` decrement when the slot drops its references. Whoever took a
        // reference after that decrement also sees the `close` that came before it.
        fence(Ordering::Acquire);
        clock::coarse() < self.fresh_until.load(Ordering::Relaxed)
    }

    /// Lets services take the lease without asking the slot until then, unless it is closed.
    pub(super) fn freshen(&self, until: u64) {
        let unless_closed = |old| (old != CLOSED).then_some(until.max(OPEN));
        let _ = self.fresh_until.fetch_update(Ordering::Release, Ordering::Relaxed, unless_closed);
    }

    /// Lets readers of the slot freshen the lease.
    pub(super) fn open(&self) {
        self.fresh_until.store(OPEN, Ordering::Relaxed);
    }

    /// Ends the freshness until the lease is opened again. Called while the slot still holds its
    /// references, so that whoever takes a reference after those are dropped sees the mark.
    pub(super) fn close(&self) {
        // `Relaxed` would do in C++'s model. Loom orders a store only by what happens before it,
        // so this swap acquires what `freshen` has released.
        self.fresh_until.swap(CLOSED, Ordering::Acquire);
    }

    /// Reports that a resource refused the token.
    pub(crate) fn refuse(&self) {
        if let Some(on_response) = self.on_response.upgrade() {
            on_response.refused(&self.token);
        }
    }

    /// Reports that a resource refused what stands beside the token.
    pub(crate) fn refuse_proof(&self) {
        if let Some(on_response) = self.on_response.upgrade() {
            on_response.proof_refused();
        }
    }

    /// Records that a resource accepted the token. It is written once, and after that all cores
    /// only read it.
    #[inline]
    pub(crate) fn accept(&self) {
        if !self.accepted.load(Ordering::Relaxed) {
            self.accept_slow();
        }
    }

    #[cold]
    fn accept_slow(&self) {
        self.accepted.store(true, Ordering::Relaxed);
        self.token.accept();
        if let Some(on_response) = self.on_response.upgrade() {
            on_response.accepted(&self.token);
        }
    }
}

/// All leases on the token in use, by generation.
///
/// A renewal that could not wait for every request, and failed, leaves requests behind. They hold
/// leases of an earlier generation, and the next renewal waits for those as well.
pub(super) struct Generations {
    current: Leases,
    /// Resolves when the current generation is held by nobody, not even here.
    drained: Drained,
    earlier: Vec<Drained>,
}

impl Generations {
    /// Creates the first generation of leases on `token`.
    pub(super) fn new(token: &AccessToken, on_response: &std_sync::Weak<dyn OnResponse>) -> Self {
        let (current, drained) = Lease::copies(token, on_response);
        Self { current, drained, earlier: Vec::new() }
    }

    pub(super) fn current(&self) -> &Leases {
        &self.current
    }

    /// Returns the leases of the current generation, to be dropped outside of the lock.
    pub(super) fn into_current(self) -> Leases {
        self.current
    }

    /// Returns whether a resource accepted the token on a lease of the current generation.
    pub(super) fn is_accepted(&self) -> bool {
        self.current.iter().any(|lease| lease.accepted.load(Ordering::Relaxed))
    }

    /// Returns whether no request is in flight. That lasts only while the slot is withdrawn.
    pub(super) fn is_idle(&self) -> bool {
        self.current.iter().all(|lease| Arc::strong_count(lease) == 1)
            && self.earlier.iter().all(is_over)
    }

    /// Starts a new generation. Returns the leases of the old one, which the caller drops outside
    /// of the lock.
    pub(super) fn advance(&mut self) -> Leases {
        let lease = self.current.local();
        let (leases, drained) = Lease::copies(&lease.token, &lease.on_response);
        let old = std::mem::replace(&mut self.current, leases);
        self.earlier.retain(|drained| !is_over(drained));
        self.earlier.push(std::mem::replace(&mut self.drained, drained));
        old
    }

    /// Returns futures that resolve when all requests of earlier generations have finished.
    ///
    /// They stay here too, because a renewal may stop waiting and fail.
    pub(super) fn earlier(&self) -> Vec<Drained> {
        self.earlier.clone()
    }
}

fn is_over(drained: &Drained) -> bool {
    drained.clone().now_or_never().is_some()
}
