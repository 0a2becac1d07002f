//! The crate's inside for the targets in `fuzz/`.
//!
//! It is built with `--cfg fuzzing` only, and is no part of the API.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

#[cfg(feature = "seal")]
use crate::store::{KeyRing, Name, seal::Sealing};
use crate::{
    clock, endpoint,
    endpoint::TokenEndpoint,
    error::{AuthError, Fate},
    events::Tally,
    refresh::{RefreshPolicy, attempts::Attempts},
    store::{
        steps::{self, Entry, Publication, Wish},
        value::{Foreign, Value},
    },
    token::{self, AccessToken, IssuedToken, Times, Windows, lifetime, schedule},
};

/// Makes one attempt at a token as a flight does.
///
/// The token is asked for, read, given a lifetime and adopted.
///
/// # Errors
///
/// Returns the error of [`TokenEndpoint::issue`]. A token that had expired or that no header can
/// carry is an error too.
pub async fn attempt(
    endpoint: &impl TokenEndpoint,
    scheme: &str,
) -> Result<AccessToken, AuthError> {
    let (policy, tally) = (RefreshPolicy::default(), Tally::default());
    let attempts = Attempts {
        endpoint,
        policy: &policy,
        scheme,
        sequence: 1,
        token_sequence: 1,
        tally: &tally,
        is_failing: false,
        falls_back: Box::new(|| false),
        previous: None,
        permit: None,
        deadline: clock::later(clock::now(), policy.deadline),
    };
    attempts.attempt(policy.attempt_timeout, attempts.deadline).await.map(|(token, _)| token)
}

/// Returns a token of 300 seconds, or `None` if no header can carry `secret`.
pub fn token(secret: &str) -> Option<AccessToken> {
    let lifetime = Duration::from_secs(300);
    let schedule = schedule::schedule(lifetime, &Windows::default(), 0.5);
    let times = Times { sent: clock::moment(), lifetime, schedule };
    AccessToken::new("Bearer", secret, 1, times).ok()
}

/// Returns the claims of a JWT without a check of its signature.
pub fn unverified_claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    token::unverified_claims(token)
}

/// Returns the pause that a `Retry-After` header asks for.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    endpoint::retry_after(headers, None, now)
}

/// Returns `from + by`, or the latest moment that the clock can hold.
pub fn later(from: Instant, by: Duration) -> Instant {
    clock::later(from, by)
}

/// Parses an `expiresAt`.
pub fn parse_date(text: &str) -> Option<SystemTime> {
    endpoint::parse_rfc3339(text)
}

/// Returns the lifetime of a token, or `None` if it had expired when it was issued.
pub fn observed_lifetime(issued: &IssuedToken, secret: &str, sent: SystemTime) -> Option<Duration> {
    lifetime::observed(issued, secret, sent).ok()
}

/// Returns `true` if a cache can be built with this policy.
pub fn is_valid(policy: &RefreshPolicy) -> bool {
    policy.check().is_ok()
}

/// Returns the windows of a token in the order due, hold, unusable, drain.
pub fn schedule(lifetime: Duration, policy: &RefreshPolicy, random: f64) -> [Duration; 4] {
    let schedule = schedule::schedule(lifetime, &policy.windows, random);
    [schedule.due, schedule.hold, schedule.unusable, schedule.drain]
}

/// Returns whether a 401 with these headers blames the token.
pub fn blames_token(headers: &HeaderMap) -> bool {
    crate::sign::blames_token(headers)
}

/// Reads a shared value, and takes every step of the protocol from it as the process `owner`.
///
/// Returns the value as it is written again, and the values that the steps lead to: of a process
/// that enters, and of a holder that extends, publishes and leaves.
///
/// # Errors
///
/// Returns the text of the reason why `bytes` can't be read.
pub fn shared_value(bytes: &Bytes, owner: u64) -> Result<Vec<Option<Vec<u8>>>, &'static str> {
    let value = Value::decode(bytes).map_err(Foreign::why)?;
    let wish = Wish {
        owner,
        floor: value.head.sequence,
        forced: false,
        holds: true,
        passes: None,
        longest_back_off: Duration::MAX,
        cooldown: value.head.cooldown,
        lease: Duration::from_secs(3),
    };
    let revision = value.head.fence.saturating_add(1);
    let (token, cooldown) = (Bytes::from_static(b"token"), value.head.cooldown);
    let mut written = vec![value.encode()];
    if let Entry::Granted(next) = steps::enter(&value, Duration::MAX, &wish, revision) {
        let fence = next.head.fence;
        let extended = steps::extend(&next, owner, fence);
        let left = steps::leave(&next, owner, fence, Fate::Unknown, None);
        let published = match steps::publish(&next, fence, &token, cooldown) {
            Publication::Write(published) => Some(published),
            Publication::Published | Publication::Fenced => None,
        };
        written.extend([Some(next), extended, published, left].map(|it| it?.encode()));
    }
    Ok(written)
}

/// How a token is kept in a store: plain, or sealed with keys.
#[cfg(feature = "seal")]
#[derive(Debug)]
pub struct Kept(Sealing);

#[cfg(feature = "seal")]
impl Kept {
    /// Returns the way of a process without a key, or with these. The first one seals.
    pub fn with(keys: &[[u8; 32]]) -> Self {
        Self(match keys {
            [] => Sealing::Plain,
            [first, others @ ..] => Sealing::Keys(KeyRing::new(*first, others.iter().copied())),
        })
    }

    /// Returns `token` as it is kept, or `None` without random numbers.
    pub fn seal(&self, name: &Name, sequence: u64, token: &[u8]) -> Option<Vec<u8>> {
        self.0.seal(name, sequence, token).ok()
    }

    /// Returns the token that `kept` holds, or why it can't be opened.
    ///
    /// # Errors
    ///
    /// Returns the text of the reason.
    pub fn open(&self, name: &Name, sequence: u64, kept: &[u8]) -> Result<Vec<u8>, String> {
        let token = self.0.open(name, sequence, kept).map_err(|foreign| foreign.to_string())?;
        Ok(token.to_vec())
    }
}
