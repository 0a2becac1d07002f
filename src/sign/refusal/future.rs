//! [`PeekFuture`]: waits for the head of a response and, if its body is one to be read, for that.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut};
use http::{HeaderMap, HeaderValue, Response, header, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    codes::Settings,
    conditions::Mark,
    peeked::{Front, Peeked},
};
use crate::clock::{self, Alarm};

/// The longest body that is read, in bytes.
const MAX_BYTES: usize = 4096;

/// How many frames are read at most. A body of 4 KiB that comes byte by byte would otherwise take a
/// hundred times its size.
const MAX_FRAMES: usize = 64;

pin_project! {
    /// The response to a request of [`Peek`](super::Peek).
    #[must_use = "futures do nothing unless polled"]
    pub struct PeekFuture<F, B: Body> {
        #[pin]
        state: State<F, B>,
        settings: Arc<Settings>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B: Body> {
        // The head has not arrived.
        Sending { #[pin] future: F },
        // The body is read. The future is dropped by now, because it may hold a permit of a limit.
        // Boxed, because few bodies are read, and every future would carry the place for it.
        Peeking { peeking: Option<Box<Peeking<B>>> },
    }
}

/// A response whose body is being read.
struct Peeking<B: Body> {
    parts: Parts,
    front: Pin<Box<Front<B>>>,
    /// The data of the frames that were read.
    text: Vec<u8>,
    /// Set when the body is waited for.
    alarm: Option<Alarm>,
}

impl<F, B: Body> PeekFuture<F, B> {
    pub(super) fn new(future: F, settings: Arc<Settings>) -> Self {
        Self { state: State::Sending { future }, settings }
    }
}

impl<F, B, E> Future for PeekFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: Clone>,
{
    type Output = Result<Response<Peeked<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            let next = match state.as_mut().project() {
                // ## Sending => (Peeking | done)
                //
                // The head has arrived. Most bodies are none to be read.
                StateProj::Sending { future } => {
                    let response = ready!(future.poll(cx))?;
                    if !may_peek(&response) {
                        return Poll::Ready(Ok(response.map(Peeked::untouched)));
                    }
                    State::Peeking { peeking: Some(Box::new(Peeking::new(response))) }
                }
                // ## Peeking => done
                //
                // The JSON value is complete, or is not waited for any longer.
                StateProj::Peeking { peeking } => {
                    let Some(reading) = peeking else { return Poll::Pending };
                    let is_refused = ready!(reading.poll(this.settings, cx));
                    let Some(read) = peeking.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(read.restore(is_refused)));
                }
            };
            state.set(next);
        }
    }
}

impl<B: Body<Data: Clone>> Peeking<B> {
    fn new(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self { parts, front: Front::new(body), text: Vec::new(), alarm: None }
    }

    /// Reads the body until it is known whether it holds a code. Returns `false` if that can't be
    /// known within the bounds.
    fn poll(&mut self, settings: &Settings, cx: &mut Context<'_>) -> Poll<bool> {
        let Self { front, text, alarm, .. } = self;
        while front.len() < MAX_FRAMES {
            let Poll::Ready(frame) = front.as_mut().poll_read(cx) else {
                let alarm = alarm.get_or_insert_with(|| set_alarm(settings));
                if alarm.is_set() {
                    ready!(alarm.poll(cx));
                }
                return Poll::Ready(false);
            };
            // A body that has ended, has failed or goes on with trailers has no more data.
            let Some(data) = frame.and_then(|frame| frame.data_ref()) else { break };
            if data.remaining() > MAX_BYTES - text.len() {
                break;
            }
            text.put(data.clone());
            if let Some(is_refused) = settings.codes.find(text) {
                return Poll::Ready(is_refused);
            }
        }
        Poll::Ready(false)
    }

    /// Makes the response as it was, with the mark if it is a refusal.
    fn restore(self, is_refused: bool) -> Response<Peeked<B>> {
        let mut response = Response::from_parts(self.parts, Peeked::read(self.front));
        if is_refused {
            response.extensions_mut().insert(Mark);
        }
        response
    }
}

/// Sets the alarm that ends the wait for a body. Without a runtime none is set.
fn set_alarm(settings: &Settings) -> Alarm {
    if settings.timeout.is_zero() {
        return Alarm::none();
    }
    Alarm::at(clock::later(clock::now(), settings.timeout))
}

/// Returns whether the body of `response` is a small one of JSON.
fn may_peek<B: Body>(response: &Response<B>) -> bool {
    let (headers, body) = (response.headers(), response.body());
    headers.get(header::CONTENT_TYPE).is_some_and(is_json)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !is_long(headers)
        && body.size_hint().lower() <= MAX_BYTES as u64
        && !body.is_end_stream()
}

fn is_json(content_type: &HeaderValue) -> bool {
    let value = content_type.as_bytes();
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let essence = value[..end].trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || essence.ends_with(b"+json")
}

/// Returns whether the length that the headers name is more than is read, or can't be read.
fn is_long(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_LENGTH).is_some_and(|length| {
        let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
        length.is_none_or(|length| length > MAX_BYTES)
    })
}

impl<F, B: Body> fmt::Debug for PeekFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Sending { .. } => "Sending",
            State::Peeking { .. } => "Peeking",
        };
        f.debug_tuple("PeekFuture").field(&state).finish()
    }
}
