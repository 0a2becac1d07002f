//! The feature `metrics`: the counters of the cache, through the facade.

use std::{collections::BTreeMap, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::{Endpoint, Resource, URI, get};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, TokenCache};

#[test]
fn the_facade_sees_what_the_cache_counts() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
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
    let seen: BTreeMap<String, DebugValue> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
        .collect();
    for (name, value) in [
        ("tower_reauth_tokens_issued_total", counters.tokens_issued),
        ("tower_reauth_token_requests_total", counters.token_requests),
        ("tower_reauth_unauthorized_foreign_total", counters.unauthorized_foreign),
        ("tower_reauth_replays_total", counters.replays),
        ("tower_reauth_holds_total", counters.holds),
    ] {
        assert!(value > 0, "{name}");
        assert_eq!(seen[name], DebugValue::Counter(value), "{name}");
    }
    // The renewal that a 401 asked for had nothing to wait for, and its request took no time.
    let DebugValue::Histogram(holds) = &seen["tower_reauth_hold_seconds"] else {
        panic!("not a histogram")
    };
    assert_eq!(holds.iter().map(|hold| hold.into_inner()).collect::<Vec<_>>(), [0.0, 0.02]);
}
