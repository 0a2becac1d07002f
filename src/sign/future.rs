//! [`ResponseFuture`]: drives a request to its response, and sends it again after a 401.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    attempt::{Replayable, Unsent},
    classify::{Classification, Classify, Unauthorized},
    handle::ServiceHandle,
    refused::after_refusal,
    state::{State, StateProj},
};
use crate::{
    cache::Lease,
    error::{BoxError, Error},
    replay::{KeptHead, Replay},
    sync,
};

pin_project! {
    /// Resolves to the response to a request that was made through [`Auth`](crate::Auth).
    ///
    /// If no new token can be obtained after a 401, the 401 is the response, body and all, and the
    /// [`AuthError`](crate::AuthError) that says why is in its extensions. If the request body
    /// can't be sent again, a [`Declined`](crate::replay::Declined) is there. The same goes for
    /// each response that the layer's [`Classify`] calls a refusal.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request like any HTTP future. A refresh that it started or joined goes
    /// on, and its token is kept for the next request.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R, C = Unauthorized>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        #[pin]
        state: State<S, B, R>,
        classify: C,
    }
}

impl<S, B, R, C> ResponseFuture<S, B, R, C>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    pub(crate) fn refused(error: Error, classify: C) -> Self {
        Self { state: State::Refusing { error: Some(Box::new(error)) }, classify }
    }

    pub(crate) fn passing(future: S::Future, line: KeptHead, classify: C) -> Self {
        Self { state: State::Passing { future, line }, classify }
    }

    #[inline]
    pub(crate) fn signed(
        future: S::Future,
        lease: sync::Arc<Lease>,
        replay: Option<Replayable<S, R::Kept>>,
        trace: R::Trace,
        classify: C,
    ) -> Self {
        Self { state: State::Sending { future, lease: Some(lease), replay, trace }, classify }
    }

    pub(crate) fn acquiring(
        request: Request<B>,
        handle: Arc<ServiceHandle<S>>,
        classify: C,
    ) -> Self {
        let unsent = Unsent { request: Box::new(request), handle, attempt: None };
        Self { state: State::acquiring(unsent), classify }
    }
}

impl<S, B, ResB, R, C> Future for ResponseFuture<S, B, R, C>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B>,
    C: Classify,
{
    type Output = Result<Response<ResB>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            let StateProj::Sending { future, lease, replay, trace } = state.as_mut().project()
            else {
                match ready!(state.as_mut().poll_slow(this.classify, cx)) {
                    Some(ended) => return Poll::Ready(ended),
                    None => continue,
                }
            };
            // ## Sending => (Pausing | Doubting | Renewing | done)
            //
            // This arm alone is in `poll`, because nearly every poll comes here, and a real client
            // finds none of this code in its first-level cache.
            let polled = future.poll(cx);
            let Poll::Ready(result) = &polled else { return Poll::Pending };
            // The request is no longer in flight, even if this future is kept for a while.
            let lease = lease.take();
            // The response is checked where it lies, because a move of it costs as much as the
            // check.
            if let (Ok(response), Some(lease)) = (result, lease) {
                match this.classify.classify(response) {
                    Classification::Accepted => {
                        lease.accept(|| R::route(replay.as_ref().map(|it| &it.kept), trace));
                    }
                    Classification::Neutral => {}
                    refusal @ (Classification::TokenRefused | Classification::ProofRefused) => {
                        let replay = replay.take();
                        let route = R::route(replay.as_ref().map(|it| &it.kept), trace);
                        let Poll::Ready(Ok(response)) = polled else { return Poll::Pending };
                        let attempt = Box::default();
                        let next = after_refusal::<_, _, R, _>(
                            refusal, response, lease, replay, route, attempt,
                        );
                        match State::after(next) {
                            Ok(next) => state.set(next),
                            Err(response) => return Poll::Ready(Ok(response)),
                        }
                        continue;
                    }
                }
            }
            return polled.map_err(|error| {
                Error::inner_of(error, R::line(replay.as_ref().map(|it| &it.kept)))
            });
        }
    }
}

impl<S, B, R, C> fmt::Debug for ResponseFuture<S, B, R, C>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refusing { .. } => "Refusing",
            State::Passing { .. } => "Passing",
            State::Acquiring { .. } => "Acquiring",
            State::Readying { .. } => "Readying",
            State::Sending { .. } => "Sending",
            State::Pausing { .. } => "Pausing",
            State::Doubting { .. } => "Doubting",
            State::Renewing { .. } => "Renewing",
            State::Resending { .. } => "Resending",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
