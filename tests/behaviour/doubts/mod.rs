//! Whose fault a 401 is: the token's, or that of the resource that sent it.

mod probes;
mod renewals;
mod routes;
mod young;

use std::time::Duration;

use support::{Endpoint, Resource, authorization, ok, unauthorized};
use tower_reauth::{RefreshPolicy, TokenCache};

const FORBIDDEN: &str = "https://api.example.com/forbidden";

/// Past the time in which a token is young.
const SETTLED: Duration = Duration::from_secs(3);

/// A cache whose renewals are due at a fixed age.
fn cache(endpoint: &Endpoint) -> TokenCache {
    let policy = RefreshPolicy::default().jitter(0.0);
    TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap()
}

/// A resource that accepts the newest token everywhere but at [`FORBIDDEN`].
fn resource(endpoint: &Endpoint) -> Resource {
    let endpoint = endpoint.clone();
    Resource::new(move |_, request| {
        let alive = format!("Bearer token-{}", endpoint.calls());
        let is_fine = request.uri().path() != "/forbidden" && authorization(request) == alive;
        if is_fine { ok() } else { unauthorized() }
    })
}
