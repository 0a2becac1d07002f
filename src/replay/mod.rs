//! What is kept of a request, so that it can be sent again after a 401.
//!
//! A replay has the same method, URI, version, headers, extensions and body; only the token differs. It happens
//! once: what the second attempt answers is the caller's answer.
//!
//! | request body | what to do |
//! |---|---|
//! | `Clone`, each clone with all the bytes: `Full<Bytes>`, `Empty`, `String` | nothing; the type stays |
//! | streaming | a [`ReplayLayer`] above the [`AuthLayer`](crate::AuthLayer) |
//! | `Clone`, but the clones share what they read: a channel, a file | the same: a `ReplayLayer`. No compiler sees the difference |
//! | any, without replay | [`AuthLayer::without_replay`](crate::AuthLayer::without_replay) |

mod body;
mod head;
mod layer;

use std::{convert::Infallible, fmt};

use http::{Extensions, Request};

#[doc(hidden)]
pub use self::head::KeptHead;
pub use self::{
    body::{KeptBody, ReplayBody},
    layer::{ReplayLayer, Replayable},
};

/// A body that can be sent a second time: every one that is `Clone` (`Full<Bytes>`, `Empty`, `String`), and
/// [`ReplayBody`] around any other.
///
/// It is a shorthand for a bound; there is nothing to implement. A clone must give all the bytes, whatever has been read of
/// the body it was cloned from. One that shares its source (a stream over a channel or a file) does not, and a replay
/// would send the rest as if it were the whole: put a [`ReplayLayer`] above instead, which keeps what was read.
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

    /// Stops the attempt under way; `false` if there can't be a replay.
    #[doc(hidden)]
    fn pause(_: &Self::Kept) -> bool {
        true
    }

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

    fn pause(kept: &KeptBody<B>) -> bool {
        kept.pause()
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

    /// Whether there is to be one.
    #[doc(hidden)]
    const KEEPS: bool;

    /// What a replay will need, with the head, which has been kept already.
    #[doc(hidden)]
    fn keep_with(head: KeptHead, request: &Request<B>) -> Option<Self::Kept>;

    /// What a replay will need.
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

    /// Stops the body of the attempt under way, until what was kept is restored or dropped; `false` if it can't be sent
    /// again.
    #[doc(hidden)]
    fn pause(kept: &Self::Kept) -> bool;

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

/// In the extensions of a 401 that was not followed by a replay because the body can't be sent again: it is longer than the
/// cap, has failed, or says that it can't be cloned. The next request has another token, so whoever can make the body anew may
/// send the request again.
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

/// A request before it was signed.
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

    const KEEPS: bool = true;

    #[inline]
    fn keep_with(head: KeptHead, request: &Request<B>) -> Option<KeptRequest<B::Kept>> {
        Some(KeptRequest {
            head,
            extensions: request.extensions().clone(),
            body: request.body().keep(),
        })
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

    const KEEPS: bool = false;

    fn keep_with(_: KeptHead, _: &Request<B>) -> Option<Infallible> {
        None
    }

    fn pause(kept: &Infallible) -> bool {
        match *kept {}
    }

    fn restore(kept: Infallible) -> Option<Request<B>> {
        match kept {}
    }
}
