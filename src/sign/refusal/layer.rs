//! [`RefusalLayer`]: marks responses whose body says that the token is refused.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    codes::{Codes, Settings},
    future::PeekFuture,
    peeked::Peeked,
};
use crate::error::ConfigError;

/// Marks responses with a code in a small JSON body, for APIs that refuse a token in no other way.
///
/// Make it an inner layer of the [`AuthLayer`](crate::AuthLayer), whose
/// [`refusals`](crate::AuthLayer::refusals) are [`marked`](super::marked). Layers that decompress
/// are inner layers of this one.
///
/// 1. It reads bodies of type `application/json`, or of a type that ends with `+json`, that have no
///    `Content-Encoding` and at most 4 KiB. All other responses pass untouched and undelayed. The
///    status is not checked.
/// 2. If the length is not known, it reads up to 4 KiB, or 64 frames. A body that turns out to be
///    longer is not marked.
/// 3. It checks one JSON pointer (RFC 6901) as soon as the first JSON value is complete. A
///    number, a string or a boolean there is compared with the codes as text, so `40001` and
///    `"40001"` are one code. If it is one of them, the response gets a [`Mark`](super::Mark).
/// 4. The caller gets status, headers, frames, trailers and errors as they were, in a [`Peeked`]
///    body.
///
/// The response is delayed until that JSON value is there, for a [second](Self::timeout) at most.
/// A slow small body delays its own response, and no other. Until then the request counts as in
/// flight, and a renewal waits for it.
///
/// A runtime without Tokio's timers can't bound that. There a body is read only as far as it is
/// there with the head.
///
/// # Errors
///
/// The layer adds no error of its own. A body that fails while it is read keeps its error: the
/// caller gets the response, what was read, and then the error.
///
/// # Cancel safety
///
/// Dropping the future drops the response, as it drops that of any inner service.
///
/// # Examples
///
/// WeChat answers 200 with `errcode` 40001, 40014 or 42001:
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_reauth::{
///     AuthLayer, ConfigError,
///     refusal::{self, Classify, RefusalLayer, Unauthorized},
/// };
///
/// # fn f<C>(auth: AuthLayer, client: C) -> Result<(), ConfigError> {
/// let client = ServiceBuilder::new()
///     .layer(auth.refusals(Unauthorized.or(refusal::marked())))
///     .layer(RefusalLayer::json("/errcode", [40001, 40014, 42001])?)
///     .service(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RefusalLayer(Arc<Settings>);

impl RefusalLayer {
    /// Creates a layer that looks for one of `codes` where `pointer` points to.
    ///
    /// # Errors
    ///
    /// [`ConfigError::InvalidRefusal`] if the pointer does not begin with a slash or has a `~` that
    /// escapes nothing, and if there is no code or an empty one.
    ///
    /// # Examples
    ///
    /// APNs answers 403 with a reason:
    ///
    /// ```
    /// use tower_reauth::refusal::RefusalLayer;
    ///
    /// # fn f() -> Result<(), tower_reauth::ConfigError> {
    /// let apns = RefusalLayer::json("/reason", ["ExpiredProviderToken"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn json(
        pointer: impl AsRef<str>,
        codes: impl IntoIterator<Item: ToString>,
    ) -> Result<Self, ConfigError> {
        let codes = Codes::new(pointer.as_ref(), codes)?;
        Ok(Self(Arc::new(Settings { codes, timeout: Duration::from_secs(1) })))
    }

    /// Sets how long a body is waited for after the head of its response. After that the response
    /// goes to the caller without a mark.
    ///
    /// With `Duration::ZERO` a body is read only as far as it is there with the head. Defaults to
    /// one second.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.0).timeout = timeout;
        self
    }
}

impl<S> Layer<S> for RefusalLayer {
    type Service = Peek<S>;

    fn layer(&self, inner: S) -> Peek<S> {
        Peek { inner, settings: Arc::clone(&self.0) }
    }
}

/// The service that [`RefusalLayer`] makes.
#[derive(Clone, Debug)]
pub struct Peek<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B, ResB> Service<Request<B>> for Peek<S>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    ResB: Body<Data: Clone>,
{
    type Response = Response<Peeked<ResB>>;
    type Error = S::Error;
    type Future = PeekFuture<S::Future, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        PeekFuture::new(self.inner.call(request), Arc::clone(&self.settings))
    }
}
