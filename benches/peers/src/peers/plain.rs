//! No token that is kept: the limits for those that keep one.

use std::{
    future::Future,
    task::{Context, Waker},
};

use http::{HeaderValue, Request, Response, header};
use tower::{
    Layer, Service,
    retry::{Policy, Retry, RetryLayer},
};
use tower_http::set_header::SetRequestHeader;

use crate::{
    answer::token,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    support::{self, Body, Noop, done},
};

pub type Static = SetRequestHeader<Noop, HeaderValue>;

fn static_header() -> Static {
    SetRequestHeader::overriding(Noop, header::AUTHORIZATION, support::static_header(&token()))
}

/// Calls a service that is always ready.
pub fn ready<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) -> S::Future {
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    service.call(request)
}

#[derive(Clone)]
pub struct Bare(Noop);

impl Peer for Bare {
    const NAME: &'static str = "bare no-op service";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        Self(Noop)
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct Signed(Static);

impl Peer for Signed {
    const NAME: &'static str = "(2) static header";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        Self(static_header())
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct Kept(Static);

impl Peer for Kept {
    const NAME: &'static str = "(3) static header, clone kept";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        Self(static_header())
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        let clone = std::hint::black_box(request.clone());
        let response = done(ready(&mut self.0, request));
        drop(std::hint::black_box(clone));
        std::future::ready(response)
    }
}

/// Retries nothing, but keeps a clone of each request, as every policy that may retry does.
#[derive(Clone)]
pub struct KeepsAClone;

impl<E> Policy<Request<Body>, Response<()>, E> for KeepsAClone {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        _: &mut Result<Response<()>, E>,
    ) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

#[derive(Clone)]
pub struct Retried(Retry<KeepsAClone, Static>);

impl Peer for Retried {
    const NAME: &'static str = "tower Retry over (2)";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        Self(RetryLayer::new(KeepsAClone).layer(static_header()))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        ready(&mut self.0, request)
    }
}
