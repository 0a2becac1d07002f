//! What is kept of a request, so that it can be sent again after a 401.
//!
//! A replay has the same method, URI, version, headers, extensions and body; only the token differs. It happens
//! once: what the second attempt answers is the caller's answer.
//!
//! | request body | what to do |
//! |---|---|
//! | `Clone`: `Full<Bytes>`, `Empty`, `String` | nothing; the type stays |
//! | streaming | a [`ReplayLayer`] above the [`AuthLayer`](crate::AuthLayer) |
//! | any, without replay | [`AuthLayer::without_replay`](crate::AuthLayer::without_replay) |

mod body;
mod head;
mod layer;

use std::{convert::Infallible, fmt};

use http::{Extensions, Method, Request, Version};

use self::head::KeptHead;
pub use self::{
    body::{KeptBody, ReplayBody},
    layer::{ReplayLayer, Replayable},
};

/// A body that can be sent a second time: every one that is `Clone` (`Full<Bytes>`, `Empty`, `String`), and
/// [`ReplayBody`] around any other.
///
/// It is a shorthand for a bound; there is nothing to implement.
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` can't be replayed after a 401",
    note = "put a `tower_reauth::replay::ReplayLayer` above the `AuthLayer`, use a body that is `Clone`, such as \
            `http_body_util::Full<Bytes>`, or switch replay off with `AuthLayer::without_replay`"
)]
pub trait ReplayableBody: Sized {
    #[doc(hidden)]
    type Kept;

    #[doc(hidden)]
    fn keep(&self) -> Self::Kept;

    #[doc(hidden)]
    fn restore(kept: Self::Kept) -> Option<Self>;
}

#[diagnostic::do_not_recommend]
impl<B: Clone> ReplayableBody for B {
    type Kept = B;

    fn keep(&self) -> B {
        self.clone()
    }

    fn restore(kept: B) -> Option<B> {
        Some(kept)
    }
}

impl<B> ReplayableBody for ReplayBody<B> {
    type Kept = KeptBody<B>;

    fn keep(&self) -> KeptBody<B> {
        self.keep()
    }

    fn restore(kept: KeptBody<B>) -> Option<Self> {
        kept.restore()
    }
}

/// Whether a request that was answered 401 is sent again: [`ReplayOnce`] or [`NoReplay`].
///
/// It is sealed; [`AuthLayer::without_replay`](crate::AuthLayer::without_replay) changes from one to the other.
#[diagnostic::on_unimplemented(
    message = "requests with the body `{B}` can't be replayed after a 401",
    note = "put a `tower_reauth::replay::ReplayLayer` above the `AuthLayer`, use a body that is `Clone`, such as \
            `http_body_util::Full<Bytes>`, or switch replay off with `AuthLayer::without_replay`"
)]
pub trait Replay<B>: Clone + sealed::Sealed {
    #[doc(hidden)]
    type Kept;

    /// What a replay will need, if there is to be one and it can be kept.
    #[doc(hidden)]
    fn keep(request: &Request<B>) -> Option<Self::Kept>;

    /// The request again, as it was before it was signed; `None` if its body can't be sent again.
    #[doc(hidden)]
    fn restore(kept: Self::Kept) -> Option<Request<B>>;
}

/// A request that was answered 401 is sent once more with a new token. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOnce;

/// A 401 is the caller's answer. The token is renewed for the next request.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ReplayOnce {}
    impl Sealed for super::NoReplay {}
}

/// A request before it was signed.
pub struct KeptRequest<K> {
    method: Method,
    head: KeptHead,
    version: Version,
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

    #[inline]
    fn keep(request: &Request<B>) -> Option<KeptRequest<B::Kept>> {
        Some(KeptRequest {
            method: request.method().clone(),
            head: KeptHead::of(request.uri(), request.headers())?,
            version: request.version(),
            extensions: request.extensions().clone(),
            body: request.body().keep(),
        })
    }

    fn restore(kept: KeptRequest<B::Kept>) -> Option<Request<B>> {
        let (uri, headers) = kept.head.restore()?;
        let mut request = Request::new(B::restore(kept.body)?);
        *request.method_mut() = kept.method;
        *request.uri_mut() = uri;
        *request.version_mut() = kept.version;
        *request.headers_mut() = headers;
        *request.extensions_mut() = kept.extensions;
        Some(request)
    }
}

impl<B> Replay<B> for NoReplay {
    type Kept = Infallible;

    fn keep(_: &Request<B>) -> Option<Infallible> {
        None
    }

    fn restore(kept: Infallible) -> Option<Request<B>> {
        match kept {}
    }
}
