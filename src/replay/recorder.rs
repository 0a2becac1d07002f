//! [`Recorder`]: the inner body of a [`ReplayBody`](super::ReplayBody), and the frames kept of it.
//!
//! All attempts to send one body share one recorder behind a mutex. Attempts are numbered from 0,
//! and only the newest one may read. It sends the kept frames from the first one on, and then goes
//! on with the inner body. Each frame is kept before it is passed on, so a further attempt finds
//! every frame that was sent.
//!
//! The recording is bounded by the bytes of the body, however it is cut into frames. A frame
//! without data is not kept. Neighbours that are shorter than [`SMALL`] are merged, so there is at
//! most one piece for each [`SMALL`] / 2 bytes. All that are shorter, but for a first one, are
//! copied, which lets go of the buffers that they are slices of.

use std::{
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;

/// How many bytes of a body are kept unless the user says otherwise.
pub(super) const DEFAULT_CAP: usize = 64 * 1024;

/// A frame with fewer bytes than this is copied, unless it is the first one, which may be the whole
/// body. Longer ones are kept by reference count, because copying them costs more than a place of
/// their own.
const SMALL: usize = 1024;

/// How long merged frames get at most. A longer piece would be copied more often as it grows.
const MERGED: usize = 4 * SMALL;

/// How many bytes of trailers are kept beside the cap, with the memory that a header map takes.
///
/// They have an allowance of their own because a body does not announce their size. If they counted
/// against the cap, no body could promise to fit.
const MAX_TRAILERS: usize = 16 * 1024;

pub(super) struct Recorder<B> {
    /// Holds the frames that no attempt has read yet. Boxed, because it is pinned while one attempt
    /// after the other polls it, and each of those may move.
    inner: Pin<Box<B>>,
    kept: Kept,
    /// How many more bytes of data may be kept.
    capacity_left: usize,
    /// How many more bytes of trailers may be kept.
    trailers_left: usize,
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
    Pieces(Vec<Piece>),
    /// A replay is ruled out: the body was longer than the cap, or has failed.
    No,
}

/// One or more kept frames. [`Frame`] itself can't be cloned.
enum Piece {
    Data(Bytes),
    /// Frames that were merged, and may be merged with the next one.
    Merged(BytesMut),
    Trailers(Box<HeaderMap>),
}

impl<B: Body> Recorder<B> {
    /// Starts to record `body`, of which up to `cap` bytes are kept.
    pub(super) fn new(body: B, cap: usize) -> Self {
        // A body that announces more than the cap can't be replayed in the end. Its first frames
        // would be kept in vain, so none is.
        let too_long = body.size_hint().lower() > cap as u64;
        let kept = if too_long { Kept::No } else { Kept::Pieces(Vec::new()) };
        let ended = body.is_end_stream();
        Self {
            inner: Box::pin(body),
            kept,
            capacity_left: cap,
            trailers_left: MAX_TRAILERS,
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

    /// Returns the size that an attempt still has to send, after its first `sent` pieces.
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
        let frame = match frame.into_data() {
            // Shares the memory if the data is `Bytes` already, and copies it otherwise.
            Ok(mut data) => Frame::data(data.copy_to_bytes(data.remaining())),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(trailers),
                // A later version of `http-body` may have more kinds, which can't be kept.
                Err(_) => return Poll::Ready(Some(Err("a body frame of an unknown kind".into()))),
            },
        };
        self.ended = self.inner.is_end_stream();
        self.kept = self.keep(kept, &frame);
        Poll::Ready(Some(Ok(frame)))
    }

    /// Adds `frame` to `kept`. Beyond the cap, drops everything kept so far: a replay without its
    /// end is of no use, and the memory is.
    fn keep(&mut self, kept: Kept, frame: &Frame<Bytes>) -> Kept {
        let Kept::Pieces(mut pieces) = kept else { return Kept::No };
        if let Some(data) = frame.data_ref() {
            let Some(left) = self.capacity_left.checked_sub(data.len()) else { return Kept::No };
            self.capacity_left = left;
            push(&mut pieces, data);
        } else if let Some(trailers) = frame.trailers_ref() {
            let size = size_of_trailers(trailers);
            let Some(left) = self.trailers_left.checked_sub(size) else { return Kept::No };
            self.trailers_left = left;
            pieces.push(Piece::Trailers(Box::new(trailers.clone())));
        }
        Kept::Pieces(pieces)
    }
}

/// Adds the data of one frame, merged with the piece before it if both are small.
fn push(pieces: &mut Vec<Piece>, data: &Bytes) {
    if data.is_empty() {
        return;
    }
    let is_small = data.len() < SMALL;
    match pieces.last_mut() {
        Some(Piece::Merged(merged)) if is_small && merged.len() + data.len() <= MERGED => {
            merged.extend_from_slice(data);
        }
        Some(Piece::Data(before)) if is_small && before.len() < SMALL => {
            let mut merged = BytesMut::with_capacity(before.len() + data.len());
            merged.extend_from_slice(before);
            merged.extend_from_slice(data);
            pieces.pop();
            pieces.push(Piece::Merged(merged));
        }
        Some(_) if is_small => pieces.push(Piece::Merged(BytesMut::from(&data[..]))),
        _ => pieces.push(Piece::Data(data.clone())),
    }
}

/// Returns about how much memory a copy of `trailers` takes. It is never less than the bytes of
/// the names and values.
fn size_of_trailers(trailers: &HeaderMap) -> usize {
    // The places of the map itself, of each header, and of each slot of the hash table.
    const MAP: usize = 128;
    const HEADER: usize = 128;
    const SLOT: usize = 8;
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let headers: usize = trailers.iter().map(|header| HEADER + bytes(header)).sum();
    MAP + headers + SLOT * trailers.capacity()
}

impl<B> Recorder<B> {
    /// Returns whether all frames that were read are kept.
    pub(super) fn is_replayable(&self) -> bool {
        matches!(self.kept, Kept::Pieces(_))
    }

    /// Returns the number of pieces kept so far. An attempt that has read a frame of the inner body
    /// has sent all of them.
    pub(super) fn pieces(&self) -> usize {
        self.unsent(0).len()
    }

    /// Returns whether a piece is kept after the first `sent`.
    pub(super) fn has_unsent(&self, sent: usize) -> bool {
        !self.unsent(sent).is_empty()
    }

    /// Returns the kept piece after the first `sent`, as a frame.
    pub(super) fn frame(&mut self, sent: usize) -> Option<Frame<Bytes>> {
        let Kept::Pieces(pieces) = &mut self.kept else { return None };
        let piece = pieces.get_mut(sent)?;
        Some(match piece {
            Piece::Data(data) => Frame::data(data.clone()),
            Piece::Merged(merged) => {
                // Shared from here on, so that sending it again copies nothing.
                let data = mem::take(merged).freeze();
                *piece = Piece::Data(data.clone());
                Frame::data(data)
            }
            Piece::Trailers(trailers) => Frame::trailers((**trailers).clone()),
        })
    }

    /// Returns the kept pieces after the first `sent`.
    fn unsent(&self, sent: usize) -> &[Piece] {
        match &self.kept {
            Kept::Pieces(pieces) => pieces.get(sent..).unwrap_or_default(),
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
    /// Returns how many bytes of data the piece has.
    fn size(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Merged(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}
