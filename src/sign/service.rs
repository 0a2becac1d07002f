//! [`Auth`]: the service that signs.

use std::{
    fmt,
    marker::PhantomData,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    attempt::Replayable,
    classify::{Classify, Unauthorized},
    future::ResponseFuture,
    handle::Inner,
    signer::{NotSigned, Signer},
};
use crate::{
    cache::{CachedLease, TokenCache},
    error::{BoxError, Error, foreign_line_of},
    replay::{KeptHead, Replay, ReplayOnce},
    send::{self, CloneService, InnerService},
};

/// A service that signs its requests. Made by [`AuthLayer`](crate::AuthLayer), which says what it
/// does.
///
/// `S` must be `Clone`, because a request that waits for a token, or is sent again, needs a service
/// of its own, and makes it ready when its time comes. All clones of an `Auth` take that service
/// from one clone of `S`. It is made for the first request that may need it, and brought up to date
/// whenever a request has to wait. So what a service learns in a call should be shared by its
/// clones, as connections, limits and buffers are.
///
/// # Errors
///
/// [`Error::Auth`] if the request could not be signed, and [`Error::Inner`] if the inner service
/// failed. Both have fields: match `Error::Auth { error, .. }`, or ask [`Error::as_auth`].
///
/// If the compiler says that `oneshot`, `ready` or `call` exists "but its trait bounds were not
/// satisfied", then `S` is not `Clone`, its error is not `Into<BoxError>`, or its request body
/// can't be replayed: see [`replay`](crate::replay). Write [`send`](Self::send) in place of it, and
/// the compiler says which of them it is.
// The compiler shows the line of the name in that case, and no other word of this crate.
#[rustfmt::skip]
pub struct Auth<S, R = ReplayOnce, C = Unauthorized> { // Why? See `.send(..)`. No ReplayLayer?
    inner: S,
    shared: Arc<Inner<S>>,
    cached: CachedLease,
    replay: PhantomData<R>,
    classify: C,
}

impl<S, R, C> Auth<S, R, C> {
    pub(crate) fn new(inner: S, signer: Arc<Signer>, classify: C) -> Self {
        let shared = Arc::new(Inner::new(signer));
        Self { inner, shared, cached: CachedLease::default(), replay: PhantomData, classify }
    }

    /// Returns the cache that the tokens come from, for readiness probes, counters, and requests
    /// that are not sent through this service.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::Auth;
    ///
    /// fn is_ready<S>(client: &Auth<S>) -> bool {
    ///     client.cache().is_ready()
    /// }
    /// ```
    pub fn cache(&self) -> &TokenCache {
        &self.shared.signer.cache
    }

    /// Sends a request through a clone of this service, once that is ready.
    ///
    /// The future borrows nothing, and is `Send` if the service and the body are. It does the same
    /// as `clone()` and the `oneshot` of Tower's `ServiceExt`. A service that is used for many
    /// requests one after the other, as under a retry, is quicker with `ready` and `call`, because
    /// it keeps the lease that it had.
    ///
    /// # Boxed services in spawned tasks
    ///
    /// rustc can't prove that an async block is `Send` if it awaits this future, or that of
    /// `oneshot`, over some services whose error is [`BoxError`](crate::BoxError). Among them are
    /// a `BoxCloneService` and the `service_fn` of a closure. It says that an implementation of
    /// `From` is not general enough. Two ways lead around that:
    ///
    /// - Await `client.send(request).boxed()`, with `futures_util::FutureExt`.
    /// - Give the service an error type of its own, such as `std::io::Error`.
    ///
    /// # Errors
    ///
    /// Returns the [errors of the service](Self#errors).
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time, like a [`ResponseFuture`]. Nothing happens before its
    /// first poll.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "client", feature = "sandbox"))]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_reauth::BoxError> {
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use tower::Layer;
    /// use tower_reauth::{Auth, AuthLayer, Credentials, client, sandbox::Sandbox};
    ///
    /// /// Cheap to clone, and shared by all tasks.
    /// #[derive(Clone)]
    /// struct Accounts {
    ///     base_url: String,
    ///     client: Auth<client::HttpsClient<Full<Bytes>>>,
    /// }
    ///
    /// impl Accounts {
    ///     async fn create(&self, json: &'static str) -> Result<u16, tower_reauth::BoxError> {
    ///         let request = http::Request::post(format!("{}/accounts", self.base_url))
    ///             .header("content-type", "application/json")
    ///             .body(Full::from(json))?;
    ///         Ok(self.client.send(request).await?.status().as_u16())
    ///     }
    /// }
    ///
    /// let sandbox = Sandbox::builder().start().await?;
    /// let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    /// let auth = AuthLayer::send_payments(sandbox.base_url(), credentials)?;
    /// let accounts = Accounts {
    ///     base_url: sandbox.base_url(),
    ///     client: auth.layer(client::https()?),
    /// };
    /// assert_eq!(accounts.create(r#"{"name": "Ada"}"#).await?, 201);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(all(feature = "client", feature = "sandbox")))]
    /// # fn main() {}
    /// ```
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<S::ResponseBody>, Error>> + use<S, R, C, B>
    where
        R: Replay<B>,
        S: CloneService + InnerService<B>,
        C: Classify,
    {
        send::oneshot(self.clone(), request)
    }

    /// Returns the inner service. To change what its clones do not share, use
    /// [`get_mut`](Self::get_mut).
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service, to be changed. Requests that wait or are in flight go on with the
    /// service as it was before, and so do the clones of this `Auth`.
    pub fn get_mut(&mut self) -> &mut S {
        self.shared = Arc::new(Inner::new(Arc::clone(&self.shared.signer)));
        &mut self.inner
    }

    /// Returns the inner service alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, C, B, ResB> Service<Request<B>> for Auth<S, R, C>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B>,
    C: Classify,
{
    type Response = Response<ResB>;
    type Error = Error;
    type Future = ResponseFuture<S, B, R, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::inner)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { shared, cached, .. } = self;
        let signer = &shared.signer;
        let (method, uri) = (request.method(), request.uri());
        let (version, headers) = (request.version(), request.headers());
        let admitted = match signer.admit(cached, method, uri, version, headers, R::KEEPS) {
            Some(admitted) => Ok(admitted),
            None => signer.admit_slow(cached, method, uri, version, headers, R::KEEPS),
        };
        let (lease, head) = match admitted {
            Ok(admitted) => admitted,
            Err(unsigned) => return self.call_unsigned(request, unsigned),
        };
        let handle = R::KEEPS.then(|| shared.handle(&self.inner));
        let trace = R::trace(|| lease.is_watched(), &request);
        let kept = R::keep_with(head, &request);
        let replay = kept.zip(handle).map(|(kept, handle)| Replayable { kept, handle });
        if let Err(error) = signer.sign(request.headers_mut(), &lease) {
            return self.call_unsigned(request, NotSigned::Refused(error));
        }
        let classify = self.classify.clone();
        ResponseFuture::signed(self.inner.call(request), lease, replay, trace, classify)
    }
}

impl<S, R, C> Auth<S, R, C> {
    /// Handles the few requests that are not signed at once. They are handled here so that the code
    /// of the signed ones stays small.
    #[inline(never)]
    fn call_unsigned<B, ResB>(
        &mut self,
        request: Request<B>,
        unsigned: NotSigned,
    ) -> ResponseFuture<S, B, R, C>
    where
        S: Service<Request<B>, Response = Response<ResB>> + Clone,
        R: Replay<B>,
        C: Classify,
    {
        let classify = self.classify.clone();
        match unsigned {
            NotSigned::PassThrough => {
                let line = KeptHead::line_of(request.method(), request.uri());
                ResponseFuture::passing(self.inner.call(request), line, classify)
            }
            NotSigned::Refused(error) => {
                drop(take_ready(&mut self.inner));
                let error = Error::auth_of(error, Some(foreign_line_of(&request)));
                ResponseFuture::refused(error, classify)
            }
            NotSigned::NoToken => {
                // The ready service may hold a permit of a limit. The permit is released for the
                // wait, because the refresh needs one too if it goes through the same limit.
                drop(take_ready(&mut self.inner));
                let handle = self.shared.handle(&self.inner);
                handle.update(self.inner.clone());
                ResponseFuture::acquiring(request, handle, classify)
            }
        }
    }
}

/// Takes the service that `poll_ready` made ready, which has to be used or dropped, and leaves a
/// clone that need not be ready.
fn take_ready<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    mem::replace(inner, clone)
}

impl<S: Clone, R, C: Clone> Clone for Auth<S, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            cached: CachedLease::default(),
            replay: PhantomData,
            classify: self.classify.clone(),
        }
    }
}

impl<S: fmt::Debug, R, C> fmt::Debug for Auth<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("inner", &self.inner)
            .field("signer", &self.shared.signer)
            .finish_non_exhaustive()
    }
}
