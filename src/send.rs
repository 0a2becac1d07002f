//! Sends one request through a clone of a service: what [`Auth::send`](crate::Auth::send) and
//! [`Replayable::send`](crate::replay::Replayable::send) share.
//!
//! The bounds are traits of this crate, so that the compiler says what to do if one is not met.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::BoxError;

/// A service that takes `http::Request<B>`: a connection, an HTTP client, or a Tower stack over
/// one.
///
/// The trait is a shorthand for bounds and has nothing to implement. Every
/// `Service<http::Request<B>, Response = http::Response<_>>` whose error is `Into<BoxError>` has
/// it.
///
/// # Examples
///
/// A function that sends through any signed client:
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, StatusCode};
/// use http_body_util::Full;
/// use tower_reauth::{Auth, CloneService, Error, InnerService};
///
/// async fn ping<S>(client: &Auth<S>) -> Result<StatusCode, Error>
/// where
///     S: InnerService<Full<Bytes>> + CloneService,
/// {
///     let mut request = Request::new(Full::default());
///     *request.uri_mut() = http::Uri::from_static("https://api.example.com/ping");
///     Ok(client.send(request).await?.status())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service that takes `http::Request<{B}>`",
    label = "this client does not take `http::Request<{B}>`",
    note = "the service inside of an `AuthLayer` must be a `Service<http::Request<{B}>, Response = \
            http::Response<_>>` whose error is `Into<BoxError>`",
    note = "`reqwest::Client` takes requests of its own type: put a `tower_reauth::ReqwestService` \
            of the feature `reqwest` around it"
)]
pub trait InnerService<B>:
    Service<Request<B>, Response = Response<Self::ResponseBody>, Error: Into<BoxError>>
{
    /// The body of the responses.
    type ResponseBody;
}

#[diagnostic::do_not_recommend]
impl<S, B, ResB> InnerService<B> for S
where
    S: Service<Request<B>, Response = Response<ResB>, Error: Into<BoxError>>,
{
    type ResponseBody = ResB;
}

/// A service that is `Clone`.
///
/// The trait is a shorthand for that bound and has nothing to implement. [`InnerService`] has an
/// example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`: derive `Clone`, or put a `tower::buffer::Buffer` around it",
    label = "the service inside of an `AuthLayer` must be `Clone`",
    note = "each request is sent through a clone, and so is one that is sent again after a 401",
    note = "`tower::util::BoxCloneService` takes the place of `BoxService`; give it an error other \
            than `BoxError`, or see `Auth::send` for how to send from a spawned task"
)]
pub trait CloneService: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> CloneService for S {}

pin_project! {
    /// Waits until a service is ready, then calls it. The service is dropped once it was called, so
    /// that it holds nothing while the request is in flight.
    #[project = OneshotProj]
    pub(crate) enum Oneshot<S, Req>
    where
        S: Service<Req>,
    {
        // There is no request left if the service has failed.
        Waiting { service: S, request: Option<Req> },
        InFlight { #[pin] future: S::Future },
    }
}

/// Sends `request` through `service`, which need not be ready.
pub(crate) fn oneshot<S: Service<Req>, Req>(service: S, request: Req) -> Oneshot<S, Req> {
    Oneshot::Waiting { service, request: Some(request) }
}

impl<S: Service<Req>, Req> Future for Oneshot<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                // ## Waiting => (InFlight | done)
                //
                // The service is ready and takes the request, or it has failed.
                OneshotProj::Waiting { service, request } => {
                    if request.is_none() {
                        return Poll::Pending;
                    }
                    let readied = ready!(service.poll_ready(cx));
                    let Some(request) = request.take() else { return Poll::Pending };
                    match readied {
                        Ok(()) => service.call(request),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                // ## InFlight => done
                OneshotProj::InFlight { future } => return future.poll(cx),
            };
            self.set(Oneshot::InFlight { future });
        }
    }
}
