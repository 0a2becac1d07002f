//! [`ReplayLayer`]: makes every request body one that can be replayed.

use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{body::ReplayBody, recorder::DEFAULT_CAP};
use crate::send::{self, CloneService, InnerService};

/// Turns the body of each request into a [`ReplayBody`], so that requests with streaming bodies can
/// be replayed after a 401.
///
/// Make it an outer layer of the [`AuthLayer`](crate::AuthLayer), and of layers between the two
/// that retry or follow redirects. The innermost service must take `ReplayBody<B>`.
///
/// # Errors
///
/// The layer adds no error of its own to the service. [`ReplayBody`] lists the errors of the body.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn f(auth: tower_reauth::AuthLayer) -> Result<(), tower_reauth::ConfigError> {
/// use bytes::Bytes;
/// use http_body_util::combinators::BoxBody;
/// use tower::{Layer, ServiceBuilder};
/// use tower_reauth::{BoxError, client, replay::{ReplayBody, ReplayLayer}};
///
/// type Streaming = BoxBody<Bytes, BoxError>;
///
/// let client = ServiceBuilder::new()
///     .layer(ReplayLayer::new())
///     .layer(auth)
///     .service(client::https::<ReplayBody<Streaming>>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplayLayer {
    cap: usize,
}

impl Default for ReplayLayer {
    fn default() -> Self {
        Self { cap: DEFAULT_CAP }
    }
}

impl ReplayLayer {
    /// Creates a layer that keeps up to 64 KiB of each body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes of each body are kept at most. A longer body is sent all the same, but
    /// not replayed.
    ///
    /// With `cap(1_048_576)` bodies of up to 1 MiB can be replayed, and each request in flight may
    /// keep 1 MiB alive. [`ReplayBody`] says what counts. Defaults to 65,536.
    #[must_use]
    pub fn cap(mut self, bytes: usize) -> Self {
        self.cap = bytes;
        self
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replayable<S>;

    fn layer(&self, inner: S) -> Replayable<S> {
        Replayable { inner, cap: self.cap }
    }
}

/// The service that [`ReplayLayer`] makes.
#[derive(Clone, Debug)]
pub struct Replayable<S> {
    inner: S,
    cap: usize,
}

impl<S> Replayable<S> {
    /// Sends a request through a clone of this service, once that is ready, as
    /// [`Auth::send`](crate::Auth::send) does.
    ///
    /// # Errors
    ///
    /// Returns the errors of the inner service.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time, if that of the inner service may be.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # async fn f(auth: tower_reauth::AuthLayer) -> Result<(), tower_reauth::BoxError> {
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Empty, combinators::BoxBody};
    /// use tower::ServiceBuilder;
    /// use tower_reauth::{BoxError, client, replay::{ReplayBody, ReplayLayer}};
    ///
    /// type Streaming = BoxBody<Bytes, BoxError>;
    ///
    /// let client = ServiceBuilder::new()
    ///     .layer(ReplayLayer::new())
    ///     .layer(auth)
    ///     .service(client::https::<ReplayBody<Streaming>>()?);
    /// let body: Streaming = Empty::new().map_err(|never| match never {}).boxed();
    /// let request = http::Request::post("https://api.example.com/uploads").body(body)?;
    /// println!("{}", client.send(request).await?.status());
    /// # Ok(())
    /// # }
    /// ```
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<S::ResponseBody>, S::Error>> + use<S, B>
    where
        S: CloneService + InnerService<ReplayBody<B>>,
        B: Body,
    {
        send::oneshot(self.clone(), request)
    }
}

#[cfg(feature = "tonic")]
impl<S> Replayable<S> {
    /// Sets the cap of the bodies that follow.
    pub(crate) fn with_cap(self, cap: usize) -> Self {
        Self { cap, ..self }
    }
}

impl<S, B> Service<Request<B>> for Replayable<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(request.map(|body| ReplayBody::new(body, self.cap)))
    }
}
