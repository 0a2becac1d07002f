//! Renewing a token that is still good: when, and without a 401 of our own making.

mod drains;
mod failures;
mod schedule;

use support::Endpoint;
use tower_reauth::{RefreshPolicy, TokenCache};

fn cache(endpoint: &Endpoint, policy: RefreshPolicy) -> TokenCache {
    TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap()
}

/// Half-way between the earliest and the latest moment at which the renewal of a 300 s token is
/// due.
fn no_jitter() -> RefreshPolicy {
    RefreshPolicy::default().jitter(0.0)
}
