//! [`Replay`]: whether requests are replayed, as a type parameter of the layer, and what is kept of
//! each request for that.

use std::{convert::Infallible, fmt};

use http::{Extensions, Request};

use super::{head::KeptHead, replayable::ReplayableBody};
use crate::route::Route;

/// Decides whether a request is sent again after a 401. Implemented by [`ReplayOnce`] and
/// [`NoReplay`].
///
/// The trait is sealed. [`AuthLayer::without_replay`](crate::AuthLayer::without_replay) changes the
/// layer from the first to the second.
#[diagnostic::on_unimplemented(
    message = "requests with the body `{B}` can't be replayed after a 401",
    note = "put a `tower_reauth::replay::ReplayLayer` above the `AuthLayer`, use a body that is \
            `Clone`, such as `http_body_util::Full<Bytes>`, or switch replay off with \
            `AuthLayer::without_replay`",
    note = "a `ReplayLayer` below the `AuthLayer` comes too late: `ServiceBuilder` has the outer \
            layer first, `.layer(ReplayLayer::new()).layer(auth)`"
)]
pub trait Replay<B>: Clone + sealed::Sealed {
    #[doc(hidden)]
    type Kept;

    /// The trace of a request that is not kept.
    #[doc(hidden)]
    type Trace: Default + Send + Sync;

    /// `true` if requests are kept for a replay.
    #[doc(hidden)]
    const KEEPS: bool;

    /// Keeps what a replay needs of `request`, beside its head, which has been kept already.
    #[doc(hidden)]
    fn keep_with(head: KeptHead, request: &Request<B>) -> Option<Self::Kept>;

    /// Keeps what a replay needs of `request`.
    #[doc(hidden)]
    fn keep(request: &Request<B>) -> Option<Self::Kept> {
        let (method, uri, version, headers) =
            (request.method(), request.uri(), request.version(), request.headers());
        if Self::KEEPS {
            Self::keep_with(KeptHead::of(method, uri, version, headers), request)
        } else {
            None
        }
    }

    /// Notes the route of a request, if it is not kept and `is_watched` says that somebody may ask.
    #[doc(hidden)]
    fn trace(is_watched: impl FnOnce() -> bool, request: &Request<B>) -> Self::Trace;

    /// Returns the route of a request.
    #[doc(hidden)]
    fn route(kept: Option<&Self::Kept>, trace: &Self::Trace) -> Option<Route>;

    /// Returns the request as an error names it, if it was kept.
    #[doc(hidden)]
    fn line(kept: Option<&Self::Kept>) -> Option<Box<str>>;

    /// Pauses the body of the attempt in flight until `kept` is restored or dropped. Returns
    /// `false` if the body can't be sent again.
    #[doc(hidden)]
    fn pause(kept: &Self::Kept) -> bool;

    /// Makes the request again, as it was before it was signed. Returns `None` if its body can't be
    /// sent again, or if its head was too long to be kept.
    #[doc(hidden)]
    fn restore(kept: Self::Kept) -> Option<Request<B>>;
}

/// Sends a request that was answered 401 again, and once with a newer token. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOnce;

/// Returns a 401 to the caller as it is. The token is renewed for the next request all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

/// Marks a 401 that was not followed by a replay because the body can't be sent again. Found in the
/// response's extensions.
///
/// Such a body is longer than the cap, has failed, or says that it can't be cloned. The next
/// request has another token, so a caller that can make the body again may send the request again.
///
/// # Examples
///
/// ```
/// use tower_reauth::replay::Declined;
///
/// fn may_send_again<B>(response: &http::Response<B>) -> bool {
///     response.extensions().get::<Declined>().is_some()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declined;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ReplayOnce {}
    impl Sealed for super::NoReplay {}
}

/// A request as it was before it was signed.
pub struct KeptRequest<K> {
    head: KeptHead,
    extensions: Extensions,
    body: K,
}

impl<K> fmt::Debug for KeptRequest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptRequest").finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl<B: ReplayableBody> Replay<B> for ReplayOnce {
    type Kept = KeptRequest<B::Kept>;
    type Trace = ();

    const KEEPS: bool = true;

    #[inline]
    fn keep_with(head: KeptHead, request: &Request<B>) -> Option<KeptRequest<B::Kept>> {
        let extensions = request.extensions();
        // Extensions that were taken out leave an empty map behind, whose clone would allocate.
        let extensions = if extensions.is_empty() { Extensions::new() } else { extensions.clone() };
        Some(KeptRequest { head, extensions, body: request.body().keep() })
    }

    #[inline]
    fn trace(_: impl FnOnce() -> bool, _: &Request<B>) {}

    fn route(kept: Option<&KeptRequest<B::Kept>>, (): &()) -> Option<Route> {
        kept?.head.route()
    }

    fn line(kept: Option<&KeptRequest<B::Kept>>) -> Option<Box<str>> {
        kept?.head.line()
    }

    fn pause(kept: &KeptRequest<B::Kept>) -> bool {
        B::pause(&kept.body)
    }

    fn restore(kept: KeptRequest<B::Kept>) -> Option<Request<B>> {
        let mut request = kept.head.restore(B::restore(kept.body)?)?;
        *request.extensions_mut() = kept.extensions;
        Some(request)
    }
}

impl<B> Replay<B> for NoReplay {
    type Kept = Infallible;
    type Trace = Option<Route>;

    const KEEPS: bool = false;

    fn keep_with(_: KeptHead, _: &Request<B>) -> Option<Infallible> {
        None
    }

    #[inline]
    fn trace(is_watched: impl FnOnce() -> bool, request: &Request<B>) -> Option<Route> {
        is_watched().then(|| Route::of(request))
    }

    fn route(_: Option<&Infallible>, trace: &Option<Route>) -> Option<Route> {
        *trace
    }

    fn line(_: Option<&Infallible>) -> Option<Box<str>> {
        // A copy of method and URI would add a third to the instructions of a call.
        None
    }

    fn pause(kept: &Infallible) -> bool {
        match *kept {}
    }

    fn restore(kept: Infallible) -> Option<Request<B>> {
        match kept {}
    }
}
