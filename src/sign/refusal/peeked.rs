//! [`Peeked`]: gives back what was read of a body, and then the rest.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that went through a [`RefusalLayer`](super::RefusalLayer).
    ///
    /// It has the frames, the trailers, the size hint and the errors of the body that it was made
    /// of, whether the layer has read of it or not.
    pub struct Peeked<B: Body> {
        #[pin]
        body: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B: Body> {
        Untouched { #[pin] body: B },
        // Boxed, because few bodies are read, and every response would carry the place for it.
        Read { front: Pin<Box<Front<B>>> },
    }
}

pin_project! {
    /// A body, and what was read of it.
    pub(super) struct Front<B: Body> {
        #[pin]
        body: B,
        frames: VecDeque<Frame<B::Data>>,
        // The error that came after the frames.
        error: Option<B::Error>,
        // The body has ended after the frames, and is not polled again.
        is_over: bool,
    }
}

impl<B: Body> Peeked<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self { body: Inner::Untouched { body } }
    }

    pub(super) fn read(front: Pin<Box<Front<B>>>) -> Self {
        Self { body: Inner::Read { front } }
    }
}

impl<B: Body> Front<B> {
    pub(super) fn new(body: B) -> Pin<Box<Self>> {
        Box::pin(Self { body, frames: VecDeque::new(), error: None, is_over: false })
    }

    /// Returns how many frames were read.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Reads one more frame and keeps it. Returns `None` at the end of the body, and when it fails.
    pub(super) fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<&Frame<B::Data>>> {
        let this = self.project();
        match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.frames.push_back(frame);
                Poll::Ready(this.frames.back())
            }
            Some(Err(error)) => {
                *this.error = Some(error);
                Poll::Ready(None)
            }
            None => {
                *this.is_over = true;
                Poll::Ready(None)
            }
        }
    }
}

impl<B: Body> Body for Front<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(frame) = this.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if *this.is_over { Poll::Ready(None) } else { this.body.poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && self.error.is_none()
            && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = if self.is_over { SizeHint::with_exact(0) } else { self.body.size_hint() };
        let data = self.frames.iter().filter_map(Frame::data_ref);
        let read = data.map(|data| data.remaining() as u64).sum::<u64>();
        let mut hint = SizeHint::new();
        // The upper bound first: the lower one must not exceed it.
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}

impl<B: Body> Body for Peeked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.project() {
            InnerProj::Untouched { body } => body.poll_frame(cx),
            InnerProj::Read { front } => front.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Untouched { body } => body.is_end_stream(),
            Inner::Read { front } => front.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Untouched { body } => body.size_hint(),
            Inner::Read { front } => front.size_hint(),
        }
    }
}

impl<B: Body + Default> Default for Peeked<B> {
    fn default() -> Self {
        Self::untouched(B::default())
    }
}

impl<B: Body> fmt::Debug for Peeked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what was read, because some bodies hold a secret.
        f.debug_struct("Peeked").finish_non_exhaustive()
    }
}
