//! What the targets in `fuzz/` see of the crate's inside. Built with `--cfg fuzzing` only, and no part of the API.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    clock, endpoint,
    endpoint::TokenEndpoint,
    error::AuthError,
    events::Tally,
    refresh::{RefreshPolicy, attempts::Attempts},
    token::{self, AccessToken, IssuedToken, Times, Windows, lifetime, schedule},
};

/// One attempt at a token, as a flight makes it: asked for, read, given a lifetime, and adopted.
///
/// # Errors
///
/// As [`TokenEndpoint::issue`]; or the token had expired, or can't be sent.
pub async fn attempt(
    endpoint: &impl TokenEndpoint,
    scheme: &str,
) -> Result<AccessToken, AuthError> {
    let (policy, tally) = (RefreshPolicy::default(), Tally::default());
    let attempts =
        Attempts { endpoint, policy: &policy, scheme, sequence: 1, tally: &tally, fallback: None };
    attempts.attempt().await
}

/// A token of 300 seconds, if `secret` can be sent.
pub fn token(secret: &str) -> Option<AccessToken> {
    let lifetime = Duration::from_secs(300);
    let schedule = schedule::schedule(lifetime, &Windows::default(), 0.5);
    let times = Times { sent: clock::now(), slept: clock::slept(), lifetime, schedule };
    AccessToken::new("Bearer", secret, 1, times).ok()
}

/// The claims of a JWT, by nobody's word but its own.
pub fn unverified_claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    token::unverified_claims(token)
}

/// The pause that a `Retry-After` asks for.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    endpoint::retry_after(headers, now)
}

/// `from + by`, or as late as the clock goes.
pub fn later(from: Instant, by: Duration) -> Instant {
    clock::later(from, by)
}

/// An `expiresAt`, read.
pub fn parse_date(text: &str) -> Option<SystemTime> {
    endpoint::parse_date(text)
}

/// The lifetime of a token; `None` if it had expired when it was issued.
pub fn observed_lifetime(issued: &IssuedToken, secret: &str, sent: SystemTime) -> Option<Duration> {
    lifetime::observed(issued, secret, sent).ok()
}

/// Whether a cache would be built with this policy.
pub fn is_valid(policy: &RefreshPolicy) -> bool {
    policy.check().is_ok()
}

/// Due, hold, unusable, drain.
pub fn schedule(lifetime: Duration, policy: &RefreshPolicy, random: f64) -> [Duration; 4] {
    let schedule = schedule::schedule(lifetime, &policy.windows, random);
    [schedule.due, schedule.hold, schedule.unusable, schedule.drain]
}
