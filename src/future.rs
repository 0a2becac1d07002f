//! [`ResponseFuture`]: a signed request on its way, and its one replay.

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

use crate::{
    cache::{Lease, TokenFuture},
    error::{AuthError, BoxError, Error},
    events::TARGET,
    layer::Shared,
    replay::Replay,
    sync::Counted,
    triage::{Verdict, triage},
};

pin_project! {
    /// The response to a request of [`Auth`](crate::Auth).
    ///
    /// If a token could not be renewed after a 401, the 401 is the response, body and all, and the [`AuthError`]
    /// that says why is in its extensions.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request like any HTTP future. A refresh that it has started or joined goes on, and
    /// its token is kept for the next request.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        #[pin]
        state: State<S, B, R::Kept, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, K, F, Res> {
        // Must not be sent.
        Refused { error: Option<AuthError> },
        // Sent as it is: not ours to sign.
        Passing { #[pin] future: F },
        // Waits for a token, with a service that is not ready: waiting holds no slot of it.
        Acquiring { waiting: TokenFuture, held: Option<Held<S, B>> },
        // Waits for the service to be ready.
        Readying { held: Option<Held<S, B>> },
        // Sent, signed.
        Calling { #[pin] future: F, signed: Option<Signed<S, K>> },
        // Refused with a 401, waits for a newer token. The inner future is gone, and whatever slot it held.
        Reacquiring { waiting: TokenFuture, refused: Option<(Res, Held<S, B>)> },
        // Sent for the second time; what comes is the answer.
        Replaying { #[pin] future: F, lease: Counted<Lease>, shared: Arc<Shared> },
    }
}

/// A request that is to be signed and sent.
struct Held<S, B> {
    service: S,
    request: Request<B>,
    shared: Arc<Shared>,
    is_replay: bool,
}

/// What is kept until the response head arrives: a lease on the token, and the means of a replay.
struct Signed<S, K> {
    lease: Counted<Lease>,
    shared: Arc<Shared>,
    replay: Option<(S, K)>,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    pub(crate) fn refused(error: AuthError) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }

    pub(crate) fn passing(future: S::Future) -> Self {
        Self { state: State::Passing { future } }
    }

    pub(crate) fn calling(
        future: S::Future,
        lease: Counted<Lease>,
        shared: Arc<Shared>,
        replay: Option<(S, R::Kept)>,
    ) -> Self {
        Self { state: State::Calling { future, signed: Some(Signed { lease, shared, replay }) } }
    }

    pub(crate) fn acquiring(service: S, request: Request<B>, shared: Arc<Shared>) -> Self {
        let waiting = shared.cache.token();
        Self {
            state: State::Acquiring {
                waiting,
                held: Some(Held { service, request, shared, is_replay: false }),
            },
        }
    }
}

impl<S, B, ResB, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    type Output = Result<Response<ResB>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = |error: S::Error| Error::Inner(error.into());
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Refused { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error.into())),
                    None => return Poll::Pending,
                },
                StateProj::Passing { future } => return future.poll(cx).map_err(inner),
                StateProj::Acquiring { waiting, held } => {
                    ready!(Pin::new(waiting).poll(cx))?;
                    State::Readying { held: held.take() }
                }
                StateProj::Readying { held } => {
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    ready!(waiting.service.poll_ready(cx)).map_err(inner)?;
                    let Some(held) = held.take() else { return Poll::Pending };
                    // Not the token that was waited for, if becoming ready took longer than it lasted.
                    match held.shared.cache.core().lease() {
                        Some(lease) => held.send::<R>(lease),
                        None => held.acquiring::<R::Kept>(),
                    }
                }
                StateProj::Calling { future, signed } => {
                    let response = ready!(future.poll(cx)).map_err(inner)?;
                    let Some(Signed { lease, shared, replay }) = signed.take() else {
                        return Poll::Ready(Ok(response));
                    };
                    if triage(&response) == Verdict::Accepted {
                        lease.accept();
                        return Poll::Ready(Ok(response));
                    }
                    shared.cache.core().refuse(&lease.token);
                    let again = replay.and_then(|(service, kept)| Some((service, R::restore(kept)?)));
                    let Some((service, request)) = again else { return Poll::Ready(Ok(response)) };
                    // Only the token: this request is under way no more.
                    let waiting = shared.cache.newer_than(lease.token.clone());
                    let held = Held { service, request, shared, is_replay: true };
                    State::Reacquiring { waiting, refused: Some((response, held)) }
                }
                StateProj::Reacquiring { waiting, refused } => {
                    let result = ready!(Pin::new(waiting).poll(cx));
                    let Some((response, held)) = refused.take() else { return Poll::Pending };
                    match result {
                        // The 401 is let go, its connection with it, before the service is asked whether it is ready.
                        Ok(_) => State::Readying { held: Some(held) },
                        Err(error) => return Poll::Ready(Ok(give_up(response, error))),
                    }
                }
                StateProj::Replaying { future, lease, shared } => {
                    let response = ready!(future.poll(cx)).map_err(inner)?;
                    match triage(&response) {
                        Verdict::Accepted => lease.accept(),
                        Verdict::TokenRefused => {
                            shared.cache.core().refuse(&lease.token);
                        }
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

/// Short for the state of a future over the service `S`.
type StateOf<S, B, K> =
    State<S, B, K, <S as Service<Request<B>>>::Future, <S as Service<Request<B>>>::Response>;

impl<S: Service<Request<B>> + Clone, B> Held<S, B> {
    /// Back to waiting for a token, without the slot that the ready service may hold.
    fn acquiring<K>(self) -> StateOf<S, B, K> {
        let held = Self { service: self.service.clone(), ..self };
        State::Acquiring { waiting: held.shared.cache.token(), held: Some(held) }
    }

    /// Signs the request and hands it to the ready service.
    fn send<R: Replay<B>>(self, lease: Counted<Lease>) -> StateOf<S, B, R::Kept> {
        let Self { mut service, mut request, shared, is_replay } = self;
        if is_replay {
            shared.cache.core().tally.replays.add();
            shared.sign(&mut request, &lease.token);
            return State::Replaying { future: service.call(request), lease, shared };
        }
        let kept = R::keep(&request);
        shared.sign(&mut request, &lease.token);
        let future = service.call(request);
        let replay = kept.map(|kept| (service, kept));
        State::Calling { future, signed: Some(Signed { lease, shared, replay }) }
    }
}

/// The 401 as it was answered, with the reason why there is no replay.
fn give_up<ResB>(mut response: Response<ResB>, error: AuthError) -> Response<ResB> {
    tracing::warn!(
        target: TARGET,
        error = &error as &(dyn std::error::Error + 'static),
        "a request was answered 401 and the token could not be renewed",
    );
    response.extensions_mut().insert(error);
    response
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "Refused",
            State::Passing { .. } => "Passing",
            State::Acquiring { .. } => "Acquiring",
            State::Calling { .. } => "Calling",
            State::Reacquiring { .. } => "Reacquiring",
            State::Readying { .. } => "Readying",
            State::Replaying { .. } => "Replaying",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
