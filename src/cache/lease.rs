//! [`Lease`]: one request's use of the token in use, and [`Generations`]: all uses of one token.
//!
//! Each request holds a lease on the token it was signed with until its response head arrives. The
//! reference count of the leases *is* the number of requests in flight. Nothing else is counted.
//! When the last reference is gone, the [`Drained`] that came with the leases resolves.

use std::sync::{self as std_sync, atomic::Ordering};

use futures_util::{FutureExt, future::Shared};
use http::HeaderValue;

use super::verdict::{Refusal, Verdict};
use crate::{
    clock,
    route::{ACCEPTED, Route},
    sync::{Arc, AtomicU64, Striped, fence, oneshot},
    token::AccessToken,
};

/// Whoever wants to know what resources say of a token.
pub(crate) trait OnResponse: Send + Sync {
    /// Handles a 401 to a request that was signed with a token, and decides what follows.
    fn refused(&self, refusal: &Refusal<'_>) -> Verdict;

    /// Handles a refusal for what stands beside the token.
    fn proof_refused(&self) {}

    /// Handles the first acceptance of `token` on a lease, or one by a route that is watched.
    fn accepted(&self, token: &AccessToken, route: Option<Route>);

    /// Takes in that the request that went first with `token` has told nothing of it.
    fn unheard(&self, _token: &AccessToken, _was_sent: bool) {}
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
    /// [`ACCEPTED`] once a response to a request that held this copy of the lease has accepted the
    /// token, and what [`Doubts::watched`](crate::refresh::doubt::Doubts::watched) returns.
    mark: std_sync::atomic::AtomicU64,
    pub(crate) token: AccessToken,
    /// The cache that issued the lease. Requests do not keep it alive, because nobody is left to
    /// act on a 401 once the cache is gone.
    on_response: std_sync::Weak<dyn OnResponse>,
    /// Dropped with the last reference to the last copy, which resolves the [`Drained`].
    in_use: Arc<oneshot::Sender<()>>,
    /// The lease is that of one request, which goes first.
    scout: Option<Scout>,
}

/// The part of a request that goes first with a token that may have died.
///
/// Dropped, it lets another one go, because all others wait to hear of the token. It lies in the
/// lease, so that no other request pays for it.
struct Scout {
    /// The lease of the others.
    of: Arc<Lease>,
    /// The cache has heard of the token, or that the request was not sent.
    was_heard: std_sync::atomic::AtomicBool,
}

/// The references to each copy of a lease beside those of requests: of the [`Generations`] and of
/// the slot.
const HOLDERS: usize = 2;

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
        watched: u64,
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
                mark: std_sync::atomic::AtomicU64::new(watched),
                in_use: Arc::clone(&sender),
                scout: None,
            })
        });
        (leases, drained.shared())
    }

    /// Creates the lease of a request that goes first with the token that the others have a lease
    /// `of`.
    pub(super) fn of_scout(of: &Arc<Self>) -> Arc<Self> {
        let was_heard = std_sync::atomic::AtomicBool::new(false);
        Arc::new(Self {
            token: of.token.clone(),
            header: of.token.copy_header(),
            fresh_until: AtomicU64::new(CLOSED),
            on_response: std_sync::Weak::clone(&of.on_response),
            mark: std_sync::atomic::AtomicU64::new(0),
            in_use: Arc::clone(&of.in_use),
            scout: Some(Scout { of: Arc::clone(of), was_heard }),
        })
    }

    /// Lets another request go first, because this one can't be sent yet.
    pub(crate) fn give_up(&self) {
        self.scout.iter().for_each(|scout| scout.give_up(false));
    }

    /// Returns whether the lease may be taken without asking the slot.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
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

    /// Reports that a resource refused the token. The request is no longer in flight.
    pub(crate) fn refuse(lease: Arc<Self>, refusal: &Refusal<'_>) -> Verdict {
        let on_response = lease.on_response.upgrade();
        lease.scout.iter().for_each(|scout| scout.was_heard.store(true, Ordering::Relaxed));
        drop(lease);
        on_response.map_or(Verdict::Return, |on_response| on_response.refused(refusal))
    }

    /// Returns whether the route of a request may be asked for. Not so for nearly all requests.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.mark.load(Ordering::Relaxed) != ACCEPTED
    }

    /// Reports that a resource refused what stands beside the token.
    pub(crate) fn refuse_proof(&self) {
        if let Some(on_response) = self.on_response.upgrade() {
            on_response.proof_refused();
        }
    }

    /// Records that a resource accepted the token. It is written once, and after that all cores
    /// only read it. Calls `route` only if the cache may have to hear of the acceptance.
    #[inline]
    pub(crate) fn accept(&self, route: impl FnOnce() -> Option<Route>) {
        if self.is_watched() {
            self.accept_slow(route());
        }
    }

    #[cold]
    fn accept_slow(&self, route: Option<Route>) {
        if let Some(scout) = &self.scout {
            scout.was_heard.store(true, Ordering::Relaxed);
            return scout.of.accept_slow(route);
        }
        let mark = self.mark.load(Ordering::Relaxed);
        let is_first = mark & ACCEPTED == 0;
        if is_first {
            self.mark.fetch_or(ACCEPTED, Ordering::Relaxed);
            self.token.accept();
        }
        let is_watched = route.is_some_and(|route| mark & route.bit() != 0);
        if (is_first || is_watched)
            && let Some(on_response) = self.on_response.upgrade()
        {
            on_response.accepted(&self.token, route);
        }
    }

    /// Sets the routes whose acceptances are reported.
    fn watch(&self, watched: u64) {
        self.mark.fetch_or(watched & !ACCEPTED, Ordering::Relaxed);
        self.mark.fetch_and(watched | ACCEPTED, Ordering::Relaxed);
    }
}

impl Scout {
    fn give_up(&self, was_sent: bool) {
        if !self.was_heard.swap(true, Ordering::Relaxed)
            && let Some(on_response) = self.of.on_response.upgrade()
        {
            on_response.unheard(&self.of.token, was_sent);
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.give_up(true);
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
    /// The bits of the routes whose acceptances are reported.
    watched: u64,
}

impl Generations {
    /// Creates the first generation of leases on `token`.
    pub(super) fn new(token: &AccessToken, on_response: &std_sync::Weak<dyn OnResponse>) -> Self {
        let (current, drained) = Lease::copies(token, 0, on_response);
        Self { current, drained, earlier: Vec::new(), watched: 0 }
    }

    /// Sets the [bits](Route::bit) of the routes whose acceptances are reported.
    pub(super) fn watch(&mut self, watched: u64) {
        if self.watched != watched {
            self.watched = watched;
            self.current.iter().for_each(|lease| lease.watch(watched));
        }
    }

    /// Returns whether requests are in flight, as far as can be told while others start and end.
    pub(super) fn has_requests(&self) -> bool {
        self.current.iter().any(|lease| Arc::strong_count(lease) > HOLDERS)
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
        self.current.iter().any(|lease| lease.mark.load(Ordering::Relaxed) & ACCEPTED != 0)
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
        let (leases, drained) = Lease::copies(&lease.token, self.watched, &lease.on_response);
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
