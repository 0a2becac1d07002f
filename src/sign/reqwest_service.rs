//! [`ReqwestService`]: a `reqwest::Client` as a Tower service of the `http` crate's types.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::{Client, ClientBuilder, redirect::Policy};
use tower_service::Service;

use crate::error::BoxError;

/// A `reqwest::Client` as a Tower service.
///
/// The body of a request may be of any kind that is `Send` and `Sync`, because reqwest wants both.
/// Below a [`ReplayLayer`](crate::replay::ReplayLayer) it need not be `Sync`.
///
/// It may be the inner service of an [`AuthLayer`](crate::AuthLayer), and the HTTP client of a
/// token endpoint. A clone is cheap, and shares the client's connections.
///
/// - [`build`](Self::build) makes a client that follows no redirects. A client that follows them
///   does so past the layer's guard. It drops `Authorization` on the way to another origin, and no
///   header of another name, so a token or a secret in such a header goes along.
/// - The body of a response is a `reqwest::Body`. `reqwest::Response::from` makes a response of
///   reqwest's own from it, with `json()` and `text()`.
/// - A streaming request body is replayed with a [`ReplayLayer`](crate::replay::ReplayLayer) as an
///   outer layer.
///
/// # Errors
///
/// The service returns the errors of reqwest, without the URL, because some callers have a secret
/// in its query.
///
/// # Cancel safety
///
/// A request may be dropped at any time.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt};
/// use tower_reauth::{
///     AuthLayer, Credentials, ReqwestService, SendPayments, TokenCache, reqwest,
/// };
///
/// # async fn f() -> Result<(), tower_reauth::BoxError> {
/// let http = ReqwestService::build(reqwest::Client::builder())?;
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let endpoint = SendPayments::new("https://api.example.com", http.clone(), credentials)?;
/// let client = AuthLayer::new(TokenCache::new(endpoint)).layer(http);
///
/// let request = http::Request::get("https://api.example.com/accounts/1")
///     .body(Full::<Bytes>::default())?;
/// let response = reqwest::Response::from(client.oneshot(request).await?);
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestService(Client);

type Pending = <Client as Service<reqwest::Request>>::Future;

impl ReqwestService {
    /// Builds a client that follows no redirects, whatever the builder said of them.
    ///
    /// reqwest uses the proxy that the environment or the system names, for this machine too. A
    /// request over plain http to `localhost` then leaves the machine, and the proxy reads the
    /// secret and the token. `NO_PROXY=localhost,127.0.0.0/8,::1` keeps it here, as does
    /// `reqwest::Proxy::no_proxy` for a proxy of the builder's own. `ClientBuilder::no_proxy` turns
    /// all proxies off. The built-in client of the feature `client` uses no proxy for this machine.
    ///
    /// # Errors
    ///
    /// Returns the error of [`ClientBuilder::build`], for example if the TLS backend can't be set
    /// up.
    pub fn build(builder: ClientBuilder) -> reqwest::Result<Self> {
        builder.redirect(Policy::none()).build().map(Self)
    }

    /// Wraps a client as it is. Build it with `redirect::Policy::none()`, as
    /// [`build`](Self::build) does.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Returns the client.
    pub fn get_ref(&self) -> &Client {
        &self.0
    }
}

impl<B> Service<Request<B>> for ReqwestService
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<reqwest::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        match reqwest::Request::try_from(request.map(reqwest::Body::wrap)) {
            Ok(request) => ReqwestFuture { pending: Some(self.0.call(request)), unsent: None },
            Err(error) => ReqwestFuture { pending: None, unsent: Some(error) },
        }
    }
}

pin_project! {
    /// The response to a request of a [`ReqwestService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture {
        #[pin]
        pending: Option<Pending>,
        // The error of a request that reqwest can't send, for example one without a host.
        unsent: Option<reqwest::Error>,
    }
}

impl Future for ReqwestFuture {
    type Output = reqwest::Result<Response<reqwest::Body>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match (this.pending.as_pin_mut(), this.unsent.take()) {
            (Some(pending), _) => ready!(pending.poll(cx)).map(Into::into),
            (None, Some(error)) => Err(error),
            (None, None) => return Poll::Pending,
        };
        Poll::Ready(result.map_err(reqwest::Error::without_url))
    }
}
