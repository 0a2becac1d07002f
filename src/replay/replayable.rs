//! [`ReplayableBody`]: the bound on request bodies, and its implementation for all `Clone` bodies.

/// A body that can be sent a second time: any `Clone` body (`Full<Bytes>`, `Empty`, `String`), and
/// [`ReplayBody`](super::ReplayBody) around a body of any other type.
///
/// The trait is a shorthand for a bound. There is nothing to implement.
///
/// A clone must give all the bytes, whatever has been read of the body that it was cloned from. A
/// body that shares its source with its clones (a stream over a channel or a file) does not: its
/// replay would send the rest as if it were the whole. Such a body needs a
/// [`ReplayLayer`](super::ReplayLayer) outside of the [`AuthLayer`](crate::AuthLayer), which keeps
/// what was read.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{Full, StreamBody};
/// use tower_reauth::replay::{ReplayBody, ReplayableBody};
///
/// fn can_be_replayed<B: ReplayableBody>(_: &B) {}
///
/// can_be_replayed(&Full::new(Bytes::from_static(b"hello")));
///
/// let frames = futures_util::stream::empty::<Result<http_body::Frame<Bytes>, std::io::Error>>();
/// can_be_replayed(&ReplayBody::new(StreamBody::new(frames), 64 * 1024));
/// ```
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` can't be replayed after a 401",
    note = "put a `tower_reauth::replay::ReplayLayer` above the `AuthLayer`, use a body that is \
            `Clone`, such as `http_body_util::Full<Bytes>`, or switch replay off with \
            `AuthLayer::without_replay`",
    note = "a `ReplayLayer` below the `AuthLayer` comes too late: `ServiceBuilder` has the outer \
            layer first, `.layer(ReplayLayer::new()).layer(auth)`"
)]
pub trait ReplayableBody: Sized {
    #[doc(hidden)]
    type Kept;

    #[doc(hidden)]
    fn keep(&self) -> Self::Kept;

    /// Pauses the attempt in flight. Returns `false` if the body can't be replayed.
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
