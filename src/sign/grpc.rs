//! [`GrpcLayer`]: learns from the end of a gRPC call that its token was refused.
//!
//! The status of a call that could not be authenticated is here too.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    classify::{self, GRPC_STATUS, UNAUTHENTICATED},
    layer::AuthLayer,
};
use crate::{
    cache::{TokenCache, WeakTokenCache},
    error::{AuthError, Error},
    token::AccessToken,
};

/// Marks a token that a gRPC call was refused for in its trailers, after the head of the response
/// has gone through. The next call then has a newer token.
///
/// A server that refuses a call before its first message says so in the headers of the response.
/// [`AuthLayer`] replays such a call without this layer. A server that has already sent the headers
/// can say `grpc-status: 16` (`UNAUTHENTICATED`) in the trailers alone. Nothing is replayed then,
/// because the caller may have had messages of the response, and the status is the caller's.
/// Without this layer the refused token would stay in use.
///
/// 1. It reads the trailers of responses of type `application/grpc` (with any suffix) as they pass.
///    The head of a response is not delayed, and no other response is checked.
/// 2. A token is marked as by [`TokenCache::invalidate`], with its bounds on how often a refused
///    token is replaced.
/// 3. Only the newest token is marked, and only for a request that carried it.
///
/// Make it an inner layer of the [`AuthLayer`] that it is made for. Elsewhere it sees no token, and
/// does nothing.
///
/// # Errors
///
/// The layer adds no error of its own.
///
/// # Examples
///
/// A channel of tonic's, with a status for calls that get no token:
///
/// ```
/// use tonic::{Status, body::Body};
/// use tower::{Service, ServiceBuilder};
/// use tower_reauth::{
///     AuthLayer, BoxError, Error, GrpcLayer,
///     replay::{ReplayBody, ReplayLayer},
/// };
///
/// fn signed<C>(channel: C, auth: AuthLayer) -> impl Service<http::Request<Body>, Error = Status>
/// where
///     C: Service<http::Request<Body>, Response = http::Response<Body>> + Clone,
///     C::Error: Into<BoxError>,
/// {
///     ServiceBuilder::new()
///         .map_err(|error: Error| Status::from(error))
///         .layer(ReplayLayer::new())
///         .layer(auth.clone())
///         .layer(GrpcLayer::new(&auth))
///         .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
///         .service(channel)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct GrpcLayer(Arc<Watched>);

/// Which tokens are watched, and where.
#[derive(Debug)]
struct Watched {
    cache: TokenCache,
    header: HeaderName,
}

impl GrpcLayer {
    /// Creates a layer that marks the tokens of `auth`, in the header where `auth` puts them.
    pub fn new<R, C>(auth: &AuthLayer<R, C>) -> Self {
        let (cache, header) = (auth.cache().clone(), auth.header().clone());
        Self(Arc::new(Watched { cache, header }))
    }
}

impl<S> Layer<S> for GrpcLayer {
    type Service = GrpcAuth<S>;

    fn layer(&self, inner: S) -> GrpcAuth<S> {
        GrpcAuth { inner, watched: Arc::clone(&self.0) }
    }
}

impl Watched {
    /// Returns the token that a request carries, if it is the newest one.
    fn token(&self, headers: &HeaderMap) -> Option<AccessToken> {
        let value = headers.get(&self.header)?;
        let is_sent = |token: &AccessToken| token.header_value() == value;
        // A renewal may have begun since the request was signed, and serves no token.
        let newest = || self.cache.subscribe().newest().filter(is_sent);
        self.cache.current().filter(is_sent).or_else(newest)
    }
}

/// The service that [`GrpcLayer`] makes.
#[derive(Clone, Debug)]
pub struct GrpcAuth<S> {
    inner: S,
    watched: Arc<Watched>,
}

impl<S, B, ResB> Service<Request<B>> for GrpcAuth<S>
where
    S: Service<Request<B>, Response = Response<ResB>>,
{
    type Response = Response<GrpcBody<ResB>>;
    type Error = S::Error;
    type Future = GrpcFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = self.watched.token(request.headers());
        let watch = token.map(|token| Watch { cache: self.watched.cache.downgrade(), token });
        GrpcFuture { inner: self.inner.call(request), watch }
    }
}

/// The token of one call.
#[derive(Debug)]
struct Watch {
    /// A response does not keep the cache alive, because nobody is left to act on a refusal once
    /// the cache is gone.
    cache: WeakTokenCache,
    token: AccessToken,
}

pin_project! {
    /// The response to a call of [`GrpcAuth`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcFuture<F> {
        #[pin]
        inner: F,
        watch: Option<Watch>,
    }
}

impl<F, B, E> Future for GrpcFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<GrpcBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let watch = this.watch.take().filter(|_| is_grpc(&response));
        Poll::Ready(Ok(response.map(|inner| GrpcBody { inner, watch })))
    }
}

/// Returns whether the trailers of `response` speak of a gRPC call.
fn is_grpc<B>(response: &Response<B>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    response.status() == StatusCode::OK && content_type.is_some_and(classify::is_grpc)
}

pin_project! {
    /// The body of a response, whose trailers are read as they pass.
    #[derive(Debug)]
    pub struct GrpcBody<B> {
        #[pin]
        inner: B,
        watch: Option<Watch>,
    }
}

impl<B: Body> Body for GrpcBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.trailers_ref().is_some_and(is_unauthenticated)
            && let Some(Watch { cache, token }) = this.watch.take()
            && let Some(cache) = cache.upgrade()
        {
            cache.invalidate(&token);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns whether trailers say `UNAUTHENTICATED`.
fn is_unauthenticated(trailers: &HeaderMap) -> bool {
    trailers.get(GRPC_STATUS).is_some_and(|status| status == UNAUTHENTICATED)
}

impl<B: Default> Default for GrpcBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), watch: None }
    }
}

/// The status of a call for which there is no token. Its source is the [`Error`].
///
/// - `UNAVAILABLE` if the token endpoint is at fault (no connection, a timeout, 429, 5xx, a
///   response without a usable token), if the refresh was interrupted, or if tokens were refused
///   too soon after they were issued.
/// - `UNAUTHENTICATED` if the client is at fault: its credentials or their source, the request, or
///   the configuration.
///
/// A call with `UNAVAILABLE` may be sent again later, by a retry policy of gRPC's too. One with
/// `UNAUTHENTICATED` needs a change first. An error of the inner service gets the status that
/// [`Status::from_error`] finds in it.
///
/// tonic itself shows an error of a layer as `UNKNOWN`. Put the mapping outside of the
/// [`AuthLayer`], with `map_err` of Tower's `ServiceBuilder` or `ServiceExt`.
///
/// # Examples
///
/// ```
/// use tonic::{Code, Status};
/// use tower_reauth::AuthError;
///
/// let status = Status::from(AuthError::transient("connection reset"));
/// assert_eq!(status.code(), Code::Unavailable);
///
/// let status = Status::from(AuthError::rejected("unknown client"));
/// assert_eq!(status.code(), Code::Unauthenticated);
/// ```
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (auth, request) = match error {
            Error::Inner { error, .. } => return Self::from_error(error),
            Error::Auth { error, request } => (error, request),
        };
        let is_the_endpoints = auth.is_transient() || auth.is_invalid_response();
        let mut status = if is_the_endpoints {
            Self::unavailable(auth.to_string())
        } else {
            Self::unauthenticated(auth.to_string())
        };
        status.set_source(Arc::new(Error::auth_of(auth, request)));
        status
    }
}

/// The status of a call for which [`TokenCache::token`] brought no token, as for an [`Error`].
impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        Error::from(error).into()
    }
}
