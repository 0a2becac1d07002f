//! [`ResponseFuture`]: a signed request on its way, and its one replay.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    classify::{Classification, classify},
    handle::ServiceHandle,
    signer::Signer,
};
use crate::{
    cache::{Lease, Requirement, Wait},
    error::{AuthError, BoxError, Error},
    events::TARGET,
    replay::{Declined, Replay},
    sync,
    token::AccessToken,
};

pin_project! {
    /// The response to a request of [`Auth`](crate::Auth).
    ///
    /// If a token could not be renewed after a 401, the 401 is the response, body and all, and the [`AuthError`]
    /// that says why is in its extensions. If the body can't be sent again, a
    /// [`Declined`](crate::replay::Declined) is there.
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
        // Not sent, for requirement of a token or of a service that is ready.
        Waiting { waiting: Option<Waiting<S, B, K, Res>> },
        // On its way: `None` if it is not ours to sign.
        Sent { #[pin] future: F, lease: Option<sync::Arc<Lease>>, replay: Option<Again<S, K>> },
    }
}

/// A request that is to be signed and sent.
struct Waiting<S, B, K, Res> {
    work: Work<B, K, Res>,
    handle: Arc<ServiceHandle<S>>,
    step: Step<S>,
}

/// Boxed, because few requests wait, and every future would carry the room for one about.
enum Work<B, K, Res> {
    First(Box<Request<B>>),
    Unauthorized(Box<Unauthorized<K, Res>>),
    Replay(Box<Request<B>>),
    Done,
}

/// The 401, and what its request needs to be sent again: both are kept until there is a newer token. If there will be
/// none, the first attempt goes on, so that the 401's own body can be read.
struct Unauthorized<K, Res> {
    response: Res,
    kept: K,
    requirement: Requirement,
}

enum Step<S> {
    /// Waits for a token, without a service: waiting holds no slot of it.
    Acquiring(Wait),
    /// Waits for the service to be ready. Apart, because most are at once, and every future would carry the room for it
    /// about.
    Readying(Box<S>),
}

/// The means of a replay.
pub(crate) struct Again<S, K> {
    pub(crate) kept: K,
    pub(crate) handle: Arc<ServiceHandle<S>>,
}

impl<S> Step<S> {
    /// Back to waiting for a token. Returns the step that it was.
    fn start_over(&mut self) -> Self {
        mem::replace(self, Self::Acquiring(Wait::new()))
    }
}

impl<S, B, K, F, Res> State<S, B, K, F, Res> {
    fn waiting(work: Work<B, K, Res>, handle: Arc<ServiceHandle<S>>) -> Self {
        Self::Waiting {
            waiting: Some(Waiting { work, handle, step: Step::Acquiring(Wait::new()) }),
        }
    }
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
        Self { state: State::Sent { future, lease: None, replay: None } }
    }

    #[inline]
    pub(crate) fn signed(
        future: S::Future,
        lease: sync::Arc<Lease>,
        replay: Option<Again<S, R::Kept>>,
    ) -> Self {
        Self { state: State::Sent { future, lease: Some(lease), replay } }
    }

    pub(crate) fn acquiring(request: Request<B>, handle: Arc<ServiceHandle<S>>) -> Self {
        Self { state: State::waiting(Work::First(Box::new(request)), handle) }
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
        let mut state = self.project().state;
        loop {
            let StateProj::Sent { future, lease, replay } = state.as_mut().project() else {
                match ready!(state.as_mut().poll_unsent::<R>(cx)) {
                    Some(ended) => return Poll::Ready(ended),
                    None => continue,
                }
            };
            let polled = future.poll(cx);
            let Poll::Ready(result) = &polled else { return Poll::Pending };
            // Under way no more, whenever this future is dropped.
            let lease = lease.take();
            // The response is looked at where it is, because each move of it takes about as long as the look.
            if let (Ok(response), Some(lease)) = (result, lease) {
                match classify(response) {
                    Classification::Accepted => lease.accept(),
                    Classification::TokenRefused => {
                        let replay = replay.take();
                        // It is: the response has just been looked at.
                        let Poll::Ready(Ok(response)) = polled else { return Poll::Pending };
                        match State::after_401::<R>(response, &lease, replay) {
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

/// How a request ends that is not sent.
type Ended<Res> = Result<Res, Error>;

/// What it takes to send one.
type Prepared<S, Res> = Result<(S, sync::Arc<Lease>), Ended<Res>>;

/// Short for the state of a future over the service `S`.
type StateOf<S, B, K> =
    State<S, B, K, <S as Service<Request<B>>>::Future, <S as Service<Request<B>>>::Response>;

impl<S, B, K, ResB> State<S, B, K, S::Future, S::Response>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
{
    /// Until the request is sent, or not going to be: then it is said how it ends. Apart from what nearly every poll does.
    #[inline(never)]
    fn poll_unsent<R: Replay<B, Kept = K>>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Ended<S::Response>>> {
        let waiting = match self.as_mut().project() {
            StateProj::Refused { error } => match error.take() {
                Some(error) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Pending,
            },
            StateProj::Waiting { waiting } => waiting,
            StateProj::Sent { .. } => return Poll::Ready(None),
        };
        let Some(waits) = waiting.as_mut() else { return Poll::Pending };
        let (service, lease) = match ready!(waits.poll_ready::<R>(cx)) {
            Ok(prepared) => prepared,
            Err(ended) => {
                *waiting = None;
                return Poll::Ready(Some(ended));
            }
        };
        let sent = waiting.take().and_then(|waiting| waiting.send::<R>(service, lease));
        let Some(sent) = sent else { return Poll::Pending };
        self.set(sent);
        Poll::Ready(None)
    }

    /// After a 401: what comes next, or else it is the caller's response.
    #[cold]
    fn after_401<R: Replay<B, Kept = K>>(
        response: S::Response,
        lease: &Lease,
        again: Option<Again<S, K>>,
    ) -> Result<Self, S::Response> {
        lease.refuse();
        let Some(Again { kept, handle }) = again else { return Err(response) };
        if !R::pause(&kept) {
            // If the token goes on being used all the same, sending again would be in vain.
            let current = handle.signer.cache.current();
            let is_renewed = current.is_none_or(|current| !current.is(&lease.token));
            return Err(decline(response, &handle.signer, is_renewed));
        }
        let refused = Unauthorized {
            response,
            kept,
            requirement: Requirement::NewerThan(lease.token.clone()),
        };
        Ok(State::waiting(Work::Unauthorized(Box::new(refused)), handle))
    }
}

impl<S, B, K, ResB> Waiting<S, B, K, Response<ResB>>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
{
    /// Waits for a service that is ready, and for a lease. The error is how the request ends without.
    fn poll_ready<R: Replay<B, Kept = K>>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Prepared<S, Response<ResB>>> {
        loop {
            let (service, lease) = match &mut self.step {
                Step::Acquiring(acquiring) => {
                    let requirement = match &self.work {
                        Work::Unauthorized(refused) => &refused.requirement,
                        Work::First(_) | Work::Replay(_) | Work::Done => &Requirement::Usable,
                    };
                    let core = self.handle.signer.cache.core();
                    let mut lease = None;
                    let is_usable = |token: &AccessToken| {
                        lease = core.lease();
                        lease.is_some() || token.is_usable()
                    };
                    let result = ready!(acquiring.poll(core, requirement, is_usable, cx));
                    match &self.work {
                        Work::Unauthorized(_) => self.restore::<R>(result)?,
                        Work::First(_) | Work::Replay(_) | Work::Done => {
                            result.map_err(|error| Err(error.into()))?;
                        }
                    }
                    let mut service = self.handle.service();
                    match service.poll_ready(cx) {
                        Poll::Ready(result) => {
                            result.map_err(|error| Err(Error::Inner(error.into())))?;
                        }
                        Poll::Pending => {
                            // The lease is not held meanwhile: it would hold a renewal up.
                            self.step = Step::Readying(Box::new(service));
                            return Poll::Pending;
                        }
                    }
                    (service, lease)
                }
                Step::Readying(service) => {
                    ready!(service.poll_ready(cx))
                        .map_err(|error| Err(Error::Inner(error.into())))?;
                    let Step::Readying(service) = self.step.start_over() else { continue };
                    (*service, None)
                }
            };
            if let Some(lease) = lease.or_else(|| self.handle.signer.cache.core().lease()) {
                return Poll::Ready(Ok((service, lease)));
            }
            // Becoming ready took longer than the token lasted. Back to waiting, without the slot that the ready service
            // may hold.
            self.step.start_over();
        }
    }

    /// After a 401 there is a newer token, or there will be none.
    fn restore<R: Replay<B, Kept = K>>(
        &mut self,
        result: Result<AccessToken, AuthError>,
    ) -> Result<(), Ended<Response<ResB>>> {
        let Work::Unauthorized(refused) = mem::replace(&mut self.work, Work::Done) else {
            return Ok(());
        };
        let Unauthorized { response, kept, .. } = *refused;
        if let Err(error) = result {
            return Err(Ok(give_up(response, error)));
        }
        // The 401 is let go, its connection with it, before the service is asked whether it is ready.
        match R::restore(kept) {
            Some(request) => self.work = Work::Replay(Box::new(request)),
            None => return Err(Ok(decline(response, &self.handle.signer, true))),
        }
        Ok(())
    }

    /// Signs the request and hands it to the ready service.
    fn send<R: Replay<B, Kept = K>>(
        self,
        mut service: S,
        lease: sync::Arc<Lease>,
    ) -> Option<StateOf<S, B, K>> {
        let Self { work, handle, .. } = self;
        let (mut request, kept) = match work {
            Work::First(request) => {
                let kept = R::keep(&request);
                (request, kept)
            }
            Work::Replay(request) => {
                handle.signer.cache.core().tally.replays.add();
                (request, None)
            }
            Work::Unauthorized(..) | Work::Done => return None,
        };
        handle.signer.sign(request.headers_mut(), &lease);
        let future = service.call(*request);
        let replay = kept.map(|kept| Again { kept, handle });
        Some(State::Sent { future, lease: Some(lease), replay })
    }
}

/// The 401 as it was answered, with the mark that its body can't be sent again, if sending it anew would be of use.
fn decline<ResB>(
    mut response: Response<ResB>,
    signer: &Signer,
    is_renewed: bool,
) -> Response<ResB> {
    signer.cache.core().tally.replays_declined.add();
    tracing::debug!(target: TARGET, "a request was answered 401 and its body can't be sent again");
    if is_renewed {
        response.extensions_mut().insert(Declined);
    }
    response
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
            State::Waiting { .. } => "Waiting",
            State::Sent { .. } => "Sent",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
