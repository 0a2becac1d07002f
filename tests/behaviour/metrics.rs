//! The feature `metrics`: the counters of the cache, through the facade.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use support::{Endpoint, Resource, URI, get};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, TokenCache};

/// Keeps each counter, and each value of a histogram, by name.
#[derive(Default)]
struct Recorder {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Values>>>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().unwrap();
        Counter::from_arc(Arc::clone(counters.entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut histograms = self.histograms.lock().unwrap();
        Histogram::from_arc(Arc::clone(histograms.entry(key.name().to_owned()).or_default()))
    }
}

#[test]
fn the_facade_sees_what_the_cache_counts() {
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let counters = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let endpoint = Endpoint::exclusive();
            let cache = TokenCache::new(endpoint.clone());
            let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-2"));
            service.oneshot(get(URI)).await.unwrap();
            endpoint.answer_after(Duration::from_millis(20));
            cache.refresh().await.unwrap();
            cache.counters()
        })
    });
    let seen = recorder.counters.lock().unwrap();
    for (name, value) in [
        ("tower_reauth_tokens_issued_total", counters.tokens_issued),
        ("tower_reauth_token_requests_total", counters.token_requests),
        ("tower_reauth_unauthorized_foreign_total", counters.unauthorized_foreign),
        ("tower_reauth_replays_total", counters.replays),
        ("tower_reauth_holds_total", counters.holds),
    ] {
        assert!(value > 0, "{name}");
        assert_eq!(seen[name].load(Ordering::SeqCst), value, "{name}");
    }
    // The renewal that a 401 asked for had nothing to wait for, and its request took no time.
    let histograms = recorder.histograms.lock().unwrap();
    let holds = histograms["tower_reauth_hold_seconds"].0.lock().unwrap();
    assert_eq!(*holds, [0.0, 0.02]);
}
