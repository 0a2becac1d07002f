//! Requests on several threads at once, while the token is renewed again and again.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use http::{Request, Response, Uri};
use support::{URI, authorization, get};
use tower::{Layer, Service, service_fn};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, RefreshPolicy, TokenCache, TokenEndpoint,
    endpoint::{IssuedToken, Rotation},
};

/// An API whose tokens are the numbers from 1 on. Each one kills those before it.
#[derive(Clone, Default)]
struct Api(Arc<Counts>);

#[derive(Default)]
struct Counts {
    /// The newest token.
    alive: AtomicU64,
    in_flight: AtomicU64,
    requests: AtomicU64,
    /// Requests that were signed with a dead token.
    refused: AtomicU64,
    /// Tokens that died while a request was in flight.
    killed_in_use: AtomicU64,
}

impl Api {
    fn request(&self, request: &Request<String>) -> Response<String> {
        let counts = &*self.0;
        counts.in_flight.fetch_add(1, SeqCst);
        let token = authorization(request).strip_prefix("Bearer ").unwrap().parse::<u64>().unwrap();
        if token != counts.alive.load(SeqCst) {
            counts.refused.fetch_add(1, SeqCst);
        }
        counts.requests.fetch_add(1, SeqCst);
        counts.in_flight.fetch_sub(1, SeqCst);
        Response::new(String::new())
    }
}

impl TokenEndpoint for Api {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        if self.0.in_flight.load(SeqCst) > 0 {
            self.0.killed_in_use.fetch_add(1, SeqCst);
        }
        let number = self.0.alive.fetch_add(1, SeqCst) + 1;
        Ok(IssuedToken::new(number.to_string()).expires_in(Duration::from_secs(300)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }

    fn uri(&self) -> Option<&Uri> {
        None
    }
}

#[test]
fn no_request_on_any_thread_is_signed_with_a_token_whose_successor_was_asked_for() {
    const TOKENS: u64 = 1000;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let api = Api::default();
    // A busy machine may stop any thread for a while, and a bound that passes has a price.
    let long = Duration::from_secs(600);
    let policy = RefreshPolicy::default().drain_timeout(long).hold_timeout(long);
    let cache = TokenCache::builder(api.clone()).refresh_policy(policy).build().unwrap();
    runtime.block_on(cache.token()).unwrap();
    let layer = AuthLayer::new(cache.clone()).allow_origin(URI).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for clones in [false, true, false, true] {
            let (api, layer, runtime, done) = (api.clone(), &layer, &runtime, &done);
            scope.spawn(move || {
                let mut service = layer.layer(service_fn(move |request: Request<String>| {
                    ready(Ok::<_, BoxError>(api.request(&request)))
                }));
                while !done.load(SeqCst) {
                    if clones {
                        service = service.clone();
                    }
                    runtime.block_on(service.call(get(URI))).unwrap();
                }
            });
        }
        while api.0.alive.load(SeqCst) < TOKENS {
            runtime.block_on(cache.refresh()).unwrap();
        }
        done.store(true, SeqCst);
    });
    let (counts, counters) = (&*api.0, cache.counters());
    assert_eq!((counters.drains_timed_out, counters.holds_timed_out), (0, 0));
    assert_eq!(counts.refused.load(SeqCst), 0, "requests with a dead token");
    assert_eq!(counts.killed_in_use.load(SeqCst), 0, "tokens that died under a request");
    assert!(counts.requests.load(SeqCst) > TOKENS, "{} requests", counts.requests.load(SeqCst));
}
