//! What operators see: counters, read as [`Counters`].
//!
//! The signed path counts nothing: what all requests of all cores write to would cost more than signing them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what a [`TokenCache`](crate::TokenCache) has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Refreshes started, whatever became of them.
    pub refreshes: u64,
    /// Attempts at the token endpoint: each is one `POST` at most.
    pub token_requests: u64,
    /// Refreshes that brought a token.
    pub tokens_issued: u64,
    /// Refreshes that ended with an error.
    pub refreshes_failed: u64,
    /// Callers that joined a refresh which another one had started.
    pub joined: u64,
    /// Requests of ours that a resource answered 401, first attempts and replays alike.
    pub unauthorized: u64,
    /// Requests sent a second time, with a newer token.
    pub replays: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) refreshes: AtomicU64,
    pub(crate) token_requests: AtomicU64,
    pub(crate) tokens_issued: AtomicU64,
    pub(crate) refreshes_failed: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
    pub(crate) replays: AtomicU64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            refreshes: read(&self.refreshes),
            token_requests: read(&self.token_requests),
            tokens_issued: read(&self.tokens_issued),
            refreshes_failed: read(&self.refreshes_failed),
            joined: read(&self.joined),
            unauthorized: read(&self.unauthorized),
            replays: read(&self.replays),
        }
    }
}
