//! [`ReplayBody`]: a body of any kind that can be sent again, as long as it is not too long.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;

/// Passes the frames of a body on as they come, and keeps them for a replay: by reference count, up to a cap.
///
/// - Beyond the cap, what was kept is let go and the body goes on untouched; it can't be replayed any more, and a 401
///   is the caller's. The same holds once the body has failed.
/// - A replay sends what was kept, and goes on with what the first attempt had not read yet, trailers included: byte
///   for byte what the caller gave, however far the first attempt had come.
/// - A first attempt that is still alive then, because the server answered before it had read everything, gets an
///   error when it asks for more; its answer is there already.
///
/// Its data is [`Bytes`]; data of another kind is copied once. [`ReplayLayer`](super::ReplayLayer) puts it around
/// request bodies.
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
    shared: Arc<Mutex<Shared<B>>>,
    /// Which attempt this is, from 0; none yet for a clone that has been neither sent nor read from.
    attempt: OnceLock<u32>,
    /// How many of the kept frames this attempt has sent.
    sent: usize,
}

struct Shared<B> {
    /// What nobody has read yet. Pinned where it is: an attempt that takes over goes on with it in its place.
    rest: Pin<Box<B>>,
    kept: Kept,
    capacity_left: usize,
    /// The attempt that may read. Those before it are over.
    attempt: u32,
    /// It may not go on for now.
    paused: bool,
    ended: bool,
    /// Of the attempt that waits for more.
    waker: Option<Waker>,
}

enum Kept {
    Frames(Vec<Piece>),
    /// There is no replay: too long, or failed.
    No,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// How much of a body is kept unless something else was said.
pub(super) const DEFAULT_CAP: usize = 64 * 1024;

impl<B: Body> ReplayBody<B> {
    /// Keeps up to `cap` bytes of `body`. A body that says from the start that it is longer is not kept at all.
    pub fn new(body: B, cap: usize) -> Self {
        let too_long = body.size_hint().lower() > cap as u64;
        let kept = if too_long { Kept::No } else { Kept::Frames(Vec::new()) };
        let ended = body.is_end_stream();
        let shared = Shared {
            rest: Box::pin(body),
            kept,
            capacity_left: cap,
            attempt: 0,
            paused: false,
            ended,
            waker: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)), attempt: OnceLock::from(0), sent: 0 }
    }

    /// The body again from its start, for what retries above the [`AuthLayer`](crate::AuthLayer): a
    /// `tower::retry::Policy` calls it in `clone_request`.
    ///
    /// `None` if nobody can promise that all of it will be kept: it does not say how long it is, is longer than the cap,
    /// or has failed. The clone takes over when it is sent through the layer, or first read from; the attempt before is over then.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use tower_reauth::replay::ReplayBody;
    ///
    /// fn clone_request(request: &Request<ReplayBody<Full<Bytes>>>) -> Option<Request<ReplayBody<Full<Bytes>>>> {
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
        let shared = self.lock();
        let fits = || {
            shared
                .rest
                .size_hint()
                .upper()
                .is_some_and(|upper| upper <= shared.capacity_left as u64)
        };
        let kept = matches!(shared.kept, Kept::Frames(_)) && (shared.ended || fits());
        kept.then(|| Self { shared: Arc::clone(&self.shared), attempt: OnceLock::new(), sent: 0 })
    }
}

impl<B: Body + Default> Default for ReplayBody<B> {
    /// The body that a redirect followed with `GET` has.
    fn default() -> Self {
        Self::new(B::default(), DEFAULT_CAP)
    }
}

impl<B> ReplayBody<B> {
    /// If not, another attempt has taken over, or nothing is left to send again, and it has an error to tell: a client that
    /// took it for empty would send it so.
    fn can_go_on(&self, shared: &Shared<B>) -> bool {
        match self.attempt.get() {
            Some(attempt) => *attempt == shared.attempt,
            None => matches!(shared.kept, Kept::Frames(_)),
        }
    }

    /// A second hold on this attempt, which is about to be sent; it sends nothing itself.
    pub(super) fn keep(&self) -> KeptBody<B> {
        KeptBody { shared: Arc::clone(&self.shared), attempt: self.claim() }
    }

    /// Which attempt this is from now on; none if the body can't be sent again, and this is a clone of it.
    fn claim(&self) -> Option<u32> {
        if self.attempt.get().is_none() {
            let _ = self.attempt.set(begin(self.lock())?);
        }
        self.attempt.get().copied()
    }

    fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        lock(&self.shared)
    }
}

/// What a replay needs of a [`ReplayBody`].
pub struct KeptBody<B> {
    shared: Arc<Mutex<Shared<B>>>,
    attempt: Option<u32>,
}

impl<B> KeptBody<B> {
    /// Stops the attempt under way, as if nothing more had come yet, until this is restored or dropped; so that it neither
    /// outgrows the cap nor is cut off in vain. `false` if there can't be a replay.
    pub(super) fn pause(&self) -> bool {
        let mut shared = lock(&self.shared);
        let can_be_replayed =
            self.attempt == Some(shared.attempt) && matches!(shared.kept, Kept::Frames(_));
        shared.paused |= can_be_replayed;
        can_be_replayed
    }

    /// The body from its start, if all that was sent of it is kept. The attempt before is over with that.
    pub(super) fn restore(&self) -> Option<ReplayBody<B>> {
        let shared = lock(&self.shared);
        if self.attempt != Some(shared.attempt) {
            return None;
        }
        let attempt = begin(shared)?;
        Some(ReplayBody {
            shared: Arc::clone(&self.shared),
            attempt: OnceLock::from(attempt),
            sent: 0,
        })
    }
}

impl<B> Drop for KeptBody<B> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        if self.attempt != Some(shared.attempt) || !mem::take(&mut shared.paused) {
            return;
        }
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Begins a new attempt, if all that was sent is kept.
fn begin<B>(mut shared: MutexGuard<'_, Shared<B>>) -> Option<u32> {
    if matches!(shared.kept, Kept::No) {
        return None;
    }
    shared.attempt += 1;
    shared.paused = false;
    let (attempt, waker) = (shared.attempt, shared.waker.take());
    drop(shared);
    // So that the attempt before learns that it is over, and lets its connection go.
    if let Some(waker) = waker {
        waker.wake();
    }
    Some(attempt)
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // A body that panicked has failed; `poll_rest` sees to that.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Shared<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // If polling panics, there is no replay of what came after.
        let kept = mem::replace(&mut self.kept, Kept::No);
        let polled = self.rest.as_mut().poll_frame(cx);
        let frame = match polled {
            Poll::Pending => {
                self.kept = kept;
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                self.kept = kept;
                self.ended = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let piece = match frame.into_data() {
            Ok(mut data) => Piece::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Piece::Trailers(trailers),
                // A kind of frame that is not known yet, and so can't be kept.
                Err(_) => return Poll::Ready(Some(Err("a body frame of an unknown kind".into()))),
            },
        };
        self.ended = self.rest.is_end_stream();
        self.kept = self.keep(kept, &piece);
        Poll::Ready(Some(Ok(piece.into())))
    }

    fn keep(&mut self, kept: Kept, piece: &Piece) -> Kept {
        let Kept::Frames(mut frames) = kept else { return Kept::No };
        let size = piece.size();
        if size > self.capacity_left {
            return Kept::No;
        }
        self.capacity_left -= size;
        frames.push(piece.clone());
        Kept::Frames(frames)
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
            let error = "the body failed, or is longer than it said, so it can't be sent again";
            return Poll::Ready(Some(Err(error.into())));
        }
        let mut shared = lock(&this.shared);
        if !this.can_go_on(&shared) {
            return Poll::Ready(Some(Err(BoxError::from(Superseded))));
        }
        if let Kept::Frames(frames) = &shared.kept
            && let Some(piece) = frames.get(this.sent)
        {
            let frame = piece.clone().into();
            this.sent += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        if shared.paused {
            shared.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let polled = ready!(shared.poll_rest(cx));
        this.sent += 1;
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.lock();
        self.can_go_on(&shared) && shared.ended && shared.unsent(self.sent).is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.lock();
        if !self.can_go_on(&shared) {
            return SizeHint::default();
        }
        let unsent = shared.unsent(self.sent).iter().map(|piece| piece.size() as u64).sum();
        let rest = if shared.ended { SizeHint::with_exact(0) } else { shared.rest.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(unsent));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unsent));
        }
        hint
    }
}

impl<B> Shared<B> {
    fn unsent(&self, sent: usize) -> &[Piece] {
        match &self.kept {
            Kept::Frames(frames) => frames.get(sent..).unwrap_or_default(),
            Kept::No => &[],
        }
    }
}

impl Piece {
    /// What counts against the cap. Trailers don't: a body does not tell their size in advance, and so could promise nothing.
    fn size(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// An attempt was still sending when its request was sent again.
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
