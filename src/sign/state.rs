//! [`State`]: the way of a request, and what drives it on.

use std::{
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    attempt::{Replayable, Resent, Unsent},
    classify::{Classification, Classify},
    refused::{Next, Refused, after_refusal},
};
use crate::{
    cache::{CanScout, DoubtFuture, DoubtOutcome, Granted, Lease, Probe, Requirement, Wait},
    clock::{self, Alarm},
    error::{BoxError, Error, line_of},
    replay::{KeptHead, Replay},
    sync,
};

pin_project! {
    #[project = StateProj]
    pub(super) enum State<S, B, R>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        // The guard does not let the request carry the token, or there is no place for it.
        Refusing { error: Option<Box<Error>> },
        // The request is not signed.
        Passing { #[pin] future: S::Future, line: KeptHead },
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
            trace: R::Trace,
        },
        // The request was answered 401, and is sent again after a pause.
        Pausing { refused: Option<Box<Refused<S, S::Response, R::Kept>>>, alarm: Box<Alarm> },
        // The request was answered 401, and waits for what the probe of its route finds.
        Doubting {
            refused: Option<Box<Refused<S, S::Response, R::Kept>>>,
            doubt: Box<DoubtFuture>,
        },
        // The request was answered 401, or its proof was refused, and it waits for a token.
        Renewing { refused: Option<Box<Refused<S, S::Response, R::Kept>>>, wait: Wait },
        // The request is in flight again.
        Resending {
            #[pin]
            future: S::Future,
            lease: Option<sync::Arc<Lease>>,
            resent: Option<Box<Resent<S, R::Kept>>>,
        },
    }
}

impl<S, B, R> State<S, B, R>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    pub(super) fn acquiring(unsent: Unsent<S, B>) -> Self {
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
    pub(super) fn poll_slow<C: Classify>(
        mut self: Pin<&mut Self>,
        classify: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Response<ResB>, Error>>> {
        loop {
            let next = match self.as_mut().project() {
                // ## Refusing => done
                //
                // The request is not sent. The caller gets the reason.
                StateProj::Refusing { error } => {
                    let Some(error) = error.take() else { return Poll::Pending };
                    return Poll::Ready(Some(Err(*error)));
                }
                // ## Passing => done
                //
                // The response is the caller's, whatever it says.
                StateProj::Passing { future, line } => {
                    let response = ready!(future.poll(cx));
                    let named = |error| Error::inner_of(error, line.foreign_line());
                    return Poll::Ready(Some(response.map_err(named)));
                }
                // ## Acquiring => (Sending | Readying | Acquiring | done)
                //
                // There is a token, and the service is ready at once or becomes so. Without a
                // token the caller gets the error of the refresh that it waited for.
                StateProj::Acquiring { unsent, wait } => {
                    let Some(waiting) = unsent else { return Poll::Pending };
                    let can_replay = R::KEEPS && waiting.attempt.is_none();
                    let can_scout = if can_replay { CanScout::Yes } else { CanScout::Late };
                    let granted = ready!(wait.poll(
                        waiting.handle.signer.cache.handle(),
                        &Requirement::Usable,
                        can_scout,
                        |token| {
                            touch(&waiting.request);
                            let (service, lease) = waiting.handle.service_and_lease();
                            (lease.is_some() || token.is_usable()).then_some((service, lease))
                        },
                        cx,
                    ));
                    let Some(unsent) = unsent.take() else { return Poll::Pending };
                    let (mut service, lease) = match granted {
                        Ok(Granted::Token(_)) => (unsent.handle.service(), None),
                        Ok(Granted::Flown((service, lease))) => (service, lease),
                        Ok(Granted::Scout(lease)) => (unsent.handle.service(), Some(lease)),
                        Err(error) => {
                            let error = Error::auth_of(error, Some(line_of(&unsent.request)));
                            return Poll::Ready(Some(Err(error)));
                        }
                    };
                    match service.poll_ready(cx) {
                        Poll::Ready(Ok(())) => unsent.send(service, lease),
                        Poll::Ready(Err(error)) => {
                            if let Some(lease) = &lease {
                                lease.give_up();
                            }
                            return Poll::Ready(Some(Err(unsent.failed(error))));
                        }
                        // The lease is dropped here. Held for longer, it would delay a renewal.
                        Poll::Pending => {
                            if let Some(lease) = &lease {
                                lease.give_up();
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
                        return Poll::Ready(Some(Err(unsent.failed(error))));
                    }
                    unsent.send(*service, None)
                }
                // The request was refused.
                StateProj::Pausing { .. }
                | StateProj::Doubting { .. }
                | StateProj::Renewing { .. }
                | StateProj::Resending { .. } => {
                    match ready!(self.as_mut().poll_refused(classify, cx)) {
                        Ok(next) => next,
                        Err(ended) => return Poll::Ready(Some(ended)),
                    }
                }
                // The request is in flight.
                StateProj::Sending { .. } => return Poll::Ready(None),
            };
            self.set(next);
        }
    }

    /// Drives a request that was refused until it is sent again. Returns the next state, or the end
    /// of the request.
    fn poll_refused<C: Classify>(
        self: Pin<&mut Self>,
        classify: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self, Result<Response<ResB>, Error>>> {
        Poll::Ready(Ok(match self.project() {
            // ## Pausing => Renewing
            //
            // The pause is over. The request is sent again with whichever token is in use.
            StateProj::Pausing { refused, alarm } => {
                if refused.is_none() {
                    return Poll::Pending;
                }
                // Without a timer there is no pause.
                if alarm.poll(cx).is_pending() && alarm.is_set() {
                    return Poll::Pending;
                }
                State::Renewing { refused: refused.take(), wait: Wait::new() }
            }
            // ## Doubting => (Pausing | Doubting | Renewing | done)
            //
            // The doubt is over, and its outcome says which token the request waits for. If the
            // probe went away, the request may be the next probe.
            StateProj::Doubting { refused, doubt } => {
                if refused.is_none() {
                    return Poll::Pending;
                }
                let outcome = ready!(Pin::new(doubt).poll(cx));
                let Some(refused) = refused.take() else { return Poll::Pending };
                let next = match outcome {
                    DoubtOutcome::Cleared => refused.clear(),
                    DoubtOutcome::Renew => refused.renew(),
                    DoubtOutcome::Undecided => refused.judge_again(),
                };
                match State::after(next) {
                    Ok(next) => next,
                    Err(response) => return Poll::Ready(Err(Ok(response))),
                }
            }
            // ## Renewing => (Acquiring | done)
            //
            // There is the token that the request waits for, and the request is made again. If
            // there will be none, or the body can't be sent again, the 401 is the caller's.
            StateProj::Renewing { refused, wait } => {
                let Some(waiting) = refused else { return Poll::Pending };
                let handle = waiting.replay.handle.signer.cache.handle();
                let result = ready!(wait.poll_sendable(handle, &waiting.requirement, cx));
                let Some(refused) = refused.take() else { return Poll::Pending };
                match refused.restore::<B, R>(result.err()) {
                    Ok(unsent) => State::acquiring(unsent),
                    Err(response) => return Poll::Ready(Err(Ok(response))),
                }
            }
            // ## Resending => (Pausing | Doubting | Renewing | done)
            //
            // The response is judged like the first one. If it accepts the token, the doubt is
            // over that the request was a probe for.
            StateProj::Resending { future, lease, resent } => {
                if resent.is_none() {
                    return Poll::Pending;
                }
                let result = ready!(future.poll(cx));
                let (lease, resent) = (lease.take(), resent.take());
                let result = result.map_err(|error| {
                    let replay = resent.as_ref().and_then(|resent| resent.replay.as_ref());
                    let kept = replay.map(|replay| &replay.kept);
                    Error::inner_of(error, R::line(kept))
                });
                let (Ok(response), Some(lease), Some(resent)) = (&result, lease, resent) else {
                    return Poll::Ready(Err(result));
                };
                let kept = resent.replay.as_ref().map(|replay| &replay.kept);
                let classification = classify.classify(response);
                match classification {
                    Classification::Accepted => {
                        lease.accept(|| R::route(kept, &R::Trace::default()));
                        resent.attempt.probe.into_iter().for_each(Probe::clear);
                        return Poll::Ready(Err(result));
                    }
                    Classification::Neutral => return Poll::Ready(Err(result)),
                    Classification::TokenRefused | Classification::ProofRefused => {}
                }
                let route = R::route(kept, &R::Trace::default());
                let Ok(response) = result else { return Poll::Pending };
                let Resent { replay, attempt } = *resent;
                match State::after(after_refusal::<_, _, R, _>(
                    classification,
                    response,
                    lease,
                    replay,
                    route,
                    attempt,
                )) {
                    Ok(next) => next,
                    Err(response) => return Poll::Ready(Err(Ok(response))),
                }
            }
            // The request was not refused.
            _ => return Poll::Pending,
        }))
    }

    /// Returns the state that comes after a 401. The error is the caller's response.
    #[cold]
    pub(super) fn after(next: Next<S, Response<ResB>, R::Kept>) -> Result<Self, Response<ResB>> {
        Ok(match next {
            Next::Return(response) => return Err(response),
            Next::Pause(refused, after) => {
                let alarm = if after.is_zero() {
                    Alarm::none()
                } else {
                    Alarm::at(clock::later(clock::now(), after))
                };
                Self::Pausing { refused: Some(refused), alarm: Box::new(alarm) }
            }
            Next::Doubt(refused, doubt) => {
                Self::Doubting { refused: Some(refused), doubt: Box::new(doubt) }
            }
            Next::Renew(refused) => Self::Renewing { refused: Some(refused), wait: Wait::new() },
        })
    }
}

/// Reads a little of each part of a request that has left the caches while it waited.
///
/// So the parts come from memory at the same time, and not one after the other when the head is
/// kept. That takes 6 % off a cold burst of 10,000 callers.
fn touch<B>(request: &Request<B>) {
    let path = request.uri().path().as_bytes().first();
    let headers = request.headers().values().filter(|value| value.is_sensitive()).count();
    black_box((path.copied(), headers));
}

impl<S, B> Unsent<S, B> {
    /// Returns the error of a service that is not ready for the request.
    #[cold]
    fn failed(&self, error: impl Into<BoxError>) -> Error {
        Error::inner_of(error, Some(line_of(&self.request)))
    }

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
        if let Some(attempt) = &mut self.attempt {
            attempt.sent(lease.token.sequence(), signer.cache.tally());
        }
        let trace = R::trace(|| lease.is_watched(), &self.request);
        let kept = R::keep(&self.request);
        if let Err(error) = signer.sign(self.request.headers_mut(), &lease) {
            let error = Error::auth_of(error, Some(line_of(&self.request)));
            return State::Refusing { error: Some(Box::new(error)) };
        }
        let future = service.call(*self.request);
        let replay = kept.map(|kept| Replayable { kept, handle: self.handle });
        let lease = Some(lease);
        match self.attempt {
            None => State::Sending { future, lease, replay, trace },
            Some(attempt) => State::Resending {
                future,
                lease,
                resent: Some(Box::new(Resent { replay, attempt })),
            },
        }
    }
}
