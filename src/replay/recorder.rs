//! [`Recorder`]: the inner body of a [`ReplayBody`](super::ReplayBody), and the frames kept of it.
//!
//! All attempts to send one body share one recorder behind a mutex. Attempts are numbered from 0,
//! and only the newest one may read. It sends the kept frames from the first one on, and then goes
//! on with the inner body. Each frame is kept before it is passed on, so a further attempt finds
//! every frame that was sent.

use std::{
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;

/// How many bytes of a body are kept unless the user says otherwise.
pub(super) const DEFAULT_CAP: usize = 64 * 1024;

pub(super) struct Recorder<B> {
    /// Holds the frames that no attempt has read yet. Boxed, because it is pinned while one attempt
    /// after the other polls it, and each of those may move.
    inner: Pin<Box<B>>,
    kept: Kept,
    /// How many more bytes may be kept.
    capacity_left: usize,
    /// The number of the attempt that may read. Earlier attempts are over.
    pub(super) attempt: u32,
    /// While set, the attempt gets kept frames only, and waits for others.
    pub(super) paused: bool,
    /// The inner body has ended or failed, so it must not be polled again.
    pub(super) ended: bool,
    /// Wakes the attempt that waits for a frame.
    pub(super) waker: Option<Waker>,
}

enum Kept {
    Frames(Vec<Piece>),
    /// A replay is ruled out: the body was longer than the cap, or has failed.
    No,
}

/// A kept frame. [`Frame`] itself can't be cloned.
#[derive(Clone)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl<B: Body> Recorder<B> {
    /// Starts to record `body`, of which up to `cap` bytes are kept.
    pub(super) fn new(body: B, cap: usize) -> Self {
        // A body that announces more than the cap can't be replayed in the end. Its first frames
        // would be kept in vain, so none is.
        let too_long = body.size_hint().lower() > cap as u64;
        let kept = if too_long { Kept::No } else { Kept::Frames(Vec::new()) };
        let ended = body.is_end_stream();
        Self {
            inner: Box::pin(body),
            kept,
            capacity_left: cap,
            attempt: 0,
            paused: false,
            ended,
            waker: None,
        }
    }

    /// Returns whether the body promises that all of it will be kept. A body that does not say how
    /// long it is at most promises nothing.
    pub(super) fn will_keep_all(&self) -> bool {
        let fits = || {
            let upper = self.inner.size_hint().upper();
            upper.is_some_and(|upper| upper <= self.capacity_left as u64)
        };
        self.is_replayable() && (self.ended || fits())
    }

    /// Returns the size that an attempt still has to send, after its first `sent` frames.
    pub(super) fn size_hint(&self, sent: usize) -> SizeHint {
        let unsent = self.unsent(sent).iter().map(|piece| piece.size() as u64).sum();
        // A body that has failed may still announce the bytes that never came.
        let rest = if self.ended { SizeHint::with_exact(0) } else { self.inner.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(unsent));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unsent));
        }
        hint
    }
}

impl<B> Recorder<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads the next frame of the inner body, and keeps it.
    pub(super) fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // `kept` is `No` during the poll, and restored only on the ways out that lose no frame. So
        // an error or a panic rules a replay out, which would lack what came after.
        let kept = mem::replace(&mut self.kept, Kept::No);
        let polled = self.inner.as_mut().poll_frame(cx);
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
            // Shares the memory if the data is `Bytes` already, and copies it otherwise.
            Ok(mut data) => Piece::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Piece::Trailers(trailers),
                // A later version of `http-body` may have more kinds, which can't be kept.
                Err(_) => return Poll::Ready(Some(Err("a body frame of an unknown kind".into()))),
            },
        };
        self.ended = self.inner.is_end_stream();
        self.kept = self.keep(kept, &piece);
        Poll::Ready(Some(Ok(piece.into())))
    }

    /// Adds `piece` to `kept`. Beyond the cap, drops everything kept so far: a replay without its
    /// end is of no use, and the memory is.
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

impl<B> Recorder<B> {
    /// Returns whether all frames that were read are kept.
    pub(super) fn is_replayable(&self) -> bool {
        matches!(self.kept, Kept::Frames(_))
    }

    /// Returns the kept frames after the first `sent`.
    pub(super) fn unsent(&self, sent: usize) -> &[Piece] {
        match &self.kept {
            Kept::Frames(frames) => frames.get(sent..).unwrap_or_default(),
            Kept::No => &[],
        }
    }
}

/// Begins a new attempt, and ends the previous one. Returns the number of the new attempt, or
/// `None` if the body can't be replayed.
pub(super) fn begin<B>(mut recorder: MutexGuard<'_, Recorder<B>>) -> Option<u32> {
    if !recorder.is_replayable() {
        return None;
    }
    recorder.attempt += 1;
    recorder.paused = false;
    let (attempt, waker) = (recorder.attempt, recorder.waker.take());
    drop(recorder);
    // The earlier attempt learns that it is over only when it is polled. Unless it is woken, it
    // keeps its connection open for nothing. A waker is foreign code, so it runs without the lock.
    if let Some(waker) = waker {
        waker.wake();
    }
    Some(attempt)
}

pub(super) fn lock<B>(recorder: &Mutex<Recorder<B>>) -> MutexGuard<'_, Recorder<B>> {
    // The inner body may panic under the lock. `poll_inner` leaves a valid state even then.
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Piece {
    /// Returns how many bytes count against the cap. Trailers count for none, because a body does
    /// not announce their size: if they counted, no body could promise to fit.
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
