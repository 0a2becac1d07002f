//! [`ReplayBody`]: a body of any kind that can be sent again, as long as it is not too long.
//!
//! ```text
//! ReplayBody (attempt 0) ──┐
//! ReplayBody (attempt 1) ──┼──► Mutex<Recorder>: frames kept so far, inner body
//! KeptBody, held by the    │
//! layer for the replay   ──┘
//! ```
//!
//! An attempt is current while its number is the recorder's. Restoring a [`KeptBody`], or reading
//! from a clone for the first time, begins the next attempt.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    recorder::{DEFAULT_CAP, Recorder, begin, lock},
    replayable::ReplayableBody,
};
use crate::error::BoxError;

/// Passes the frames of a body on as they come, and keeps them for a replay, up to a cap.
///
/// - Frames of 1 KiB and more are kept by reference count. Each of them keeps the buffer alive of
///   which it is a slice. Their data is [`Bytes`]. Data of another type is copied once.
/// - Shorter frames are copied, and merged into pieces of up to 4 KiB. A first one is not copied
///   unless another follows. Empty frames are not kept. So the cap bounds the memory too, into
///   however many frames a body is cut.
/// - The cap is in bytes of data. Trailers have an allowance of their own, 16 KiB. Once a body
///   exceeds one of the two, the kept frames are dropped and the body goes on untouched. It can no
///   longer be replayed, so a 401 is the caller's. The same holds for a body that has failed.
/// - A replay sends what was kept, then the frames that the first attempt has not read, trailers
///   included. The server gets the caller's bytes, however far the first attempt had come. It may
///   get them in fewer frames.
/// - A first attempt may still be sending when its replay begins, because the server responded
///   before it had read everything. It gets an error when it asks for the next frame.
///
/// [`ReplayLayer`](super::ReplayLayer) puts this type around request bodies.
///
/// # Errors
///
/// An error of the inner body is passed on as it is. Beside that, reading fails if
///
/// - the request is being sent again, so that this attempt is over;
/// - this is a clone, and the body has failed, was longer than it had announced, or had trailers
///   beyond their allowance;
/// - the inner body gives a frame that is neither data nor trailers.
///
/// # Panics
///
/// Never, unless the inner body does.
///
/// # Cancel safety
///
/// Dropping an attempt loses no frame. What it has read stays kept for as long as a clone, or the
/// layer, holds on to the body.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::replay::ReplayBody;
///
/// let body = ReplayBody::new(Full::new(Bytes::from_static(b"hello")), 64 * 1024);
/// assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
/// ```
pub struct ReplayBody<B> {
    recorder: Arc<Mutex<Recorder<B>>>,
    /// The number of this attempt. Empty for a clone that has neither been sent nor read from.
    attempt: OnceLock<u32>,
    /// How many of the kept pieces this attempt has sent.
    sent: usize,
}

impl<B: Body> ReplayBody<B> {
    /// Keeps up to `cap` bytes of `body`. Keeps nothing of a body that announces more than that.
    pub fn new(body: B, cap: usize) -> Self {
        let recorder = Recorder::new(body, cap);
        Self { recorder: Arc::new(Mutex::new(recorder)), attempt: OnceLock::from(0), sent: 0 }
    }

    /// Returns the body again from its start, for retries in layers outside of the
    /// [`AuthLayer`](crate::AuthLayer). A `tower::retry::Policy` calls it in `clone_request`.
    ///
    /// Returns `None` if it is not certain that all of the body will be kept: the body does not
    /// announce how long it is at most, is longer than the cap, or has failed. A body does not
    /// announce its trailers. If they exceed their allowance, reading from the clone is an error.
    ///
    /// The clone takes over when it is sent through the layer, or when it is first read from. The
    /// attempt before it is over then.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use tower_reauth::replay::ReplayBody;
    ///
    /// type Body = ReplayBody<Full<Bytes>>;
    ///
    /// fn clone_request(request: &Request<Body>) -> Option<Request<Body>> {
    ///     let body = request.body().try_clone()?;
    ///     let mut clone = Request::new(body);
    ///     *clone.method_mut() = request.method().clone();
    ///     *clone.uri_mut() = request.uri().clone();
    ///     *clone.headers_mut() = request.headers().clone();
    ///     *clone.extensions_mut() = request.extensions().clone();
    ///     Some(clone)
    /// }
    /// ```
    pub fn try_clone(&self) -> Option<Self> {
        let recorder = Arc::clone(&self.recorder);
        let all = self.lock().will_keep_all();
        all.then(|| Self { recorder, attempt: OnceLock::new(), sent: 0 })
    }
}

impl<B: Body + Default> Default for ReplayBody<B> {
    /// Wraps `B::default()`, with a cap of 64 KiB. Layers that follow redirects ask for this body
    /// when they go on with `GET`.
    fn default() -> Self {
        Self::new(B::default(), DEFAULT_CAP)
    }
}

impl<B> ReplayBody<B> {
    /// Returns whether this attempt can send a frame, or its end. Otherwise it is over, or it is a
    /// clone of a body that can't be sent again, and reading from it is an error.
    ///
    /// Whatever says how long the body is must ask this first. A client that took such a body for
    /// an empty one would send it without its content.
    fn can_go_on(&self, recorder: &Recorder<B>) -> bool {
        match self.attempt.get() {
            Some(attempt) => *attempt == recorder.attempt,
            None => recorder.is_replayable(),
        }
    }

    /// Returns the number of this attempt. A clone begins its attempt here. Returns `None` if it
    /// can't, because the body can't be sent again.
    fn claim(&self) -> Option<u32> {
        if self.attempt.get().is_none() {
            let _ = self.attempt.set(begin(self.lock())?);
        }
        self.attempt.get().copied()
    }

    fn lock(&self) -> MutexGuard<'_, Recorder<B>> {
        lock(&self.recorder)
    }
}

/// A handle to a [`ReplayBody`] that is about to be sent. It sends nothing itself, and makes the
/// body of the replay.
pub struct KeptBody<B> {
    recorder: Arc<Mutex<Recorder<B>>>,
    attempt: Option<u32>,
}

impl<B> KeptBody<B> {
    /// Pauses the attempt in flight until `self` is restored or dropped. Returns `false` if the
    /// body can't be replayed.
    ///
    /// A paused attempt stays pending when it asks for a frame that is not kept. If it read on
    /// during the wait for a newer token, it could outgrow the cap, and the replay would be lost.
    /// If it were ended at once, and no newer token came, the 401 would be the caller's response
    /// while its request was cut off for nothing.
    fn pause(&self) -> bool {
        let mut recorder = lock(&self.recorder);
        let can_be_replayed = self.attempt == Some(recorder.attempt) && recorder.is_replayable();
        recorder.paused |= can_be_replayed;
        can_be_replayed
    }

    /// Returns a body that starts from the first frame again, and ends the previous attempt. `None`
    /// if the body can't be replayed, or if another attempt has begun meanwhile.
    fn restore(&self) -> Option<ReplayBody<B>> {
        let recorder = lock(&self.recorder);
        if self.attempt != Some(recorder.attempt) {
            return None;
        }
        let attempt = begin(recorder)?;
        Some(ReplayBody {
            recorder: Arc::clone(&self.recorder),
            attempt: OnceLock::from(attempt),
            sent: 0,
        })
    }
}

impl<B> Drop for KeptBody<B> {
    /// Lets a paused attempt go on, unless another one has begun.
    fn drop(&mut self) {
        let mut recorder = lock(&self.recorder);
        if self.attempt != Some(recorder.attempt) || !mem::take(&mut recorder.paused) {
            return;
        }
        // The waker is foreign code, so it runs without the lock.
        let waker = recorder.waker.take();
        drop(recorder);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<B> ReplayableBody for ReplayBody<B> {
    type Kept = KeptBody<B>;

    fn keep(&self) -> KeptBody<B> {
        KeptBody { recorder: Arc::clone(&self.recorder), attempt: self.claim() }
    }

    fn pause(kept: &KeptBody<B>) -> bool {
        kept.pause()
    }

    fn restore(kept: KeptBody<B>) -> Option<Self> {
        kept.restore()
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.claim().is_none() {
            let error = "the body failed, or is longer than it said, or its trailers are too long, \
                         so it can't be sent again";
            return Poll::Ready(Some(Err(error.into())));
        }
        let mut recorder = lock(&this.recorder);
        if !this.can_go_on(&recorder) {
            return Poll::Ready(Some(Err(BoxError::from(Superseded))));
        }
        // Kept frames come before the pause and the end: an attempt that has all of them at hand
        // waits for nothing, and learns that it has sent the whole body.
        if let Some(frame) = recorder.frame(this.sent) {
            this.sent += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        if recorder.ended {
            return Poll::Ready(None);
        }
        if recorder.paused {
            recorder.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let polled = ready!(recorder.poll_inner(cx));
        this.sent = recorder.pieces();
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let recorder = self.lock();
        self.can_go_on(&recorder) && recorder.ended && !recorder.has_unsent(self.sent)
    }

    fn size_hint(&self) -> SizeHint {
        let recorder = self.lock();
        if self.can_go_on(&recorder) { recorder.size_hint(self.sent) } else { SizeHint::default() }
    }
}

/// The error of an attempt that was still sending when its request was sent again.
#[derive(Debug)]
struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again, so this attempt is over")
    }
}

impl Error for Superseded {}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").field("attempt", &self.attempt.get()).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for KeptBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptBody").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
