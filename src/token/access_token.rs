//! [`AccessToken`]: one issued token, ready to be sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    claims::{ClaimsError, unverified_claims},
    schedule::Schedule,
};
use crate::clock;

/// One issued access token: the secret as a ready-made header value, its place in the order of tokens, its lifetime.
///
/// Cheap to clone. Neither `Debug` nor anything else in this crate prints the secret; the header value is marked
/// [sensitive](HeaderValue::is_sensitive), so HTTP clients keep it out of their logs and out of HPACK's dynamic
/// table. The memory is wiped when the last clone is dropped (copies that an HTTP client made in its own buffers
/// are its own).
///
/// # Examples
///
/// Signing something that isn't a Tower request, a websocket handshake say:
///
/// ```
/// # async fn f(cache: tower_reauth::TokenCache) -> Result<(), Box<dyn std::error::Error>> {
/// let token = cache.token().await?;
/// let mut handshake = http::Request::get("wss://api.example.com/events").body(())?;
/// handshake.headers_mut().insert(http::header::AUTHORIZATION, token.header_value().clone());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

/// What an [`AccessToken`] points to; the cache publishes it through one pointer.
struct Issued {
    header: HeaderValue,
    /// Where the secret starts in `header`, behind the scheme and its space.
    secret_from: usize,
    sequence: u64,
    times: Times,
    /// Whether any resource has accepted it.
    accepted: AtomicBool,
}

/// A token that can't be put into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    Empty,
    Characters,
}

/// The times of a token, counted from when it was asked for, so that the time on the wire is never added to its lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) sent: Instant,
    /// What [`clock::slept`] said then.
    pub(crate) slept: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) schedule: Schedule,
}

impl Times {
    /// The moment `after` so much of the lifetime. A sleep of the machine brings it forward, as it does the end of the
    /// token: the earlier of the two clocks counts.
    pub(crate) fn at(&self, after: Duration) -> Instant {
        let slept = clock::slept().saturating_sub(self.slept);
        // Two reads of two clocks differ by a little.
        let slept = if slept < Duration::from_millis(10) { Duration::ZERO } else { slept };
        clock::later(self.sent, after.saturating_sub(slept))
    }
}

impl AccessToken {
    /// Joins `scheme` (may be empty) and `secret` into the header value.
    pub(crate) fn new(
        scheme: &str,
        secret: &str,
        sequence: u64,
        times: Times,
    ) -> Result<Self, Unsendable> {
        if secret.is_empty() {
            return Err(Unsendable::Empty);
        }
        // RFC 6750 allows less (b64token); what a header can't carry or would trim is where it ends for us.
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Unsendable::Characters);
        }
        let secret_from = if scheme.is_empty() { 0 } else { scheme.len() + 1 };
        let mut value = Zeroizing::new(Vec::with_capacity(secret_from + secret.len()));
        if !scheme.is_empty() {
            value.extend_from_slice(scheme.as_bytes());
            value.push(b' ');
        }
        value.extend_from_slice(secret.as_bytes());
        let header = wiped_header(value).ok_or(Unsendable::Characters)?;
        Ok(Self(Arc::new(Issued {
            header,
            secret_from,
            sequence,
            times,
            accepted: AtomicBool::new(false),
        })))
    }

    /// The header value, with bytes of its own.
    pub(crate) fn copy_header(&self) -> HeaderValue {
        let value = Zeroizing::new(self.0.header.as_bytes().to_vec());
        // It came from a header, so it fits into one.
        wiped_header(value).unwrap_or_else(|| self.0.header.clone())
    }

    /// Whether both are the same token of the same cache.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn times(&self) -> &Times {
        &self.0.times
    }

    /// A resource has accepted it.
    pub(crate) fn accept(&self) {
        self.0.accepted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// The token itself, as the endpoint issued it, without the scheme. Handle with care.
    pub fn expose_secret(&self) -> &str {
        // Only ASCII gets in, so this never falls back.
        std::str::from_utf8(&self.0.header.as_bytes()[self.0.secret_from..]).unwrap_or_default()
    }

    /// The value of the `Authorization` header: scheme, space, token; marked sensitive. Cloning it copies nothing.
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The place of this token in the order in which its [`TokenCache`](crate::TokenCache) asked for them.
    /// A greater number is a newer token; the numbers of two caches have nothing to do with each other.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// How long the token lives in all, counted from when it was asked for. In whole or part seconds, as observed
    /// from the answer that brought it, less up to a second for the resolution of its dates.
    pub fn lifetime(&self) -> Duration {
        self.0.times.lifetime
    }

    /// How much of its lifetime is left; zero once it has expired.
    pub fn time_left(&self) -> Duration {
        self.0.times.at(self.0.times.lifetime).saturating_duration_since(clock::now())
    }

    /// Whether the token can be sent by the clock: its lifetime, less a safety margin of 2 % (5 seconds at the most), has
    /// not passed. The endpoint may have revoked it all the same.
    pub fn is_usable(&self) -> bool {
        clock::now() < self.0.times.at(self.0.times.schedule.unusable)
    }

    /// The claims of a JWT, **unverified**: nobody has checked its signature, or its dates.
    ///
    /// Fit for display and for choosing an endpoint, never for an authorization decision (see the feature
    /// `verify` for that).
    ///
    /// # Errors
    ///
    /// The token is not a JWT, or its claims do not fit `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Claims {
    ///     services: Vec<String>,
    /// }
    ///
    /// # fn f(token: &tower_reauth::AccessToken) -> Result<(), Box<dyn std::error::Error>> {
    /// let claims: Claims = token.claims()?;
    /// println!("this client may use: {}", claims.services.join(", "));
    /// # Ok(())
    /// # }
    /// ```
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, ClaimsError> {
        unverified_claims(self.expose_secret()).ok_or(ClaimsError::new())
    }

    /// The claims of a JWT, with its signature and dates checked against `key` as `validation` says.
    ///
    /// The types of keys and validation are those of [`jsonwebtoken`](crate::jsonwebtoken), re-exported. A crypto
    /// backend comes with the feature.
    ///
    /// # Errors
    ///
    /// Whatever [`jsonwebtoken::decode`] finds wrong.
    #[cfg(feature = "verify")]
    #[cfg_attr(docsrs, doc(cfg(feature = "verify")))]
    pub fn verified_claims<T: DeserializeOwned>(
        &self,
        key: &jsonwebtoken::DecodingKey,
        validation: &jsonwebtoken::Validation,
    ) -> Result<T, jsonwebtoken::errors::Error> {
        super::verify::with_key(self.expose_secret(), key, validation)
    }

    /// Like [`verified_claims`](Self::verified_claims), with the key that the token's `kid` names in a key set.
    ///
    /// # Errors
    ///
    /// Whatever [`jsonwebtoken::decode`] finds wrong; a `kid` that is missing or not in the set is
    /// [`ErrorKind::InvalidKeyFormat`](jsonwebtoken::errors::ErrorKind::InvalidKeyFormat).
    #[cfg(feature = "verify")]
    #[cfg_attr(docsrs, doc(cfg(feature = "verify")))]
    pub fn verified_claims_with_jwks<T: DeserializeOwned>(
        &self,
        keys: &jsonwebtoken::jwk::JwkSet,
        validation: &jsonwebtoken::Validation,
    ) -> Result<T, jsonwebtoken::errors::Error> {
        super::verify::with_jwks(self.expose_secret(), keys, validation)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("sequence", &self.0.sequence)
            .field("lifetime", &self.0.times.lifetime)
            .finish_non_exhaustive()
    }
}

/// A sensitive header value that shares these bytes instead of copying them, so that dropping its last clone wipes
/// them.
fn wiped_header(value: Zeroizing<Vec<u8>>) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::schedule::{Windows, schedule};

    fn times() -> Times {
        let lifetime = Duration::from_secs(300);
        let schedule = schedule(lifetime, &Windows::default(), 0.5);
        Times { sent: clock::now(), slept: clock::slept(), lifetime, schedule }
    }

    #[test]
    fn a_sleep_of_the_machine_takes_from_the_lifetime() {
        let token = AccessToken::new("Bearer", "abc", 1, times()).unwrap();
        assert!(token.is_usable() && token.time_left() > Duration::from_secs(299));
        clock::tests::sleep(Duration::from_secs(290));
        assert!(token.is_usable() && token.time_left() <= Duration::from_secs(10));
        clock::tests::sleep(Duration::from_secs(10));
        assert!(!token.is_usable() && token.time_left().is_zero());
    }

    #[test]
    fn the_header_value_is_prebuilt_and_sensitive() {
        let token = AccessToken::new("Bearer", "abc.def", 7, times()).unwrap();
        assert_eq!(token.header_value(), "Bearer abc.def");
        assert!(token.header_value().is_sensitive());
        assert_eq!(token.expose_secret(), "abc.def");
        assert_eq!(token.sequence(), 7);
    }

    #[test]
    fn an_empty_scheme_leaves_the_bare_token() {
        let token = AccessToken::new("", "abc", 1, times()).unwrap();
        assert_eq!(token.header_value(), "abc");
        assert_eq!(token.expose_secret(), "abc");
    }

    #[test]
    fn an_unsendable_token_is_refused() {
        for (secret, why) in [
            ("", Unsendable::Empty),
            ("a b", Unsendable::Characters),
            ("a\nb", Unsendable::Characters),
            ("a\u{e9}", Unsendable::Characters),
            (" a", Unsendable::Characters),
        ] {
            assert_eq!(
                AccessToken::new("Bearer", secret, 1, times()).unwrap_err(),
                why,
                "{secret:?}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = AccessToken::new("Bearer", "hunter2hunter2", 1, times()).unwrap();
        let shown = format!("{token:?} {:?}", token.header_value());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn claims_of_something_that_is_no_jwt_are_a_typed_error() {
        let token = AccessToken::new("Bearer", "hunter2", 1, times()).unwrap();
        let error = token.claims::<serde_json::Value>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
