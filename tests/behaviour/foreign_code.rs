//! Code of other people that the cache calls: metrics recorders, subscribers, destructors. None of
//! it runs under the cache's lock, and a panic in it costs nobody else.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use support::{Endpoint, Step, child::is_own_process};
use tokio::runtime::{Builder, Runtime};
use tower_reauth::{AuthError, TokenCache};

/// Runs `work` on a thread of its own. `None` is a deadlock.
pub(super) fn within_seconds<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let _ = send.send(work());
    });
    receive.recv_timeout(Duration::from_secs(20)).ok()
}

/// On the calling thread, with a clock that only jumps.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

pub(super) fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Does something with the cache that takes its lock.
fn ask(cache: &OnceLock<TokenCache>) {
    if let Some(cache) = cache.get() {
        let _ = cache.current();
        let _ = cache.counters();
    }
}

/// A recorder that asks the cache, or panics, whenever it is called.
struct Recorder {
    cache: Arc<OnceLock<TokenCache>>,
    panics: bool,
    calls: Arc<AtomicUsize>,
}

impl Recorder {
    fn call(&self) {
        self.calls.fetch_add(1, SeqCst);
        ask(&self.cache);
        assert!(!self.panics, "the recorder panics, as it was told to");
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.call();
        metrics::Counter::noop()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        self.call();
        metrics::Histogram::noop()
    }
}

/// Renews once, refuses a token, and renews again. Returns the sequence numbers.
async fn live(cache: &TokenCache) -> [u64; 3] {
    let first = cache.token().await.unwrap();
    let second = cache.refresh().await.unwrap();
    cache.invalidate(&second);
    let third = cache.token().await.unwrap();
    [first, second, third].map(|token| token.sequence())
}

#[test]
fn a_metrics_recorder_may_ask_the_cache_and_a_panic_in_it_costs_nobody_else() {
    for panics in [false, true] {
        let calls = Arc::new(AtomicUsize::new(0));
        let recorder = Recorder { cache: Arc::default(), panics, calls: Arc::clone(&calls) };
        let lived = within_seconds(move || {
            let cache = TokenCache::new(Endpoint::exclusive());
            let _ = recorder.cache.set(cache.clone());
            metrics::with_local_recorder(&recorder, || paused().block_on(live(&cache)))
        });
        assert_eq!(lived, Some([1, 2, 3]), "panics: {panics}");
        assert!(calls.load(SeqCst) > 5);
    }
}

/// The methods of a subscriber that are called.
const CALLBACKS: [&str; 5] = ["new_span", "enter", "exit", "event", "try_close"];

/// A subscriber that asks the cache whenever it is called, and panics in some methods.
struct Subscriber {
    cache: Arc<OnceLock<TokenCache>>,
    panics_in: Vec<&'static str>,
    calls: Arc<AtomicUsize>,
}

impl Subscriber {
    fn call(&self, callback: &str) {
        self.calls.fetch_add(1, SeqCst);
        ask(&self.cache);
        assert!(!self.panics_in.contains(&callback), "{callback} panics, as it was told to");
    }
}

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tower_reauth"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.call("new_span");
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.call("event");
    }

    fn enter(&self, _: &tracing::span::Id) {
        self.call("enter");
    }

    fn exit(&self, _: &tracing::span::Id) {
        self.call("exit");
    }

    fn try_close(&self, _: tracing::span::Id) -> bool {
        self.call("try_close");
        true
    }
}

#[test]
fn a_subscriber_may_ask_the_cache_and_a_panic_in_it_costs_nobody_else() {
    let each = CALLBACKS.map(|callback| vec![callback]);
    for panics_in in each.into_iter().chain([vec![], CALLBACKS.to_vec()]) {
        let calls = Arc::new(AtomicUsize::new(0));
        let subscriber = Subscriber {
            cache: Arc::default(),
            panics_in: panics_in.clone(),
            calls: Arc::clone(&calls),
        };
        let lived = within_seconds(move || {
            let endpoint = Endpoint::exclusive();
            // An attempt that fails is logged too.
            endpoint.then(Step::Fail(AuthError::transient("x")));
            let cache = TokenCache::new(endpoint);
            let _ = subscriber.cache.set(cache.clone());
            tracing::subscriber::with_default(subscriber, || {
                // Threads of other tests may have hit the callsites without a subscriber.
                tracing::callsite::rebuild_interest_cache();
                paused().block_on(live(&cache))
            })
        });
        assert_eq!(lived, Some([1, 2, 3]), "panics in {panics_in:?}");
        // How often depends on the callsites that other threads enter at the same time.
        assert!(calls.load(SeqCst) > 0, "panics in {panics_in:?}");
    }
}

/// An error that asks the cache, and panics if told to, when it is dropped.
#[derive(Debug)]
struct Nosy {
    cache: Arc<OnceLock<TokenCache>>,
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl std::fmt::Display for Nosy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x")
    }
}

impl std::error::Error for Nosy {}

impl Drop for Nosy {
    fn drop(&mut self) {
        ask(&self.cache);
        self.drops.fetch_add(1, SeqCst);
        assert!(!self.panics, "the destructor panics, as it was told to");
    }
}

#[test]
fn an_errors_destructor_may_ask_the_cache_and_a_panic_in_it_costs_nobody_else() {
    for panics in [false, true] {
        let (cache, drops) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let nosy = || Nosy { cache: Arc::clone(&cache), drops: Arc::clone(&drops), panics };
        let endpoint = Endpoint::exclusive();
        endpoint.then(Step::Fail(AuthError::rejected(nosy())));
        endpoint.then(Step::Fail(AuthError::rejected(nosy())));
        let set = Arc::clone(&cache);
        let recovered = within_seconds(move || {
            let cache = TokenCache::new(endpoint);
            let _ = set.set(cache.clone());
            paused().block_on(async {
                for _ in 0..2 {
                    assert!(cache.token().await.is_err());
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                let mut updates = cache.subscribe();
                let token = cache.token().await.unwrap();
                // The error is dropped before the subscribers hear of the token.
                assert_eq!(updates.next().await.unwrap().sequence(), 3);
                assert_eq!(cache.counters().tokens_issued, 1);
                token.sequence()
            })
        });
        assert_eq!(recovered, Some(3), "panics: {panics}");
        assert_eq!(drops.load(SeqCst), 2, "panics: {panics}");
    }
}

#[test]
fn an_endpoints_destructor_that_panics_costs_whoever_drops_the_last_handle_nothing() {
    struct Fragile(Endpoint, Arc<AtomicUsize>);
    impl Drop for Fragile {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
            panic!("the destructor panics, as it was told to");
        }
    }
    impl tower_reauth::TokenEndpoint for Fragile {
        async fn issue(&self) -> Result<tower_reauth::endpoint::IssuedToken, AuthError> {
            self.0.issue().await
        }

        fn rotation(&self) -> tower_reauth::endpoint::Rotation {
            self.0.rotation()
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let cache = TokenCache::new(Fragile(Endpoint::exclusive(), Arc::clone(&drops)));
    let runtime = paused();
    runtime.block_on(cache.token()).unwrap();
    drop(cache);
    drop(runtime);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn an_endpoint_that_panics_and_a_subscriber_that_panics_do_not_abort_the_process() {
    let name = "an_endpoint_that_panics_and_a_subscriber_that_panics_do_not_abort_the_process";
    if !is_own_process(module_path!(), name) {
        return;
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let subscriber = Subscriber { cache: Arc::default(), panics_in: CALLBACKS.to_vec(), calls };
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Panic);
    let cache = TokenCache::new(endpoint);
    let error = paused().block_on(cache.token()).unwrap_err();
    assert!(error.is_interrupted(), "{error:?}");
}
