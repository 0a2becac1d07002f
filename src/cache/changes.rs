//! [`TokenUpdates`]: a subscription to new tokens.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use crate::{
    sync::{Mutex, MutexGuard, Place, WakeList},
    token::AccessToken,
};

/// The newest token, and the subscribers to it.
#[derive(Default)]
pub(super) struct Changes(Arc<Mutex<Announced>>);

#[derive(Default)]
struct Announced {
    newest: Option<AccessToken>,
    /// The last handle of the cache is gone.
    closed: bool,
    waiting: WakeList,
}

impl Changes {
    pub(super) fn subscribe(&self) -> TokenUpdates {
        TokenUpdates { announced: Arc::clone(&self.0), seen: 0, place: None }
    }

    /// Shows `token` to the subscribers, unless they have seen a newer one.
    pub(super) fn announce(&self, token: AccessToken) {
        let mut announced = lock(&self.0);
        let newest = announced.newest.as_ref().map_or(0, AccessToken::sequence);
        if token.sequence() <= newest {
            return;
        }
        announced.newest = Some(token);
        let waiting = announced.waiting.take();
        drop(announced);
        waiting.wake_all();
    }

    /// Ends all subscriptions.
    pub(super) fn close(&self) {
        let mut announced = lock(&self.0);
        announced.closed = true;
        let waiting = announced.waiting.take();
        drop(announced);
        waiting.wake_all();
    }
}

fn lock(announced: &Mutex<Announced>) -> MutexGuard<'_, Announced> {
    // Every change under this lock is one assignment, so a panic leaves nothing half-changed.
    announced.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A subscription to the new tokens of a [`TokenCache`](crate::TokenCache). Returned by
/// [`TokenCache::subscribe`](crate::TokenCache::subscribe).
///
/// It does not keep the cache alive, and starts no refresh.
///
/// # Examples
///
/// Hands each new token to something that can't be a Tower service:
///
/// ```
/// # fn replace_header(_: &http::HeaderValue) {}
/// # async fn f(cache: tower_reauth::TokenCache) {
/// let mut updates = cache.subscribe();
/// while let Some(token) = updates.next().await {
///     replace_header(token.header_value());
/// }
/// # }
/// ```
pub struct TokenUpdates {
    announced: Arc<Mutex<Announced>>,
    /// The sequence number of the token that was returned last.
    seen: u64,
    place: Option<Place>,
}

impl TokenUpdates {
    /// Waits for a token that is newer than the one that was returned last, and returns it. The
    /// first call returns the newest token at once if there is one.
    ///
    /// Tokens that are replaced between two calls are skipped. Returns `None` when the last handle
    /// of the cache is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no token: the next call returns it.
    pub async fn next(&mut self) -> Option<AccessToken> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the newest token that was issued, whether or not it can still be sent.
    pub fn newest(&self) -> Option<AccessToken> {
        lock(&self.announced).newest.clone()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<AccessToken>> {
        // Cloned without the lock, because a waker's clone is foreign code.
        let waker = cx.waker().clone();
        let mut announced = lock(&self.announced);
        if let Some(token) = announced.newest.as_ref().filter(|it| it.sequence() > self.seen) {
            self.seen = token.sequence();
            return Poll::Ready(Some(token.clone()));
        }
        if announced.closed {
            return Poll::Ready(None);
        }
        let replaced = announced.waiting.enter(&mut self.place, waker);
        drop(announced);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for TokenUpdates {
    fn drop(&mut self) {
        let mut announced = lock(&self.announced);
        let waker = announced.waiting.leave(self.place);
        drop(announced);
        drop(waker);
    }
}

impl fmt::Debug for TokenUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenUpdates").field("seen", &self.seen).finish_non_exhaustive()
    }
}
