//! [`TokenCacheBuilder`].

use std::time::Duration;

use tokio::runtime;

use super::{TokenCache, handle::Tasks};
#[cfg(feature = "seal")]
use crate::store::{KeyRing, seal::Sealing};
use crate::{
    endpoint::TokenEndpoint,
    error::ConfigError,
    fleet::{Fleet, Naming, Sharing},
    refresh::RefreshPolicy,
    store::{Name, StoreDown, TokenStore},
    token::is_scheme,
};

/// The shortest lease that can be set. It has to outlast two operations of a store.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Builds a [`TokenCache`]. Returned by [`TokenCache::builder`], which has an example.
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build`"]
pub struct TokenCacheBuilder<E> {
    endpoint: E,
    scheme: Box<str>,
    policy: RefreshPolicy,
    tasks: Tasks,
    fleet: Option<Fleet>,
    sharing: Sharing,
}

impl<E: TokenEndpoint> TokenCacheBuilder<E> {
    pub(super) fn new(endpoint: E) -> Self {
        Self {
            endpoint,
            scheme: "Bearer".into(),
            policy: RefreshPolicy::default(),
            tasks: Tasks::default(),
            fleet: None,
            sharing: Sharing::default(),
        }
    }

    /// Sets the authentication scheme in front of the token (RFC 9110, section 11.1). An empty
    /// scheme sends the bare token. Defaults to `Bearer`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into().into();
        self
    }

    /// Sets when tokens are renewed, and the bounds of a refresh. Defaults to
    /// [`RefreshPolicy::default`].
    pub fn refresh_policy(mut self, policy: RefreshPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Renews tokens without traffic too, from the first token on until the last handle is dropped.
    ///
    /// The first request after a pause then need not wait for a token. The price is one request to
    /// the endpoint for each lifetime of a token. Defaults to `false`: an idle client asks for
    /// nothing.
    pub fn keep_warm(mut self, keep_warm: bool) -> Self {
        self.tasks.keep_warm = keep_warm;
        self
    }

    /// Names the Tokio runtime of all refreshes. Its timers must be enabled.
    ///
    /// Name one where callers come from several runtimes. In a server with a runtime for each
    /// core, a refresh would otherwise share its core with the handlers of one worker, and wait
    /// while one of them computes. With a named runtime, callers need none of their own.
    ///
    /// If the named runtime has shut down, or does not drive a refresh until that is overdue, the
    /// callers start the next one on their own. Defaults to the runtime of the caller that starts
    /// the refresh.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_reauth::{ConfigError, TokenCache, TokenEndpoint};
    /// # fn f(endpoint: impl TokenEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .enable_all()
    ///     .build()?;
    /// let cache = TokenCache::builder(endpoint).runtime(runtime.handle().clone()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, runtime: runtime::Handle) -> Self {
        self.tasks.runtime = Some(runtime);
        self
    }

    /// Shares the token with all processes that use the same client id, endpoint and `store`.
    ///
    /// They ask for one token together. The module [`store`](crate::store) tells which store is for
    /// whom, and what happens when it can't be used. The endpoint has to tell its
    /// [identity](TokenEndpoint::identity), as [`SendPayments`](crate::SendPayments) does.
    ///
    /// # Examples
    ///
    /// Two caches, which could be in two processes with another store:
    ///
    /// ```
    /// # use tower_reauth::{ConfigError, TokenEndpoint};
    /// use tower_reauth::{TokenCache, store::MemoryStore};
    ///
    /// # fn f(endpoint: impl TokenEndpoint + Clone) -> Result<(), ConfigError> {
    /// let store = MemoryStore::new();
    /// let one = TokenCache::builder(endpoint.clone()).shared(store.clone()).build()?;
    /// let other = TokenCache::builder(endpoint).shared(store).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared(self, store: impl TokenStore) -> Self {
        self.sharing(store, Naming::ByIdentity)
    }

    /// Shares the token with all processes that use the same `name` and `store`. For an endpoint
    /// that does not tell its identity. See [`shared`](Self::shared) for an example.
    pub fn shared_as(self, store: impl TokenStore, name: Name) -> Self {
        self.sharing(store, Naming::Given(name))
    }

    /// Keeps tokens that are [shared](Self::shared) under names of their own, for example those of
    /// tests apart from those of production. Defaults to an empty namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.sharing.namespace = namespace.into();
        self
    }

    /// Sets how long the right to ask for a token lasts without a sign of the process that has it.
    /// After that another process takes over. At least 100 ms, and the same for all processes.
    ///
    /// Defaults to a hundredth of the token's lifetime, within 1 and 5 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.sharing.lease = Some(lease);
        self
    }

    fn sharing(mut self, store: impl TokenStore, naming: Naming) -> Self {
        self.fleet = Some(Fleet::new(Box::new(store), naming));
        self
    }

    /// Sets what happens when the store can't be used. Defaults to [`StoreDown::Alone`].
    pub fn store_down(mut self, store_down: StoreDown) -> Self {
        self.sharing.store_down = store_down;
        self
    }

    /// Seals the shared token with a key of `ring` (AES-256-GCM), so that whoever reads the store
    /// does not have the token. All processes need the same keys.
    ///
    /// A token in the store that is not sealed, or sealed with another key, is refused: the store
    /// then counts as one that [can't be used](Self::store_down).
    #[cfg(feature = "seal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "seal")))]
    pub fn seal(mut self, ring: KeyRing) -> Self {
        self.sharing.sealing = Sealing::Keys(ring);
        self
    }

    /// Builds the cache. It makes no request.
    ///
    /// # Errors
    ///
    /// [`ConfigError::InvalidScheme`] if the scheme is not a token as in RFC 9110, section 5.6.2.
    /// [`ConfigError::InvalidPolicy`] if the policy contradicts itself.
    /// [`ConfigError::InvalidSetting`] for a store, if the endpoint's tokens are not
    /// [shareable](TokenEndpoint::is_shareable).
    pub fn build(self) -> Result<TokenCache, ConfigError> {
        if !is_scheme(&self.scheme) {
            return Err(ConfigError::InvalidScheme(self.scheme.into()));
        }
        self.policy.check()?;
        if self.sharing.lease.is_some_and(|lease| lease < SHORTEST_LEASE) {
            return Err(ConfigError::InvalidPolicy(
                "the lease is shorter than 100 ms; give a longer one",
            ));
        }
        if self.fleet.is_some() && !self.endpoint.is_shareable() {
            return Err(ConfigError::InvalidSetting {
                setting: "the store of the token".into(),
                reason: "the endpoint's tokens can't be shared by it alone; share what the \
                         endpoint keeps itself, such as its refresh token, and say so",
            });
        }
        let sharing = self.sharing;
        let fleet = self.fleet.map(|fleet| fleet.with(sharing));
        Ok(TokenCache::build(self.endpoint, self.scheme, self.policy, self.tasks, fleet))
    }
}
