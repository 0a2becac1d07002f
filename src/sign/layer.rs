//! [`AuthLayer`]: wraps a service so that its requests are signed.

use std::{fmt, marker::PhantomData, sync::Arc};

use http::{HeaderName, header};
use tower_layer::Layer;

use super::{
    classify::{Classify, Unauthorized},
    guard::{CrossOriginRequests, Guard},
    service::Auth,
    signer::{CallerAuthorization, Signer},
};
use crate::{
    cache::TokenCache,
    endpoint::{HttpService, OAuth2},
    error::ConfigError,
    refresh::RefreshPolicy,
    replay::{NoReplay, ReplayOnce},
};

/// Signs the requests to a `tower::Service<http::Request<B>>` with the token of a [`TokenCache`].
///
/// 1. A request that finds a valid token takes no lock, and costs one header. A request that finds
///    none waits for the refresh, which all of them share.
/// 2. A request that is answered 401 is sent again, if its body is `Clone`, or a
///    [`ReplayBody`](crate::replay::ReplayBody) within its cap: with the same token if that may be
///    good all the same ([below](#after-a-401)), and once with a newer one. A 401 says that the
///    request has not been applied (RFC 9110, section 15.5.2), so a replay is safe for a `POST`,
///    too. A gRPC call that was refused as unauthenticated before any message (`grpc-status: 16` in
///    the response's headers) counts as a 401. [`refusals`](Self::refusals) names other refusals.
/// 3. Only the [origins of the API](crate::TokenEndpoint::api_origins) (RFC 6454) see the token,
///    unless more are [allowed](Self::allow_origin). By default that is the token endpoint's own.
///    Requests to others are [refused](CrossOriginRequests::Refuse) by default, and never signed.
/// 4. A `Host` header that names another origin makes a request cross-origin. A request whose URI
///    has no host is signed, as in gRPC channels and with `hyper::client::conn`. Such a request
///    goes to the peer to which the inner service is connected, and whoever connected it is
///    trusted.
/// 5. A request is never sent unsigned where it should be signed. It is never handed to the inner
///    service with a token that has expired by then. Requests that queue in the inner service are
///    signed already, so make queues and rate limits outer layers.
///
/// Cloning is cheap, and the services of all clones share the cache. A setting applies to the
/// services that are made after it.
///
/// # Position in a stack
///
/// - Inner: layers for connections, and whatever sends (hyper, a channel).
/// - Outer: retries, and timeouts that count a replay as a part of its request.
/// - Outer: layers that follow redirects. As inner layers, they would take a token in a header of
///   your own naming to wherever a redirect points.
///
/// A request that waits for a token holds neither the readiness of the inner service nor a permit
/// of a limit there. The service is made ready again before the request is sent, and before a
/// replay. A request that waits after a 401 holds that response, whose body is not read. To bound
/// how many requests wait, make a limit an outer layer.
///
/// # After a 401
///
/// A renewal at an exclusive endpoint kills the token that all other requests use. So a 401 is
/// looked into first:
///
/// - A token younger than [`RefreshPolicy::propagation_delay`][delay] may not be known everywhere.
///   The request is sent again with it, up to five times within 2 seconds.
/// - A token that some resource has accepted is sent once more to the route that refused it: its
///   method, origin and path, without the ids in it. Other requests of that route wait for the
///   outcome, for 2 seconds at most. Only if the token is refused again is it renewed.
/// - A route that refuses the new token too is remembered, for 30 seconds to 10 minutes. Its 401s
///   are its callers', at once, and cost no token. Its first acceptance ends that.
///
/// With [`without_replay`](Self::without_replay), the first and the second are left out, because
/// the request can't be sent again. A young token then stays in use.
///
/// [delay]: crate::RefreshPolicy::propagation_delay
///
/// # Errors
///
/// The service returns [`Error::Auth`](crate::Error::Auth) if there is no token, or if the request
/// must not carry one, and [`Error::Inner`](crate::Error::Inner) if the inner service fails. A 401
/// that could not be replayed is a response, and no error. The layer itself never panics.
///
/// # Cancel safety
///
/// A request may be dropped at any time. A refresh that it has started goes on, and its token is
/// kept for the next request.
///
/// # Examples
///
/// Over hyper's client, with the built-in client for the token endpoint:
///
/// ```no_run
/// # #[cfg(feature = "client")]
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower::Layer;
/// use tower_reauth::{AuthLayer, Credentials, client};
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let auth = AuthLayer::send_payments("https://api.example.com", credentials)?;
/// let client = auth.layer(client::https()?);
///
/// let request = http::Request::get("https://api.example.com/accounts/1")
///     .body(Full::<Bytes>::default())?;
/// let response = client.send(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// With another header, one more origin, cross-origin requests passed on unsigned, and no replay:
///
/// ```
/// # fn f(cache: tower_reauth::TokenCache) -> Result<(), Box<dyn std::error::Error>> {
/// use http::HeaderName;
/// use tower_reauth::{AuthLayer, CrossOriginRequests};
///
/// let layer = AuthLayer::new(cache)
///     .header_name(HeaderName::from_static("x-access-token"))
///     .allow_origin("https://reports.example.com")?
///     .cross_origin_requests(CrossOriginRequests::PassUnsigned)
///     .without_replay();
/// # Ok(())
/// # }
/// ```
pub struct AuthLayer<R = ReplayOnce, C = Unauthorized> {
    signer: Arc<Signer>,
    replay: PhantomData<R>,
    classify: C,
}

impl AuthLayer {
    /// Creates a layer that signs with the tokens of `cache`, in the header `Authorization`. The
    /// scheme is the [cache's](crate::cache::TokenCacheBuilder::scheme), by default `Bearer` (RFC
    /// 6750, section 2.1).
    pub fn new(cache: TokenCache) -> Self {
        let guard = Guard::new(cache.endpoint_uri(), cache.api_origins());
        let signer = Signer {
            cache,
            guard,
            header: header::AUTHORIZATION,
            caller_authorization: CallerAuthorization::default(),
        };
        Self { signer: Arc::new(signer), replay: PhantomData, classify: Unauthorized }
    }

    /// Creates a layer that signs with the tokens of an OAuth 2 endpoint, which a cache of its own
    /// keeps. Requests to the [APIs](crate::endpoint::oauth2::OAuth2Builder::for_api) of the
    /// endpoint are signed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_reauth::{AuthLayer, Credentials, client, endpoint::OAuth2};
    ///
    /// let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let token_uri = "https://login.example.com/oauth/token";
    /// let endpoint = OAuth2::client_credentials(token_uri, client::https()?, credentials)
    ///     .scope("orders.read")
    ///     .for_api("https://api.example.com")
    ///     .build()?;
    /// let auth = AuthLayer::oauth2(endpoint);
    /// # Ok(())
    /// # }
    /// ```
    pub fn oauth2(endpoint: OAuth2<impl HttpService>) -> Self {
        Self::new(TokenCache::new(endpoint))
    }

    /// Creates a layer as [`oauth2`](Self::oauth2) does, with bounds of your own for the refresh.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InvalidPolicy`] if the policy contradicts itself.
    pub fn oauth2_with(
        endpoint: OAuth2<impl HttpService>,
        policy: RefreshPolicy,
    ) -> Result<Self, ConfigError> {
        Ok(Self::new(TokenCache::builder(endpoint).refresh_policy(policy).build()?))
    }

    /// Creates a layer for the Send Payments API at `base_url`. It asks for tokens through the
    /// [built-in client](crate::client).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`SendPayments::new`](crate::endpoint::SendPayments::new), and one if
    /// the platform's trust roots can't be used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tower_reauth::{AuthLayer, Credentials};
    ///
    /// # fn f() -> Result<(), tower_reauth::ConfigError> {
    /// let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let auth = AuthLayer::send_payments("https://api.example.com", credentials)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "client")]
    #[cfg_attr(docsrs, doc(cfg(feature = "client")))]
    pub fn send_payments(
        base_url: impl AsRef<str>,
        credentials: impl crate::credentials::CredentialsSource,
    ) -> Result<Self, ConfigError> {
        Self::send_payments_with(base_url, credentials, RefreshPolicy::default())
    }

    /// Creates a layer as [`send_payments`](Self::send_payments) does, with bounds of your own for
    /// the refresh.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send_payments`](Self::send_payments), and
    /// [`ConfigError::InvalidPolicy`] if the policy contradicts itself.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use tower_reauth::{AuthLayer, Credentials, RefreshPolicy};
    ///
    /// # fn f() -> Result<(), tower_reauth::ConfigError> {
    /// let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let policy = RefreshPolicy::default().attempt_timeout(Duration::from_secs(3));
    /// let auth = AuthLayer::send_payments_with("https://api.example.com", credentials, policy)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "client")]
    #[cfg_attr(docsrs, doc(cfg(feature = "client")))]
    pub fn send_payments_with(
        base_url: impl AsRef<str>,
        credentials: impl crate::credentials::CredentialsSource,
        policy: RefreshPolicy,
    ) -> Result<Self, ConfigError> {
        let endpoint =
            crate::endpoint::SendPayments::new(base_url, crate::client::https()?, credentials)?;
        Ok(Self::new(TokenCache::builder(endpoint).refresh_policy(policy).build()?))
    }
}

impl<C> AuthLayer<ReplayOnce, C> {
    /// Returns a 401 to the caller as it is. The token is renewed for the next request all the
    /// same. A body need not be `Clone` then. By default a request is sent again.
    #[must_use]
    pub fn without_replay(self) -> AuthLayer<NoReplay, C> {
        AuthLayer { signer: self.signer, replay: PhantomData, classify: self.classify }
    }
}

impl<R, C> AuthLayer<R, C> {
    /// Sets which responses refuse the token. The module [`refusal`](crate::refusal) has the
    /// choices, and says which providers need them. Defaults to [`Unauthorized`].
    ///
    /// A request that is refused is sent again. So only a response that says that the request
    /// was not applied may be called a refusal.
    ///
    /// # Examples
    ///
    /// A service that answers 403 for an expired token, as Vault does:
    ///
    /// ```
    /// use tower_reauth::{AuthLayer, ConfigError, TokenCache, refusal};
    ///
    /// # fn f(cache: TokenCache) -> Result<(), ConfigError> {
    /// let auth = AuthLayer::new(cache).refusals(refusal::statuses([403])?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn refusals<D: Classify>(self, classify: D) -> AuthLayer<R, D> {
        AuthLayer { signer: self.signer, replay: PhantomData, classify }
    }

    /// Adds an origin (`https://host[:port]`, RFC 6454) that may see the token. A path is ignored.
    /// Defaults to the [origins of the API](crate::TokenEndpoint::api_origins) alone.
    ///
    /// # Errors
    ///
    /// Returns an error if `url` is not an absolute https or http URL, or is plain http beyond this
    /// machine.
    pub fn allow_origin(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.change(|signer| signer.guard.allow(url.as_ref()))?;
        Ok(self)
    }

    /// Adds an origin that may see the token although everybody on the way there can read it,
    /// because it is spoken to in plain text. This machine's own addresses (`localhost`,
    /// `127.0.0.0/8`, `[::1]`) need no such permission. Defaults to none.
    ///
    /// # Errors
    ///
    /// Returns an error if `url` is not an absolute https or http URL.
    pub fn allow_plain_http(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.change(|signer| signer.guard.allow_plain(url.as_ref()))?;
        Ok(self)
    }

    /// Sets the treatment of requests to other origins. Defaults to
    /// [`CrossOriginRequests::Refuse`].
    #[must_use]
    pub fn cross_origin_requests(mut self, requests: CrossOriginRequests) -> Self {
        self.change(|signer| signer.guard.cross_origin = requests);
        self
    }

    /// Sets the header that carries the token. Layers and clients that follow redirects drop
    /// `Authorization` on the way to another origin, but no header of another name, so make them
    /// outer layers. Defaults to `Authorization`.
    #[must_use]
    pub fn header_name(mut self, name: HeaderName) -> Self {
        self.change(|signer| signer.header = name);
        self
    }

    /// Sets the treatment of that header if the caller has set it. Defaults to
    /// [`CallerAuthorization::Replace`].
    #[must_use]
    pub fn caller_authorization(mut self, caller: CallerAuthorization) -> Self {
        self.change(|signer| signer.caller_authorization = caller);
        self
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Signer) -> T) -> T {
        change(Arc::make_mut(&mut self.signer))
    }

    /// Returns the header that carries the token.
    #[cfg(feature = "tonic")]
    pub(crate) fn header(&self) -> &HeaderName {
        &self.signer.header
    }

    /// Returns the cache that the tokens come from, for readiness probes, counters, and requests
    /// that are not sent through this layer.
    pub fn cache(&self) -> &TokenCache {
        &self.signer.cache
    }
}

impl<S, R, C: Clone> Layer<S> for AuthLayer<R, C> {
    type Service = Auth<S, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth::new(inner, Arc::clone(&self.signer), self.classify.clone())
    }
}

impl<R, C: Clone> Clone for AuthLayer<R, C> {
    fn clone(&self) -> Self {
        let signer = Arc::clone(&self.signer);
        Self { signer, replay: PhantomData, classify: self.classify.clone() }
    }
}

impl<R, C> fmt::Debug for AuthLayer<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthLayer").field(&self.signer).finish()
    }
}
