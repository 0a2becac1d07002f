//! [`isolate`]: a fence around code that belongs to somebody else.
//!
//! Wakers, `tracing` subscribers, metrics recorders and destructors of user types run inside this
//! crate's calls. A panic in one of them must not leave another waiter asleep, and must not meet a
//! panic that is already unwinding, which would abort the process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tracing::Span;

/// Runs `foreign` and swallows its panic. Returns `None` if it panicked.
///
/// The panic hook has reported the panic by then. `foreign` is asserted to be unwind-safe because
/// nothing of this crate is half-changed while it runs.
pub(crate) fn isolate<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(foreign)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // The payload's own destructor is foreign code too. What that one panics with is
            // leaked, because there has to be an end.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
            dropped.unwrap_or_else(std::mem::forget);
            None
        }
    }
}

/// Polls a future inside a span, as [`tracing::Instrument`] does, with the subscriber isolated.
pub(crate) struct InSpan<F> {
    future: Pin<Box<F>>,
    span: Option<Span>,
}

impl<F: Future> InSpan<F> {
    /// Wraps `future`. `span` makes the span, which asks the subscriber.
    pub(crate) fn new(future: F, span: impl FnOnce() -> Span) -> Self {
        Self { future: Box::pin(future), span: isolate(span) }
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, span } = &mut *self;
        let entered = span.as_ref().and_then(|span| isolate(|| span.enter()));
        let polled = future.as_mut().poll(cx);
        isolate(|| drop(entered));
        polled
    }
}

impl<F> Drop for InSpan<F> {
    fn drop(&mut self) {
        let span = self.span.take();
        isolate(|| drop(span));
    }
}
