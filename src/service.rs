//! [`Auth`]: the service that signs.

use std::{
    fmt,
    marker::PhantomData,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    error::{BoxError, Error},
    future::{Again, ResponseFuture},
    guard,
    layer::{CallerAuthorization, Shared},
    replay::{Replay, ReplayOnce},
    template::{Template, Templates},
};

/// A service whose requests are signed. Made by [`AuthLayer`](crate::AuthLayer), which says what it does.
///
/// `S` is `Clone`, because a request that waits for a token, or is sent again, needs a service of its own, which it makes
/// ready when it comes to that. It is a clone of `S` as it was when the layer was put on, or when
/// [`get_mut`](Self::get_mut) was last used; what one of `S`'s clones learns in a call, the others know only if they share
/// it, as they do of connections, limits and buffers.
///
/// If the compiler says that `oneshot`, `ready` or `call` exists "but its trait bounds were not satisfied", the error of `S`
/// is not `Into<BoxError>`, or its request body can't be replayed: see [`replay`](crate::replay).
// The compiler shows the line of the name in that case, and no other word of ours.
#[rustfmt::skip]
pub struct Auth<S, R = ReplayOnce> { // the request body of `S` has to be Clone, or behind a ReplayLayer
    inner: S,
    shared: Arc<Shared>,
    /// `None` if what it was made from may have been changed since.
    templates: Option<Arc<Templates<S>>>,
    replay: PhantomData<R>,
}

impl<S: Clone, R> Auth<S, R> {
    pub(crate) fn new(inner: S, shared: &Arc<Shared>) -> Self {
        let templates = Some(Template::striped(inner.clone(), shared));
        Self { inner, shared: Arc::clone(shared), templates, replay: PhantomData }
    }
}

impl<S, R> Auth<S, R> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below, to be changed. Requests that wait already, or are under way, go on with what was there before.
    pub fn get_mut(&mut self) -> &mut S {
        self.templates = None;
        &mut self.inner
    }

    /// The service below, alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, B, ResB> Service<Request<B>> for Auth<S, R>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    type Response = Response<ResB>;
    type Error = Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::Inner(error.into()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shared = &*self.shared;
        let templates = &mut self.templates;
        let kept_by_caller = shared.caller_authorization == CallerAuthorization::Keep
            && request.headers().contains_key(&shared.header);
        match shared.guard.check(request.method(), request.uri(), request.headers()) {
            guard::Verdict::Refuse(error) => {
                drop(take_ready(&mut self.inner));
                return ResponseFuture::refused(error);
            }
            guard::Verdict::PassUnsigned => return ResponseFuture::passing(self.inner.call(request)),
            guard::Verdict::Sign if kept_by_caller => {
                return ResponseFuture::passing(self.inner.call(request));
            }
            guard::Verdict::Sign => {}
        }
        let Some(lease) = shared.cache.core().lease() else {
            // Whatever the ready service holds, a slot say, is let go for the wait: the flight may need it, if the
            // token endpoint is reached through the same limit.
            drop(take_ready(&mut self.inner));
            return ResponseFuture::acquiring(request, template(templates, &self.inner, &self.shared));
        };
        let kept = R::keep(&request);
        shared.sign(&mut request, &lease);
        let future = self.inner.call(request);
        let again = |kept| Again { kept, template: template(templates, &self.inner, &self.shared) };
        ResponseFuture::signed(future, lease, kept.map(again))
    }
}

#[inline]
fn template<S: Clone>(
    templates: &mut Option<Arc<Templates<S>>>,
    inner: &S,
    shared: &Arc<Shared>,
) -> Arc<Template<S>> {
    let templates = templates.get_or_insert_with(|| Template::striped(inner.clone(), shared));
    Arc::clone(templates.mine())
}

/// The service that `poll_ready` made ready, and that has to be used or dropped; its clone need not be ready.
fn take_ready<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    mem::replace(inner, clone)
}

impl<S: Clone, R> Clone for Auth<S, R> {
    fn clone(&self) -> Self {
        let Self { inner, shared, templates, replay } = self;
        Self {
            inner: inner.clone(),
            shared: Arc::clone(shared),
            templates: templates.clone(),
            replay: *replay,
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Auth<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
