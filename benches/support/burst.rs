//! A cold burst: callers that come before there is a token, each with a request, and wait for the
//! one fetch.
//!
//! Every contender spawns a task for each caller, on a runtime of one thread. The fetch ends when
//! all of them wait.

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{HeaderValue, Response};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, watch},
    task::yield_now,
};
use tower::{Layer, Service};
use tower_reauth::AuthLayer;

use super::{BASE_URL, Noop, cold_cache, get, secret, static_header, with_header};

/// How long the fetch takes at the least.
const FETCH: Duration = Duration::from_millis(5);

/// One burst, and how far it has come.
#[derive(Default)]
pub struct Burst {
    callers: usize,
    arrived: AtomicUsize,
    served: AtomicUsize,
    fetches: AtomicUsize,
    may_answer: Notify,
    over: Notify,
    ended: OnceLock<Instant>,
}

/// Spawns the callers of a burst.
pub type Spawn = fn(&Arc<Burst>);

pub const CONTENDERS: [(&str, Spawn); 4] = [
    ("floor: Notify, a GET held", with_notify),
    ("tower-reauth", with_ours),
    ("watch, then a static header", with_watch),
    ("Shared, then a static header", with_shared),
];

/// The first of the contenders is what the others are compared with, the second is ours.
pub const FLOOR: usize = 0;
pub const OURS: usize = 1;

impl Burst {
    /// The time from the end of the fetch until the last caller is done, and the number of fetches.
    pub fn run(callers: usize, spawn: Spawn) -> (Duration, usize) {
        let runtime = runtime();
        let burst = Self::arrive(&runtime, callers, spawn);
        let time = burst.serve(&runtime);
        (time, burst.fetches.load(Relaxed))
    }

    /// Returns when every caller waits.
    pub fn arrive(runtime: &Runtime, callers: usize, spawn: Spawn) -> Arc<Self> {
        let burst = Arc::new(Self { callers, ..Self::default() });
        runtime.block_on(async {
            spawn(&burst);
            while burst.arrived.load(Relaxed) < callers || burst.fetches.load(Relaxed) == 0 {
                yield_now().await;
            }
        });
        burst
    }

    /// Ends the fetch.
    pub fn serve(&self, runtime: &Runtime) -> Duration {
        runtime.block_on(async {
            tokio::time::sleep(FETCH).await;
            let start = Instant::now();
            self.may_answer.notify_one();
            self.over.notified().await;
            *self.ended.get().unwrap() - start
        })
    }

    /// The fetch, until its answer.
    async fn fetch(self: Arc<Self>) {
        self.fetches.fetch_add(1, Relaxed);
        self.may_answer.notified().await;
    }

    /// Spawns the callers. Each is done when the future is that `call` makes: in its task, where it
    /// takes no more room than it needs.
    fn callers<C, F, E>(self: &Arc<Self>, call: C)
    where
        C: FnOnce() -> F + Clone + Send + 'static,
        F: Future<Output = Result<Response<()>, E>> + Send,
        E: Debug,
    {
        for _ in 0..self.callers {
            let (burst, call) = (Arc::clone(self), call.clone());
            tokio::spawn(async move {
                burst.arrived.fetch_add(1, Relaxed);
                drop(call().await.unwrap());
                if burst.served.fetch_add(1, Relaxed) + 1 == burst.callers {
                    burst.ended.set(Instant::now()).unwrap();
                    burst.over.notify_one();
                }
            });
        }
    }
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn with_ours(burst: &Arc<Burst>) {
    let fetching = Arc::clone(burst);
    let cache = cold_cache(BASE_URL, &secret(200), move || Arc::clone(&fetching).fetch());
    // Always ready, so what is measured is its own future, not that of a helper which makes it
    // ready first.
    let mut service = AuthLayer::new(cache).layer(Noop);
    burst.callers(move || service.call(get(4)));
}

/// The least that waiting with a request costs: nothing is signed.
fn with_notify(burst: &Arc<Burst>) {
    let landed = Arc::new(Notify::new());
    let (fetch, landing) = (Arc::clone(burst).fetch(), Arc::clone(&landed));
    tokio::spawn(async move {
        fetch.await;
        landing.notify_waiters();
    });
    burst.callers(move || async move {
        let request = get(4);
        landed.notified().await;
        Noop.call(request).await
    });
}

fn with_watch(burst: &Arc<Burst>) {
    let (sender, mut receiver) = watch::channel(None::<HeaderValue>);
    let fetch = Arc::clone(burst).fetch();
    tokio::spawn(async move {
        fetch.await;
        sender.send_replace(Some(static_header(&secret(200))));
    });
    burst.callers(move || async move {
        let request = get(4);
        let token = receiver.wait_for(Option::is_some).await.unwrap().clone();
        with_header(Noop, &token.unwrap()).call(request).await
    });
}

fn with_shared(burst: &Arc<Burst>) {
    let fetch = Arc::clone(burst).fetch();
    let token = async move {
        fetch.await;
        static_header(&secret(200))
    };
    let token = token.boxed().shared();
    burst.callers(move || async move {
        let request = get(4);
        let token = token.await;
        with_header(Noop, &token).call(request).await
    });
}
