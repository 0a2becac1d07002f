//! [`GrpcChannel`]: a channel whose gRPC calls are signed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::{Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    classify::{Classify, Unauthorized},
    future::ResponseFuture,
    grpc::{GrpcAuth, GrpcBody, GrpcLayer},
    layer::AuthLayer,
    service::Auth,
};
use crate::{
    error::{BoxError, Error},
    replay::{ReplayBody, ReplayLayer, ReplayOnce, Replayable},
};

/// A channel of tonic's whose calls are signed. It goes into `new` of a generated client.
///
/// 1. A call that is refused as unauthenticated before its first message is sent again, streams
///    included, if it has sent at most 64 KiB of messages by then. [`replay_cap`](Self::replay_cap)
///    changes that bound.
/// 2. A call that is refused in its trailers is not sent again, but costs the token: the next call
///    has another one, as with [`GrpcLayer`].
/// 3. A call for which there is no token fails with `UNAVAILABLE` if the token endpoint is at
///    fault, and with `UNAUTHENTICATED` if the client is. The [`Error`] is the source of the
///    status.
///
/// Calls have no host until the channel puts it in, so they are signed whatever it is. They go
/// nowhere but to the channel's own address, so make that an https one beyond this machine. A
/// client with an origin of its own (`with_origin`) has a host, which has to be
/// [allowed](AuthLayer::allow_origin).
///
/// # Errors
///
/// The error is a [`Status`], as above. An error of the channel gets the status that
/// [`Status::from_error`] finds in it.
///
/// # Cancel safety
///
/// A call may be dropped at any time. A refresh that it has started goes on.
///
/// # Examples
///
/// ```
/// use tower_reauth::{AuthLayer, GrpcChannel, tonic::{body::Body, client::GrpcService}};
///
/// // `channel` is what `Endpoint::connect` returns, or any other service of gRPC calls.
/// fn signed<S>(channel: S, auth: &AuthLayer) -> GrpcChannel<S>
/// where
///     S: GrpcService<Body>,
/// {
///     GrpcChannel::new(channel, auth)
/// }
/// ```
#[derive(Clone)]
pub struct GrpcChannel<S, C = Unauthorized>(
    Replayable<Auth<GrpcAuth<ReplayChannel<S>>, ReplayOnce, C>>,
);

impl<S, C: Clone> GrpcChannel<S, C> {
    /// Creates a channel that signs the calls of `channel` as `auth` says.
    pub fn new(channel: S, auth: &AuthLayer<ReplayOnce, C>) -> Self {
        let watched = GrpcLayer::new(auth).layer(ReplayChannel(channel));
        Self(ReplayLayer::new().layer(auth.layer(watched)))
    }

    /// Sets how many bytes of each call's messages are kept for a replay. A call that has sent more
    /// is not sent again. Defaults to 65,536.
    #[must_use]
    pub fn replay_cap(mut self, bytes: usize) -> Self {
        self.0 = self.0.with_cap(bytes);
        self
    }
}

impl<S, C, ResB> Service<Request<Body>> for GrpcChannel<S, C>
where
    S: Service<Request<Body>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    C: Classify,
{
    type Response = Response<GrpcBody<ResB>>;
    type Error = Status;
    type Future = GrpcChannelFuture<
        ResponseFuture<GrpcAuth<ReplayChannel<S>>, ReplayBody<Body>, ReplayOnce, C>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx).map_err(Status::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        GrpcChannelFuture { inner: self.0.call(request) }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for GrpcChannel<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GrpcChannel").field(&self.0).finish()
    }
}

/// A channel that takes bodies which can be replayed. tonic's own takes one type of body.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct ReplayChannel<S>(S);

impl<S: Service<Request<Body>>> Service<Request<ReplayBody<Body>>> for ReplayChannel<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReplayBody<Body>>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}

pin_project! {
    /// The response to a call of a [`GrpcChannel`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcChannelFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, T> Future for GrpcChannelFuture<F>
where
    F: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().inner.poll(cx)).map_err(Status::from))
    }
}
