//! What waiting for one fetch costs with the primitives alone.

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{HeaderValue, Request};
use tokio::sync::{Mutex, Notify, OnceCell, watch};

use crate::{
    endpoint::Endpoint,
    peer::{Outcome, Peer, bearer, send},
    support::{self, Body},
};

/// The floor: one task fetches, each waiter holds a GET and a place in the list of a `Notify`.
#[derive(Clone)]
pub struct Floor(Arc<NotifyState>);

struct NotifyState {
    endpoint: Endpoint,
    started: AtomicBool,
    /// `None` in it if the fetch failed.
    header: OnceLock<Option<HeaderValue>>,
    ended: Notify,
}

impl Peer for Floor {
    const NAME: &'static str = "floor: Notify, a GET held";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        Self(Arc::new(NotifyState {
            endpoint: endpoint.clone(),
            started: AtomicBool::new(false),
            header: OnceLock::new(),
            ended: Notify::new(),
        }))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            let state = &self.0;
            let ended = state.ended.notified();
            if !state.started.swap(true, Ordering::Relaxed) {
                let state = Arc::clone(state);
                tokio::spawn(async move {
                    let token = state.endpoint.fetch().await.ok();
                    let _ = state.header.set(token.as_deref().map(bearer));
                    state.ended.notify_waiters();
                });
            }
            if state.header.get().is_none() {
                ended.await;
            }
            match state.header.get().cloned().flatten() {
                Some(header) => send(request, header),
                None => false,
            }
        }
    }
}

/// A task that fetches, and a `watch` that tells of it.
#[derive(Clone)]
pub struct Watch {
    endpoint: Endpoint,
    sender: Arc<watch::Sender<Option<Option<HeaderValue>>>>,
    started: Arc<AtomicBool>,
}

impl Peer for Watch {
    const NAME: &'static str = "watch, nothing held";
    type Input = ();

    async fn make(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), sender: Arc::default(), started: Arc::default() }
    }

    fn input() {}

    fn call(&mut self, (): ()) -> impl Future<Output = impl Outcome> + Send {
        async move {
            let mut receiver = self.sender.subscribe();
            if !self.started.swap(true, Ordering::Relaxed) {
                let (endpoint, sender) = (self.endpoint.clone(), Arc::clone(&self.sender));
                tokio::spawn(async move {
                    let token = endpoint.fetch().await.ok();
                    sender.send_replace(Some(token.as_deref().map(bearer)));
                });
            }
            let header = receiver.wait_for(Option::is_some).await.unwrap().clone().flatten();
            std::hint::black_box(header).is_some()
        }
    }
}

/// `Shared`: whoever of the waiters is polled drives the fetch.
#[derive(Clone)]
pub struct SharedFetch(Shared<BoxFuture<'static, Option<HeaderValue>>>);

impl Peer for SharedFetch {
    const NAME: &'static str = "futures Shared, nothing held";
    type Input = ();

    async fn make(endpoint: &Endpoint) -> Self {
        let endpoint = endpoint.clone();
        Self(async move { endpoint.fetch().await.ok().as_deref().map(bearer) }.boxed().shared())
    }

    fn input() {}

    fn call(&mut self, (): ()) -> impl Future<Output = impl Outcome> + Send {
        async { std::hint::black_box((&mut self.0).await).is_some() }
    }
}

/// `OnceCell`: the first waiter fetches, and another one if it goes or fails.
#[derive(Clone)]
pub struct Cell {
    endpoint: Endpoint,
    cell: Arc<OnceCell<HeaderValue>>,
}

impl Peer for Cell {
    const NAME: &'static str = "tokio OnceCell, nothing held";
    type Input = ();

    async fn make(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), cell: Arc::default() }
    }

    fn input() {}

    fn call(&mut self, (): ()) -> impl Future<Output = impl Outcome> + Send {
        async {
            let fetch =
                || async { Ok::<_, ()>(bearer(&self.endpoint.fetch().await.map_err(drop)?)) };
            self.cell.get_or_try_init(fetch).await.cloned().map(std::hint::black_box).is_ok()
        }
    }
}

/// A `Mutex` held during the fetch.
#[derive(Clone)]
pub struct Locked {
    endpoint: Endpoint,
    header: Arc<Mutex<Option<HeaderValue>>>,
}

impl Peer for Locked {
    const NAME: &'static str = "tokio Mutex, nothing held";
    type Input = ();

    async fn make(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), header: Arc::default() }
    }

    fn input() {}

    fn call(&mut self, (): ()) -> impl Future<Output = impl Outcome> + Send {
        async {
            let mut header = self.header.lock().await;
            if header.is_none() {
                *header = self.endpoint.fetch().await.ok().as_deref().map(bearer);
            }
            std::hint::black_box(header.clone()).is_some()
        }
    }
}
