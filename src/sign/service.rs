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

use super::{
    future::{Again, ResponseFuture},
    handle::Inner,
    signer::{NotSigned, Signer},
};
use crate::{
    cache::CachedLease,
    error::{BoxError, Error},
    replay::{Replay, ReplayOnce},
};

/// A service whose requests are signed. Made by [`AuthLayer`](crate::AuthLayer), which says what it does.
///
/// `S` must be `Clone`, because a request that waits for a token, or is sent again, needs a service of its own, which it makes
/// ready when it comes to that. All clones of this service get it from one clone of `S`, made for the first request that may
/// need it and brought up to date whenever one has to wait. So what a service learns in a call should be shared by its clones,
/// as connections, limits and buffers are.
///
/// If the compiler says that `oneshot`, `ready` or `call` exists "but its trait bounds were not satisfied", `S` is not `Clone`, its
/// error is not `Into<BoxError>`, or its request body can't be replayed: see [`replay`](crate::replay).
// The compiler shows the line of the name in that case, and no other word of ours.
#[rustfmt::skip]
pub struct Auth<S, R = ReplayOnce> { // `S` has to be Clone, and its body too, or behind a ReplayLayer
    inner: S,
    common: Arc<Inner<S>>,
    cached: CachedLease,
    replay: PhantomData<R>,
}

impl<S, R> Auth<S, R> {
    pub(crate) fn new(inner: S, signer: Arc<Signer>) -> Self {
        Self {
            inner,
            common: Arc::new(Inner::new(signer)),
            cached: CachedLease::default(),
            replay: PhantomData,
        }
    }

    /// The service below. To change what its clones do not share, use [`get_mut`](Self::get_mut).
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below, to be changed. Requests that wait already, or are under way, go on with what was there before, and
    /// so do the clones of this service.
    pub fn get_mut(&mut self) -> &mut S {
        self.common = Arc::new(Inner::new(Arc::clone(&self.common.signer)));
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
        let Self { common, cached, .. } = self;
        let (method, uri, version, headers) =
            (request.method(), request.uri(), request.version(), request.headers());
        let (lease, head) =
            match common.signer.admit(cached, method, uri, version, headers, R::KEEPS) {
                Some(admitted) => admitted,
                None => {
                    match common.signer.admit_slow(cached, method, uri, version, headers, R::KEEPS)
                    {
                        Ok(admitted) => admitted,
                        Err(unsigned) => return self.call_unsigned(request, unsigned),
                    }
                }
            };
        let handle = R::KEEPS.then(|| self.common.handle(&self.inner));
        let again =
            R::keep_with(head, &request).zip(handle).map(|(kept, handle)| Again { kept, handle });
        self.common.signer.sign(request.headers_mut(), &lease);
        ResponseFuture::signed(self.inner.call(request), lease, again)
    }
}

impl<S, R> Auth<S, R> {
    /// Apart, because few requests come here.
    #[inline(never)]
    fn call_unsigned<B, ResB>(
        &mut self,
        request: Request<B>,
        unsigned: NotSigned,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<ResB>> + Clone,
        R: Replay<B>,
    {
        match unsigned {
            NotSigned::PassThrough => ResponseFuture::passing(self.inner.call(request)),
            NotSigned::Refused(error) => {
                drop(take_ready(&mut self.inner));
                ResponseFuture::refused(error)
            }
            NotSigned::NoToken => {
                // Whatever the ready service holds, a slot say, is let go for the wait: the flight may need it, if the
                // token endpoint is reached through the same limit.
                drop(take_ready(&mut self.inner));
                let handle = self.common.handle(&self.inner);
                handle.update(self.inner.clone());
                ResponseFuture::acquiring(request, handle)
            }
        }
    }
}

/// The service that `poll_ready` made ready, and that has to be used or dropped; its clone need not be ready.
fn take_ready<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    mem::replace(inner, clone)
}

impl<S: Clone, R> Clone for Auth<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            common: Arc::clone(&self.common),
            cached: CachedLease::default(),
            replay: PhantomData,
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Auth<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("inner", &self.inner)
            .field("shared", &self.common.signer)
            .finish_non_exhaustive()
    }
}
