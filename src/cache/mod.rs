//! [`TokenCache`]: the shared handle to the token in use.
//!
//! - Reading a valid token takes no lock, no await and no allocation.
//! - A caller that finds no token starts a refresh, or joins the one in flight. The refresh is a
//!   task of its own: no caller's cancellation stops it. All callers share its result, token or
//!   error.
//! - Each token has a [sequence number](AccessToken::sequence). Invalidation names the token that
//!   it means, so a late 401 for an old token never costs the new one.
//! - No task and no timer runs while nobody needs a token, and none outlives the last handle.
//!
//! # Examples
//!
//! Without the layer, for whatever needs a token and isn't a Tower request:
//!
//! ```
//! # async fn send(_: &http::HeaderValue) -> http::StatusCode { http::StatusCode::OK }
//! # async fn f(cache: tower_reauth::TokenCache) -> Result<(), tower_reauth::AuthError> {
//! let token = cache.token().await?;
//! if send(token.header_value()).await == http::StatusCode::UNAUTHORIZED {
//!     cache.invalidate(&token);
//!     let newer = cache.token().await?;
//!     send(newer.header_value()).await;
//! }
//! # Ok(())
//! # }
//! ```

mod acquire;
mod background;
mod broadcast;
mod builder;
mod changes;
mod complete;
mod core;
mod deferred;
mod drain;
mod effect;
mod fleet;
mod flight;
mod future;
mod handle;
mod hold;
mod invalidate;
mod lease;
mod locked;
mod readiness;
mod report;
mod respond;
mod slot;
mod state;
mod task;
mod trial;
mod verdict;

use std::{fmt, sync::Arc};

use http::Uri;

use self::lease::OnResponse;
pub(crate) use self::{
    acquire::CanScout,
    future::{Granted, Wait},
    lease::Lease,
    slot::CachedLease,
    state::Requirement,
    verdict::{DoubtFuture, DoubtOutcome, Probe, Refusal, Verdict},
};
pub use self::{builder::TokenCacheBuilder, changes::TokenUpdates, future::TokenFuture};
use self::{
    core::Core,
    handle::{Handle, Tasks},
    state::Rules,
};
use crate::{
    endpoint::{DynEndpoint, Rotation, TokenEndpoint},
    events::{Counters, Tally},
    fleet::Fleet,
    origin::Origin,
    refresh::RefreshPolicy,
    sync,
    token::AccessToken,
};

/// The shared handle to one client's token. Cloning it shares everything.
///
/// Make one for each set of credentials, and give clones of it to every
/// [`AuthLayer`](crate::AuthLayer) that uses them. Two caches for the same credentials would kill
/// each other's tokens at an exclusive endpoint.
///
/// # Examples
///
/// ```
/// use tower_reauth::{TokenCache, endpoint};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_reauth::AuthError> {
/// // An endpoint for tests. `OAuth2` and `SendPayments` are two for APIs.
/// let cache = TokenCache::new(endpoint::fixed("a-token"));
/// assert_eq!(cache.token().await?.header_value(), "Bearer a-token");
/// # Ok(())
/// # }
/// ```
///
/// # Runtimes
///
/// A cache needs no Tokio runtime until a token is asked for. The refresh is then spawned on the
/// runtime of the caller that starts it, or on the one that was
/// [named](TokenCacheBuilder::runtime). Its timers must be enabled.
///
/// Callers may be on several runtimes, and may move from one to another. If the runtime of a
/// refresh shuts down, its waiters start another refresh on their own runtimes, or join it. If that
/// runtime lives on and is not driven, they do so when the refresh is overdue: after
/// [`RefreshPolicy::drain_timeout`] and twice [`RefreshPolicy::deadline`]. A waiter that is on no
/// runtime, or on one without timers, can't tell how late it is. It waits until the runtime of the
/// refresh is driven again, or shuts down.
///
/// # Tests
///
/// In tests with Tokio's clock paused, tokens age by that clock if it was paused when they were
/// issued (`start_paused`). If it is paused later, readers may not see it advance for 20 ms of real
/// time.
#[derive(Clone)]
pub struct TokenCache(Arc<Handle>);

impl TokenCache {
    /// Creates a cache for the tokens of `endpoint`, with the scheme `Bearer` and the default
    /// [`RefreshPolicy`].
    pub fn new(endpoint: impl TokenEndpoint) -> Self {
        Self::build(endpoint, "Bearer".into(), RefreshPolicy::default(), Tasks::default(), None)
    }

    /// Creates a builder of a cache for the tokens of `endpoint`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::{RefreshPolicy, TokenCache};
    ///
    /// # use tower_reauth::{ConfigError, TokenEndpoint};
    /// # fn f(endpoint: impl TokenEndpoint) -> Result<(), ConfigError> {
    /// let cache = TokenCache::builder(endpoint)
    ///     .scheme("Token")
    ///     .refresh_policy(RefreshPolicy::default().deadline(Duration::from_secs(10)))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder<E: TokenEndpoint>(endpoint: E) -> TokenCacheBuilder<E> {
        TokenCacheBuilder::new(endpoint)
    }

    fn build(
        endpoint: impl TokenEndpoint,
        scheme: Box<str>,
        policy: RefreshPolicy,
        tasks: Tasks,
        fleet: Option<Fleet>,
    ) -> Self {
        let uri = endpoint.uri().cloned();
        let origins = endpoint.api_origins().of(uri.as_ref());
        let rules = Rules { rotation: endpoint.rotation(), policy, shared: fleet.is_some() };
        let endpoint: Box<dyn DynEndpoint> = Box::new(endpoint);
        let core = Core::new(endpoint, (uri, origins), rules, scheme, fleet.map(Arc::new));
        Self(Arc::new(Handle::new(core, tasks)))
    }

    /// Returns a token that can be sent: the one in use, or the one that a refresh brings. The call
    /// starts that refresh, or joins the one in flight.
    ///
    /// # Errors
    ///
    /// The refresh failed, or an earlier one did and the endpoint is left alone for a while.
    /// Callers that waited for the same refresh get the same error, unless the old token can still
    /// be sent. They get the old token then. Without a Tokio runtime no refresh can start, which is
    /// an error of its own.
    ///
    /// The wait is bounded by [`RefreshPolicy::drain_timeout`] and [`RefreshPolicy::deadline`]
    /// together, on a runtime that is [driven](Self#runtimes).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the refresh goes on, and its token is kept.
    pub fn token(&self) -> TokenFuture {
        self.requiring(Requirement::Usable)
    }

    /// Returns the token in use if it can be sent now. It never waits and starts nothing.
    ///
    /// `None` while requests are held because an exclusive endpoint is asked for a new token. The
    /// hold lasts for [`RefreshPolicy::hold_timeout`] at most.
    pub fn current(&self) -> Option<AccessToken> {
        self.0.core().current()
    }

    /// Reports that a resource refused `token` with a 401 (RFC 9110, section 15.5.2). If it is
    /// still the newest token, it is no longer served, and the next [`token`](Self::token) starts a
    /// refresh. Returns whether that was so.
    ///
    /// Two tokens in a row that are refused early in their lifetime are replaced at once. The next
    /// ones stay in use for a while, which grows from [`RefreshPolicy::cooldown_base`]. Without
    /// that pause, two processes on the same credentials would kill each other's tokens in turn,
    /// and a resource that refuses every token would cost a request to the endpoint each time.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.0.core().invalidate(token)
    }

    /// Asks for a new token whatever the state of the one in use, or joins the refresh in flight.
    ///
    /// The old token is kept until the new one is there. An overlapping endpoint's token is served
    /// meanwhile. An exclusive endpoint's token dies with the request, so it is held back until the
    /// response arrives, for [`RefreshPolicy::hold_timeout`] at most. It is served on if the
    /// refresh failed.
    ///
    /// It ignores back-off and a `Retry-After` of the endpoint, at most once a second. A second
    /// call within that second gets the stored error.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token), but this call never returns the old token.
    pub fn refresh(&self) -> TokenFuture {
        self.requiring(Requirement::Fresh)
    }

    /// Returns a subscription to new tokens, which begins with the newest one.
    ///
    /// It does not keep the cache alive.
    pub fn subscribe(&self) -> TokenUpdates {
        self.0.core().changes.subscribe()
    }

    /// Returns what this cache has done since it was made.
    pub fn counters(&self) -> Counters {
        self.0.core().tally.snapshot()
    }

    /// Returns what a new token does to the one in use, as the endpoint says.
    pub fn rotation(&self) -> Rotation {
        self.0.core().rules.rotation
    }

    /// Returns where tokens are asked for, as the endpoint says.
    pub fn endpoint_uri(&self) -> Option<&Uri> {
        self.0.core().uri.as_ref()
    }

    /// Returns the origins that may see the tokens.
    pub(crate) fn api_origins(&self) -> Vec<Origin> {
        self.0.core().origins.clone()
    }

    /// Decides what a request does after its 401.
    pub(crate) fn refused(&self, refusal: &Refusal<'_>) -> Verdict {
        self.0.core().refused(refusal)
    }

    pub(crate) fn requiring(&self, requirement: Requirement) -> TokenFuture {
        TokenFuture::new(Arc::clone(&self.0), requirement)
    }

    /// Returns the token that a request can be signed with now, on lease until its response head
    /// arrives.
    pub(crate) fn lease(&self) -> Option<sync::Arc<Lease>> {
        self.0.lease()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.0.core().tally
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn downgrade(&self) -> WeakTokenCache {
        WeakTokenCache(Arc::downgrade(&self.0))
    }
}

/// A [`TokenCache`] for what may outlive it, and has no use for it then.
#[cfg(feature = "tonic")]
#[derive(Debug)]
pub(crate) struct WeakTokenCache(std::sync::Weak<Handle>);

#[cfg(feature = "tonic")]
impl WeakTokenCache {
    /// Returns the cache, or `None` if its last handle is gone.
    pub(crate) fn upgrade(&self) -> Option<TokenCache> {
        self.0.upgrade().map(TokenCache)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field(
                "endpoint",
                &self.endpoint_uri().and_then(Origin::of).map(|origin| origin.to_string()),
            )
            .field("rotation", &self.rotation())
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}
