//! [`TokenEndpoint`]: turns credentials into a token.

use std::{future::Future, pin::Pin};

use http::Uri;

use crate::{
    error::{AuthError, Kind, endpoint_at},
    origin::ApiOrigins,
    token::{AccessToken, Identity, IssuedToken},
};

/// The effect of a new token on the one in use.
///
/// It decides how the cache renews a token before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rotation {
    /// A request for a new token kills the one in use, for every process that shares the
    /// credentials.
    ///
    /// A due renewal waits for a moment without requests in flight. At the end of its window it
    /// holds new requests back and waits for those in flight. The
    /// [`RefreshPolicy`](crate::RefreshPolicy) bounds both waits, and
    /// [`without_hold`](crate::RefreshPolicy::without_hold) switches them off.
    Exclusive,
    /// The token in use lives on until it expires, as in ordinary OAuth 2.
    ///
    /// A due renewal runs in the background, and requests carry the token in use meanwhile.
    Overlapping,
}

/// The reason for which a token is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// The token nears the end of its lifetime, or has reached it.
    Due,
    /// A resource has refused the token, or it is known to be dead.
    Refused,
    /// A caller asked for a new token whatever the state of the one in use.
    Forced,
}

/// Turns credentials into tokens, one per call.
///
/// The [module](super) has an example that is written from scratch.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a token endpoint",
    note = "use `SendPayments`, or implement `TokenEndpoint` for a type of yours",
    note = "the docs of the module `endpoint` have an example"
)]
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Makes one attempt at a token, with at most one request on the wire.
    ///
    /// # Errors
    ///
    /// Returns the error of the attempt. The refresh tries again if
    /// [`is_transient`](AuthError::is_transient) says so. [`AuthError`] lists the constructors and
    /// what each means for the token in use.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the attempt's timeout or the refresh's deadline has passed, or
    /// when the last handle of the cache is gone. A caller's cancellation never reaches it. A token
    /// that the endpoint had issued by then is lost.
    fn issue(&self) -> impl Future<Output = Result<IssuedToken, AuthError>> + Send;

    /// Makes one attempt at the successor of the token `previous`. It is called instead of
    /// [`issue`](Self::issue) once there is a token to replace.
    ///
    /// Implement it if the endpoint wants to know what it replaces: a lease that is prolonged
    /// unless it was refused, or a request that is signed with the token before. `previous` may be
    /// a token of another process, and may have expired.
    ///
    /// Defaults to [`issue`](Self::issue).
    ///
    /// # Errors
    ///
    /// As [`issue`](Self::issue).
    ///
    /// # Cancel safety
    ///
    /// As [`issue`](Self::issue).
    fn reissue(
        &self,
        trigger: Trigger,
        previous: &AccessToken,
    ) -> impl Future<Output = Result<IssuedToken, AuthError>> + Send {
        let _ = (trigger, previous);
        self.issue()
    }

    /// Returns the effect of a new token on the one in use. It must return the same at each call.
    fn rotation(&self) -> Rotation;

    /// Returns the URI at which tokens are asked for.
    ///
    /// A `POST` to the URI is never signed. Its origin may see the token, unless
    /// [`api_origins`](Self::api_origins) says otherwise.
    ///
    /// Defaults to `None`.
    fn uri(&self) -> Option<&Uri> {
        None
    }

    /// Returns the origins that may see the tokens, to which
    /// [`AuthLayer::allow_origin`](crate::AuthLayer::allow_origin) adds.
    ///
    /// An authorization server is not the API, and has no business with the tokens that it issued.
    /// An endpoint of OAuth 2 therefore names the API alone.
    ///
    /// Defaults to the origin of the [`uri`](Self::uri). Without a URI every origin has to be
    /// allowed by name.
    fn api_origins(&self) -> ApiOrigins {
        ApiOrigins::default()
    }

    /// Returns the client that tokens are issued to, so that processes which share a
    /// [store](crate::store) know which token is theirs. An implementation asks the credentials
    /// source and never the endpoint.
    ///
    /// A cache that shares tokens asks this before its first token, unless it was given a
    /// [name](crate::cache::TokenCacheBuilder::shared_as) for them. It asks again after the
    /// endpoint has refused the credentials of a process that shares the token, to learn if that
    /// process has [the same secret](Identity::with_secret). Defaults to `None`.
    ///
    /// # Errors
    ///
    /// Returns the error of the credentials source.
    fn identity(&self) -> impl Future<Output = Result<Option<Identity>, AuthError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Returns `true` if processes may share the tokens through a [store](crate::store). A cache of
    /// an endpoint that returns `false` can't be built with one.
    ///
    /// Defaults to `true`.
    fn is_shareable(&self) -> bool {
        true
    }

    /// Returns `true` if the credentials differ from those that were last sent, or if there are
    /// some again after their source had failed.
    ///
    /// The cache asks this only during the pause after the endpoint has refused the credentials, or
    /// after the attempt failed with an [`AuthError::is_credentials`], and at most once a second.
    /// `true` ends the pause, so that a corrected secret is used at once. An implementation asks
    /// the credentials source and never the endpoint.
    ///
    /// Defaults to `false`, with which the endpoint is asked again when the pause is over.
    fn credentials_changed(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// A dyn-compatible [`TokenEndpoint`], so that a cache's handle has no type parameter.
pub(crate) trait DynEndpoint: Send + Sync + 'static {
    fn issue(&self) -> BoxFuture<'_, Result<IssuedToken, AuthError>>;
    fn reissue<'a>(
        &'a self,
        trigger: Trigger,
        previous: &'a AccessToken,
    ) -> BoxFuture<'a, Result<IssuedToken, AuthError>>;
    fn credentials_changed(&self) -> BoxFuture<'_, bool>;
    /// Returns the endpoint as an error names it.
    fn name(&self) -> String;
    fn identity(&self) -> BoxFuture<'_, Result<Option<Identity>, AuthError>>;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<E: TokenEndpoint> DynEndpoint for E {
    fn issue(&self) -> BoxFuture<'_, Result<IssuedToken, AuthError>> {
        Box::pin(TokenEndpoint::issue(self))
    }

    fn reissue<'a>(
        &'a self,
        trigger: Trigger,
        previous: &'a AccessToken,
    ) -> BoxFuture<'a, Result<IssuedToken, AuthError>> {
        Box::pin(TokenEndpoint::reissue(self, trigger, previous))
    }

    fn credentials_changed(&self) -> BoxFuture<'_, bool> {
        Box::pin(TokenEndpoint::credentials_changed(self))
    }

    fn name(&self) -> String {
        self.uri().map_or_else(|| "the token endpoint".into(), endpoint_at)
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<Identity>, AuthError>> {
        Box::pin(TokenEndpoint::identity(self))
    }
}

/// The endpoint of a cache whose own endpoint has been dropped.
pub(crate) struct NoEndpoint;

impl TokenEndpoint for NoEndpoint {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Err(AuthError::new(Kind::Permanent, "the token cache has been dropped"))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }
}
