//! [`ResponseFuture`]: drives a request to its response, with one replay at most.

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
    attempt::{Refused, Replayable, Unsent, decline},
    classify::{Classification, Classify, Unauthorized},
    handle::ServiceHandle,
};
use crate::{
    cache::{Lease, Requirement, Wait},
    error::{AuthError, BoxError, Error},
    replay::Replay,
    sync,
};

pin_project! {
    /// Resolves to the response to a request that was made through [`Auth`](crate::Auth).
    ///
    /// If no new token can be obtained after a 401, the 401 is the response, body and all, and the
    /// [`AuthError`] that says why is in its extensions. If the request body can't be sent again, a
    /// [`Declined`](crate::replay::Declined) is there. The same goes for each response that the
    /// layer's [`Classify`] calls a refusal.
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

pin_project! {
    #[project = StateProj]
    enum State<S, B, R>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        // The guard does not let the request carry the token, or there is no place for it.
        Refusing { error: Option<AuthError> },
        // The request is not signed.
        Passing { #[pin] future: S::Future },
        // The request waits for a token. It has no service meanwhile, so that it holds no permit of
        // a limit below.
        Acquiring { unsent: Option<Unsent<S, B>>, wait: Wait },
        // The request waits for a service to be ready. The service is boxed because most are ready
        // at once, and every future would carry the place for it.
        Readying { unsent: Option<Unsent<S, B>>, service: Option<Box<S>> },
        // The request is in flight. The lease is held until the response head arrives.
        Sending {
            #[pin]
            future: S::Future,
            lease: Option<sync::Arc<Lease>>,
            replay: Option<Replayable<S, R::Kept>>,
        },
        // The request was answered 401, and waits for a newer token. Or its proof was refused, and
        // any token that can be sent will do.
        Renewing { refused: Option<Box<Refused<S, S::Response, R::Kept>>>, wait: Wait },
    }
}

impl<S, B, R, C> ResponseFuture<S, B, R, C>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    pub(crate) fn refused(error: AuthError, classify: C) -> Self {
        Self { state: State::Refusing { error: Some(error) }, classify }
    }

    pub(crate) fn passing(future: S::Future, classify: C) -> Self {
        Self { state: State::Passing { future }, classify }
    }

    #[inline]
    pub(crate) fn signed(
        future: S::Future,
        lease: sync::Arc<Lease>,
        replay: Option<Replayable<S, R::Kept>>,
        classify: C,
    ) -> Self {
        Self { state: State::Sending { future, lease: Some(lease), replay }, classify }
    }

    pub(crate) fn acquiring(
        request: Request<B>,
        handle: Arc<ServiceHandle<S>>,
        classify: C,
    ) -> Self {
        let unsent = Unsent { request: Box::new(request), handle, is_replay: false };
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
            let StateProj::Sending { future, lease, replay } = state.as_mut().project() else {
                match ready!(state.as_mut().poll_slow(cx)) {
                    Some(ended) => return Poll::Ready(ended),
                    None => continue,
                }
            };
            // ## Sending => (Renewing | done)
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
                    Classification::Accepted => lease.accept(),
                    Classification::Neutral => {}
                    refusal @ (Classification::TokenRefused | Classification::ProofRefused) => {
                        let replay = replay.take();
                        let Poll::Ready(Ok(response)) = polled else { return Poll::Pending };
                        match State::after_refusal(refusal, response, &lease, replay) {
                            Ok(next) => state.set(next),
                            Err(response) => return Poll::Ready(Ok(response)),
                        }
                        continue;
                    }
                }
            }
            return polled.map_err(|error| Error::Inner(error.into()));
        }
    }
}

impl<S, B, R> State<S, B, R>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    fn acquiring(unsent: Unsent<S, B>) -> Self {
        Self::Acquiring { unsent: Some(unsent), wait: Wait::new() }
    }
}

impl<S, B, ResB, R> State<S, B, R>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    /// Drives the request until it is in flight (`None`) or ends before that (`Some`).
    ///
    /// A state other than `Passing` and `Sending` has ended if its `Option` is empty. Polled again,
    /// it stays pending.
    #[inline(never)]
    fn poll_slow(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Response<ResB>, Error>>> {
        loop {
            let next = match self.as_mut().project() {
                // ## Refusing => done
                //
                // The request is not sent. The caller gets the reason.
                StateProj::Refusing { error } => {
                    let Some(error) = error.take() else { return Poll::Pending };
                    return Poll::Ready(Some(Err(error.into())));
                }
                // ## Passing => done
                //
                // The response is the caller's, whatever it says.
                StateProj::Passing { future } => {
                    let response = ready!(future.poll(cx));
                    return Poll::Ready(Some(response.map_err(inner)));
                }
                // ## Acquiring => (Sending | Readying | Acquiring | done)
                //
                // There is a token, and the service is ready at once or becomes so. Without a
                // token the caller gets the error of the refresh that it waited for.
                StateProj::Acquiring { unsent, wait } => {
                    let Some(waiting) = unsent else { return Poll::Pending };
                    let cache = &waiting.handle.signer.cache;
                    let mut lease = None;
                    let result = ready!(wait.poll(
                        cache.handle(),
                        &Requirement::Usable,
                        R::KEEPS && !waiting.is_replay,
                        |token| {
                            lease = cache.lease();
                            lease.is_some() || token.is_usable()
                        },
                        cx,
                    ));
                    let Some(unsent) = unsent.take() else { return Poll::Pending };
                    let (lease, is_scout) = match result {
                        Ok(granted) => (granted.scout.clone().or(lease), granted.scout.is_some()),
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    };
                    let mut service = unsent.handle.service();
                    match service.poll_ready(cx) {
                        Poll::Ready(Ok(())) => unsent.send(service, lease),
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Some(Err(inner(error))));
                        }
                        // The lease is dropped here. Held for longer, it would delay a renewal.
                        Poll::Pending => {
                            if is_scout {
                                unsent.handle.signer.cache.handle().give_up_scouting();
                            }
                            let service = Some(Box::new(service));
                            self.set(State::Readying { unsent: Some(unsent), service });
                            return Poll::Pending;
                        }
                    }
                }
                // ## Readying => (Sending | Acquiring | done)
                //
                // The service is ready. If that took longer than the token lasted, the request
                // waits for another token, without the service and the permit that it may hold.
                StateProj::Readying { unsent, service } => {
                    let Some(readying) = service else { return Poll::Pending };
                    let result = ready!(readying.poll_ready(cx));
                    let (Some(unsent), Some(service)) = (unsent.take(), service.take()) else {
                        return Poll::Pending;
                    };
                    if let Err(error) = result {
                        return Poll::Ready(Some(Err(inner(error))));
                    }
                    unsent.send(*service, None)
                }
                // ## Renewing => (Acquiring | done)
                //
                // There is a newer token, or one that can be sent if only the proof was refused.
                // The request is made again. If there will be none, or the body can't be sent
                // again, the 401 is the caller's.
                StateProj::Renewing { refused, wait } => {
                    let Some(waiting) = refused else { return Poll::Pending };
                    let handle = waiting.replay.handle.signer.cache.handle();
                    let can_send = |token: &_| handle.can_send(token);
                    let result =
                        ready!(wait.poll(handle, &waiting.requirement, false, can_send, cx));
                    let Some(refused) = refused.take() else { return Poll::Pending };
                    match refused.restore::<B, R>(result.map(|granted| granted.token)) {
                        Ok(unsent) => State::acquiring(unsent),
                        Err(response) => return Poll::Ready(Some(Ok(response))),
                    }
                }
                // The request is in flight.
                StateProj::Sending { .. } => return Poll::Ready(None),
            };
            self.set(next);
        }
    }

    /// Decides what comes after a refusal. The error is the caller's response.
    #[cold]
    fn after_refusal(
        refusal: Classification,
        response: Response<ResB>,
        lease: &Lease,
        replay: Option<Replayable<S, R::Kept>>,
    ) -> Result<Self, Response<ResB>> {
        if refusal == Classification::ProofRefused {
            Self::after_refused_proof(response, lease, replay)
        } else {
            Self::after_401(response, lease, replay)
        }
    }

    /// Decides what comes after the refusal of a proof: the same token once more, or a newer one if
    /// it has been replaced or has expired by then. The error is the caller's response.
    fn after_refused_proof(
        response: Response<ResB>,
        lease: &Lease,
        replay: Option<Replayable<S, R::Kept>>,
    ) -> Result<Self, Response<ResB>> {
        lease.refuse_proof();
        let Some(replay) = replay else { return Err(response) };
        if !R::pause(&replay.kept) {
            return Err(decline(response, &replay.handle.signer, true));
        }
        let requirement = Requirement::Usable;
        let refused = Some(Box::new(Refused { response, replay, requirement }));
        Ok(State::Renewing { refused, wait: Wait::new() })
    }

    /// Decides what comes after a 401, or another refusal of the token. The error is the caller's
    /// response.
    fn after_401(
        response: Response<ResB>,
        lease: &Lease,
        replay: Option<Replayable<S, R::Kept>>,
    ) -> Result<Self, Response<ResB>> {
        lease.refuse();
        let Some(replay) = replay else { return Err(response) };
        if !R::pause(&replay.kept) {
            // If the token is served on all the same, sending again would be in vain.
            let signer = &replay.handle.signer;
            let current = signer.cache.current();
            let is_renewed = current.is_none_or(|current| !current.is(&lease.token));
            return Err(decline(response, signer, is_renewed));
        }
        let requirement = Requirement::NewerThan(lease.token.clone());
        let refused = Some(Box::new(Refused { response, replay, requirement }));
        Ok(State::Renewing { refused, wait: Wait::new() })
    }
}

impl<S, B> Unsent<S, B> {
    /// Signs the request and hands it to the ready service. Without a lease it waits for another
    /// token.
    fn send<R>(mut self, mut service: S, lease: Option<sync::Arc<Lease>>) -> State<S, B, R>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        let signer = &self.handle.signer;
        let Some(lease) = lease.or_else(|| signer.cache.lease()) else {
            return State::acquiring(self);
        };
        let kept = if self.is_replay {
            signer.cache.tally().replays.add();
            None
        } else {
            R::keep(&self.request)
        };
        if let Err(error) = signer.sign(self.request.headers_mut(), &lease) {
            return State::Refusing { error: Some(error) };
        }
        let future = service.call(*self.request);
        let replay = kept.map(|kept| Replayable { kept, handle: self.handle });
        State::Sending { future, lease: Some(lease), replay }
    }
}

fn inner(error: impl Into<BoxError>) -> Error {
    Error::Inner(error.into())
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
            State::Renewing { .. } => "Renewing",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
