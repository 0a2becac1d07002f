//! [`TokenCache`]: the shared handle to the token in use.
//!
//! - Reading a valid token takes no lock, no await and no allocation.
//! - Whoever finds none starts a refresh, or joins the one under way. It is a task of its own: no caller's
//!   cancellation stops it, and all of them share its result, be it a token or an error.
//! - Each token has a [sequence number](AccessToken::sequence). Invalidation names the token it means, so a late
//!   401 for an old token never costs the new one.
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
mod complete;
mod future;
mod invalidate;
mod slot;
mod state;
mod task;

use std::{fmt, sync::Arc};

use http::Uri;
use tokio::sync::watch;

pub use self::future::TokenFuture;
pub(crate) use self::{
    future::Wait,
    slot::{CachedLease, Lease},
    state::{Core, Requirement},
};
use crate::{
    endpoint::{DynEndpoint, Rotation, TokenEndpoint},
    error::ConfigError,
    events::Counters,
    origin::Origin,
    refresh::RefreshPolicy,
    token::AccessToken,
};

/// The shared handle to one client's token. Cloning it shares everything.
///
/// Make one per set of credentials and give clones of it to every [`AuthLayer`](crate::AuthLayer) that uses them:
/// two caches for the same credentials would kill each other's tokens at an exclusive endpoint.
///
/// It needs no Tokio runtime until a token is asked for; then a refresh is spawned on the caller's. A runtime
/// without its timer enabled can't run one.
///
/// In tests with Tokio's clock paused, tokens age by that clock if it was paused when they were issued
/// (`start_paused`). If it is paused later, readers may not see it advance until 20 ms of real time have passed.
///
/// See the [module](self) for an example.
#[derive(Clone)]
pub struct TokenCache(Arc<Handle>);

/// What all clones of a handle share, and the state's tasks don't: when it goes, the last handle has gone.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl TokenCache {
    /// For the tokens of `endpoint`, with the scheme `Bearer` and the default [`RefreshPolicy`].
    pub fn new(endpoint: impl TokenEndpoint) -> Self {
        Self::build(endpoint, "Bearer".into(), RefreshPolicy::default(), false)
    }

    /// For the tokens of `endpoint`, configured further.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::{RefreshPolicy, TokenCache};
    ///
    /// # fn f(endpoint: impl tower_reauth::TokenEndpoint) -> Result<(), tower_reauth::ConfigError> {
    /// let cache = TokenCache::builder(endpoint)
    ///     .scheme("Token")
    ///     .refresh_policy(RefreshPolicy::default().deadline(Duration::from_secs(10)))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder<E: TokenEndpoint>(endpoint: E) -> TokenCacheBuilder<E> {
        TokenCacheBuilder {
            endpoint,
            scheme: "Bearer".into(),
            policy: RefreshPolicy::default(),
            keep_warm: false,
        }
    }

    fn build(
        endpoint: impl TokenEndpoint,
        scheme: Box<str>,
        policy: RefreshPolicy,
        keep_warm: bool,
    ) -> Self {
        let (uri, rotation) = (endpoint.uri().cloned(), endpoint.rotation());
        let endpoint: Box<dyn DynEndpoint> = Box::new(endpoint);
        Self(Arc::new(Handle {
            core: Arc::new(Core::new(endpoint, uri, rotation, scheme, policy, keep_warm)),
        }))
    }

    /// A token that can be sent: the one in use, or the one that the refresh brings which this call starts or
    /// joins.
    ///
    /// # Errors
    ///
    /// The refresh failed; every caller that waited for it gets the same error. Its time is bounded by
    /// [`RefreshPolicy::drain_timeout`] and [`RefreshPolicy::deadline`] together.
    pub fn token(&self) -> TokenFuture {
        TokenFuture::new(self.clone(), Requirement::Usable)
    }

    /// The token in use, if it can be sent now; never waits, never starts anything. `None` while an exclusive
    /// endpoint is being asked for a new one.
    pub fn current(&self) -> Option<AccessToken> {
        self.core().current()
    }

    /// Says that a resource refused `token` (401). If it is still the newest one, it is served no more, and the
    /// next [`token`](Self::token) starts a refresh. Returns whether that was so.
    ///
    /// A token that is refused soon after it was issued, as the one before it, stays in use for a while that grows
    /// ([`RefreshPolicy::cooldown_base`]): asking for a new one each time would be a duel with another process that
    /// uses the same credentials, or a request to the endpoint per request to the resource.
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.core().refuse(token)
    }

    /// Asks for a new token whatever the state of the one in use, or joins the refresh that is under way.
    ///
    /// The old token is not thrown away before the new one is there. An overlapping endpoint's goes on being
    /// served meanwhile; an exclusive endpoint's, which the request kills, is held back until the answer is here,
    /// and served on if the refresh failed.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub fn refresh(&self) -> TokenFuture {
        TokenFuture::new(self.clone(), Requirement::Fresh)
    }

    /// Sees every new token, from the newest on; in between, some may be missed. It does not keep the cache alive.
    pub fn subscribe(&self) -> watch::Receiver<Option<AccessToken>> {
        self.core().changes.subscribe()
    }

    /// What this cache has done so far.
    pub fn counters(&self) -> Counters {
        self.core().tally.snapshot()
    }

    /// What a new token does to the one in use, as the endpoint says.
    pub fn rotation(&self) -> Rotation {
        self.core().rotation
    }

    /// Where tokens are asked for, as the endpoint says.
    pub fn endpoint_uri(&self) -> Option<&Uri> {
        self.core().uri.as_ref()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
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

/// Makes a [`TokenCache`]; see [`TokenCache::builder`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build`"]
pub struct TokenCacheBuilder<E> {
    endpoint: E,
    scheme: Box<str>,
    policy: RefreshPolicy,
    keep_warm: bool,
}

impl<E: TokenEndpoint> TokenCacheBuilder<E> {
    /// The authentication scheme in front of the token (RFC 9110, section 11.1); empty for the bare token.
    /// Defaults to `Bearer`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into().into();
        self
    }

    /// The bounds of a refresh. Defaults to [`RefreshPolicy::default`].
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether renewals come without traffic too, from the first token on until the last handle is dropped. It spares the
    /// first request after a quiet time the wait for a token, and costs one request to the endpoint per token's lifetime.
    /// Defaults to `false`: an idle client asks for nothing.
    pub fn keep_warm(mut self, keep_warm: bool) -> Self {
        self.keep_warm = keep_warm;
        self
    }

    /// The cache.
    ///
    /// # Errors
    ///
    /// The scheme is not a token in the sense of RFC 9110, or the policy can't work.
    pub fn build(self) -> Result<TokenCache, ConfigError> {
        if !self.scheme.bytes().all(is_token_character) {
            return Err(ConfigError::InvalidScheme(self.scheme.into()));
        }
        self.policy.check()?;
        Ok(TokenCache::build(self.endpoint, self.scheme, self.policy, self.keep_warm))
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
