//! [`AuthLayer`]: wraps a service so that its requests are signed.

use std::{fmt, marker::PhantomData, sync::Arc};

use http::{HeaderMap, HeaderName, Method, Uri, Version, header};
use tower_layer::Layer;

use crate::{
    cache::{Lease, Recent, TokenCache},
    error::{AuthError, ConfigError},
    guard::{self, ForeignRequests, Guard, Verdict},
    replay::{KeptHead, NoReplay, ReplayOnce},
    service::Auth,
    sync::Counted,
};

/// What becomes of an `Authorization` header (or whichever carries the token) that the caller has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallerAuthorization {
    /// It is replaced by the token; never doubled.
    #[default]
    Replace,
    /// It stays, and the request is the caller's own: not signed, and not replayed after a 401.
    Keep,
}

/// Keeps the requests of a `tower::Service<http::Request<B>>` signed with the token of a [`TokenCache`].
///
/// - A request that finds a valid token takes no lock, and costs one header; one that finds none waits for the
///   refresh that all of them share.
/// - A request answered 401 is sent once more with a newer token, if its body is `Clone`, or a
///   [`ReplayBody`](crate::replay::ReplayBody) that was not too long. A 401 from a resource says that the request has
///   not been applied, so that is safe for a `POST` too. A gRPC call that was refused as unauthenticated before any
///   message (`grpc-status: 16` in the response's headers) counts as one.
/// - Only the token endpoint's own origin sees the token, unless more are [allowed](Self::allow_origin). Requests
///   to others are [refused](ForeignRequests::Refuse) by default, never signed. A `Host` header that names another
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
/// use tower_reauth::{AuthLayer, ForeignRequests};
///
/// let layer = AuthLayer::new(cache)
///     .header_name(HeaderName::from_static("x-access-token"))
///     .allow_origin("https://reports.example.com")?
///     .foreign_requests(ForeignRequests::PassUnsigned)
///     .without_replay();
/// # Ok(())
/// # }
/// ```
pub struct AuthLayer<R = ReplayOnce> {
    shared: Arc<Shared>,
    replay: PhantomData<R>,
}

/// What every service of a layer has in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) cache: TokenCache,
    pub(crate) guard: Guard,
    pub(crate) header: HeaderName,
    pub(crate) caller_authorization: CallerAuthorization,
}

/// Why a request is not signed.
pub(crate) enum Unsigned {
    /// There is no token.
    Waits,
    /// It is somebody else's, or its caller has signed it.
    Passes,
    Refused(AuthError),
}

impl Shared {
    /// What nearly every request is to be signed with, and its head, if that is to be kept: of a request that
    /// [`admit_closely`](Self::admit_closely) would admit, and of a service that has had this lease before.
    ///
    /// One function that is not generic, because in a real client none of its code is in the first-level cache when a request
    /// comes: spread over several, it took 0.3 % more of the time of hyper's requests.
    pub(crate) fn admit(
        &self,
        recent: &Recent,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        keep: bool,
    ) -> Option<(Counted<Lease>, KeptHead)> {
        if !self.guard.is_usual(method, uri) || self.is_kept(headers) {
            return None;
        }
        let lease = recent.lease()?;
        if !keep {
            // There are few, so looking at each name is quicker than a lookup.
            let is_usual = !headers.keys().any(guard::may_say_otherwise);
            return is_usual.then(|| (lease, KeptHead::default()));
        }
        let mut is_usual = true;
        let look = |name: &HeaderName| is_usual &= !guard::may_say_otherwise(name);
        let head = KeptHead::looking_at(look, method, uri, version, headers);
        is_usual.then_some((lease, head))
    }

    /// Whether a request may carry the token, and the same for the first ones of a service, until it has had the lease before.
    pub(crate) fn admit_closely(
        &self,
        recent: &mut Recent,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        keep: bool,
    ) -> Result<(Counted<Lease>, KeptHead), Unsigned> {
        match self.guard.check(method, uri, headers) {
            Verdict::Refuse(error) => return Err(Unsigned::Refused(error)),
            Verdict::PassUnsigned => return Err(Unsigned::Passes),
            Verdict::Sign => {}
        }
        if self.is_kept(headers) {
            return Err(Unsigned::Passes);
        }
        let lease = self.cache.core().lease().ok_or(Unsigned::Waits)?;
        recent.keep(&lease);
        let head = if keep { KeptHead::of(method, uri, version, headers) } else { KeptHead::default() };
        Ok((lease, head))
    }

    /// Whether the caller has signed it, and that stays.
    #[inline]
    fn is_kept(&self, headers: &HeaderMap) -> bool {
        self.caller_authorization == CallerAuthorization::Keep && headers.contains_key(&self.header)
    }

    /// Puts the token on, in place of whatever the header held.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, lease: &Lease) {
        headers.insert(self.header.clone(), lease.header.clone());
    }
}

impl AuthLayer {
    /// For the tokens of `cache`. The header is `Authorization`; the scheme is the
    /// [cache's](crate::cache::TokenCacheBuilder::scheme), `Bearer` by default.
    pub fn new(cache: TokenCache) -> Self {
        let guard = Guard::new(cache.endpoint_uri());
        let shared = Shared {
            cache,
            guard,
            header: header::AUTHORIZATION,
            caller_authorization: CallerAuthorization::default(),
        };
        Self { shared: Arc::new(shared), replay: PhantomData }
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
        let endpoint = crate::endpoint::SendPayments::new(base_url, crate::client::https()?, credentials)?;
        Ok(Self::new(TokenCache::new(endpoint)))
    }

    /// A 401 is returned as it is, and a body need not be `Clone`. The token is renewed for the next request.
    /// Defaults to one replay.
    #[must_use]
    pub fn without_replay(self) -> AuthLayer<NoReplay> {
        AuthLayer { shared: self.shared, replay: PhantomData }
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
        self.change(|shared| shared.guard.allow(url.as_ref()))?;
        Ok(self)
    }

    /// One more origin that may see the token although it is spoken to in plain text, where everybody on the way
    /// can read it. This machine's own addresses (`localhost`, `127.0.0.0/8`, `[::1]`) need no such permission.
    ///
    /// # Errors
    ///
    /// Not an absolute https or http URL.
    pub fn allow_plain_http_origin(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.change(|shared| shared.guard.allow_plain(url.as_ref()))?;
        Ok(self)
    }

    /// What becomes of requests to other origins. Defaults to [`ForeignRequests::Refuse`].
    #[must_use]
    pub fn foreign_requests(mut self, foreign: ForeignRequests) -> Self {
        self.change(|shared| shared.guard.foreign = foreign);
        self
    }

    /// The header that carries the token. Defaults to `Authorization`, which redirect followers know to drop; they
    /// don't know another, so keep them above the layer.
    #[must_use]
    pub fn header_name(mut self, name: HeaderName) -> Self {
        self.change(|shared| shared.header = name);
        self
    }

    /// What becomes of that header if the caller has set it. Defaults to [`CallerAuthorization::Replace`].
    #[must_use]
    pub fn caller_authorization(mut self, caller: CallerAuthorization) -> Self {
        self.change(|shared| shared.caller_authorization = caller);
        self
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(Arc::make_mut(&mut self.shared))
    }

    /// The cache, for what needs a token without being a request of this layer.
    pub fn cache(&self) -> &TokenCache {
        &self.shared.cache
    }
}

impl<S, R> Layer<S> for AuthLayer<R> {
    type Service = Auth<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth::new(inner, Arc::clone(&self.shared))
    }
}

impl<R> Clone for AuthLayer<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), replay: PhantomData }
    }
}

impl<R> fmt::Debug for AuthLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthLayer").field(&self.shared).finish()
    }
}
