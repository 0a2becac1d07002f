//! [`AuthLayer`]: wraps a service so that its requests are signed.

use std::{fmt, marker::PhantomData, sync::Arc};

use http::{HeaderName, header};
use tower_layer::Layer;

use super::{
    guard::{CrossOriginRequests, Guard},
    service::Auth,
    signer::{CallerAuthorization, Signer},
};
use crate::{
    cache::TokenCache,
    error::ConfigError,
    replay::{NoReplay, ReplayOnce},
};

/// Keeps the requests of a `tower::Service<http::Request<B>>` signed with the token of a [`TokenCache`].
///
/// - A request that finds a valid token takes no lock, and costs one header; one that finds none waits for the
///   refresh that all of them share.
/// - A request answered 401 is sent once more with a newer token, if its body is `Clone`, or a
///   [`ReplayBody`](crate::replay::ReplayBody) that was not too long. A 401 from a resource says that the request has
///   not been applied, so that is safe for a `POST` too. A gRPC call that was refused as unauthenticated before any
///   message (`grpc-status: 16` in the response's headers) counts as one.
/// - Only the token endpoint's own origin sees the token, unless more are [allowed](Self::allow_origin). Requests
///   to others are [refused](CrossOriginRequests::Refuse) by default, never signed. A `Host` header that names another
///   origin makes a request foreign; a URI without host (as in gRPC channels, or on a connection of hyper's own)
///   is signed, since whoever made the service below chose where it is connected to.
/// - A request is never sent unsigned where it should be signed, nor with a token that has expired
///   when it is handed to the service below. What queues there queues signed: put queues and rate limits above.
///
/// Cloning is cheap, and all services of all clones share the cache. Settings changed later apply to the services
/// made later.
///
/// # Where it stands in a stack
///
/// Above whatever sends (hyper, a channel) and above connection-level layers; below retries and timeouts that are
/// to count a replay as a part of the same request. What follows redirects goes above as well: below, it would take a
/// token in a header of your own naming along to wherever the redirect points.
///
/// A request that waits for a token holds no readiness of the service below, and no slot of a limit there; it becomes
/// ready again before it is sent, and so does a replay. To bound how many requests wait, put a limit above.
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
/// use tower::{Layer, Service, ServiceExt};
/// use tower_reauth::{AuthLayer, Credentials, client};
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let auth = AuthLayer::send_payments("https://api.example.com", credentials)?;
/// let mut client = auth.layer(client::https()?);
///
/// let request = http::Request::get("https://api.example.com/accounts/1").body(Full::<Bytes>::default())?;
/// let response = client.ready().await?.call(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// Customised: another header, one more origin, foreign requests passed on unsigned, no replay:
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
pub struct AuthLayer<R = ReplayOnce> {
    signer: Arc<Signer>,
    replay: PhantomData<R>,
}

impl AuthLayer {
    /// For the tokens of `cache`. The header is `Authorization`; the scheme is the
    /// [cache's](crate::cache::TokenCacheBuilder::scheme), `Bearer` by default.
    pub fn new(cache: TokenCache) -> Self {
        let guard = Guard::new(cache.endpoint_uri());
        let signer = Signer {
            cache,
            guard,
            header: header::AUTHORIZATION,
            caller_authorization: CallerAuthorization::default(),
        };
        Self { signer: Arc::new(signer), replay: PhantomData }
    }

    /// For the Send Payments API at `base_url`, asked for tokens through the [built-in client](crate::client).
    ///
    /// # Errors
    ///
    /// As [`SendPayments::new`](crate::endpoint::SendPayments::new); and if the platform's trust roots can't be
    /// used.
    #[cfg(feature = "client")]
    #[cfg_attr(docsrs, doc(cfg(feature = "client")))]
    pub fn send_payments(
        base_url: impl AsRef<str>,
        credentials: impl crate::credentials::CredentialsSource,
    ) -> Result<Self, ConfigError> {
        let endpoint =
            crate::endpoint::SendPayments::new(base_url, crate::client::https()?, credentials)?;
        Ok(Self::new(TokenCache::new(endpoint)))
    }

    /// A 401 is returned as it is, and a body need not be `Clone`. The token is renewed for the next request.
    /// Defaults to one replay.
    #[must_use]
    pub fn without_replay(self) -> AuthLayer<NoReplay> {
        AuthLayer { signer: self.signer, replay: PhantomData }
    }
}

impl<R> AuthLayer<R> {
    /// One more origin (`https://host[:port]`; a path is ignored) that may see the token. Defaults to the token
    /// endpoint's own.
    ///
    /// # Errors
    ///
    /// Not an absolute https or http URL, or plain http beyond this machine.
    pub fn allow_origin(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.change(|signer| signer.guard.allow(url.as_ref()))?;
        Ok(self)
    }

    /// One more origin that may see the token although it is spoken to in plain text, where everybody on the way
    /// can read it. This machine's own addresses (`localhost`, `127.0.0.0/8`, `[::1]`) need no such permission.
    ///
    /// # Errors
    ///
    /// Not an absolute https or http URL.
    pub fn allow_plain_http(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.change(|signer| signer.guard.allow_plain(url.as_ref()))?;
        Ok(self)
    }

    /// What becomes of requests to other origins. Defaults to [`CrossOriginRequests::Refuse`].
    #[must_use]
    pub fn cross_origin_requests(mut self, requests: CrossOriginRequests) -> Self {
        self.change(|signer| signer.guard.cross_origin = requests);
        self
    }

    /// The header that carries the token. Defaults to `Authorization`, which redirect followers know to drop; they
    /// don't know another, so keep them above the layer.
    #[must_use]
    pub fn header_name(mut self, name: HeaderName) -> Self {
        self.change(|signer| signer.header = name);
        self
    }

    /// What becomes of that header if the caller has set it. Defaults to [`CallerAuthorization::Replace`].
    #[must_use]
    pub fn caller_authorization(mut self, caller: CallerAuthorization) -> Self {
        self.change(|signer| signer.caller_authorization = caller);
        self
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Signer) -> T) -> T {
        change(Arc::make_mut(&mut self.signer))
    }

    /// The cache, for what needs a token without being a request of this layer.
    pub fn cache(&self) -> &TokenCache {
        &self.signer.cache
    }
}

impl<S, R> Layer<S> for AuthLayer<R> {
    type Service = Auth<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth::new(inner, Arc::clone(&self.signer))
    }
}

impl<R> Clone for AuthLayer<R> {
    fn clone(&self) -> Self {
        Self { signer: Arc::clone(&self.signer), replay: PhantomData }
    }
}

impl<R> fmt::Debug for AuthLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthLayer").field(&self.signer).finish()
    }
}
