//! A day without failures, at a paused clock.

use std::time::Duration;

use support::{Endpoint, Resource, URI, get, settle};
use tokio::time::{Instant, advance, sleep_until};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, RefreshPolicy, TokenCache};

/// A debug build has no time for all of them.
const REQUESTS_A_SECOND: u32 = if cfg!(debug_assertions) { 1 } else { 50 };

#[tokio::test(start_paused = true)]
async fn a_day_of_steady_traffic_costs_what_the_schedule_says_and_an_idle_day_nothing() {
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(Duration::from_millis(50));
    // Each renewal is due at the same age of its token.
    let policy = RefreshPolicy::default().jitter(0.0);
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    let resource = Resource::of(&endpoint, Duration::from_millis(10)).forgetful();
    let service = AuthLayer::new(cache.clone()).layer(resource);
    let started = Instant::now();
    for number in 0..24 * 3600 * REQUESTS_A_SECOND {
        sleep_until(started + Duration::from_secs(1) * number / REQUESTS_A_SECOND).await;
        let answer = service.clone().oneshot(get(URI)).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // Due at 80 % of 295 s, and taken at a quiet moment within a second.
    let expected = 24.0 * 3600.0 / 236.0;
    let calls = endpoint.calls() as f64;
    assert!(
        (calls - expected).abs() <= expected / 100.0,
        "{calls} requests for tokens, {expected} expected"
    );
    assert_eq!(cache.counters().unauthorized, 0);
    advance(Duration::from_secs(24 * 3600)).await;
    settle().await;
    assert_eq!(endpoint.calls() as f64, calls);
}
