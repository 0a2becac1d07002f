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
use http::{Extensions, HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    claims::{ClaimsError, unverified_claims},
    schedule::Schedule,
};
use crate::clock::{self, Moment};

/// One issued access token: the secret as a ready-made header value, its sequence number, and its
/// lifetime.
///
/// Cloning it is cheap. No method panics.
///
/// Neither `Debug` nor anything else in this crate prints the secret. The header value is marked
/// [sensitive](HeaderValue::is_sensitive), so HTTP clients keep it out of their logs and out of
/// HPACK's dynamic table (RFC 7541, section 7.1.3). Its memory is wiped when the last clone is
/// dropped. Copies in an HTTP client's own buffers are not.
///
/// # Examples
///
/// Signing a websocket handshake, which is no Tower request:
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

/// The target of an [`AccessToken`].
struct Issued {
    header: HeaderValue,
    /// The index in `header` at which the secret starts, behind the scheme and its space.
    secret_from: usize,
    sequence: u64,
    times: Times,
    /// Set when a resource has accepted the token.
    accepted: AtomicBool,
    /// The values of the response that brought the token.
    extensions: Extensions,
}

/// A token that is empty, or has a character that is not visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    Empty,
    Characters,
}

/// The times of a token. All of them count from the moment when it was asked for, so that the time
/// on the wire is never added to its lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) sent: Moment,
    pub(crate) lifetime: Duration,
    pub(crate) schedule: Schedule,
}

impl Times {
    /// Returns the moment at which `after` of the lifetime has passed. A sleep of the machine
    /// brings it forward, because the token ages meanwhile and the monotonic clock stands still.
    pub(crate) fn at(&self, after: Duration, now: &Moment) -> Instant {
        let slept = now.slept.saturating_sub(self.sent.slept);
        // The time slept is the difference of two clocks, and varies a little between two reads.
        // Less than 10 ms is no sleep.
        let slept = if slept < Duration::from_millis(10) { Duration::ZERO } else { slept };
        clock::later(self.sent.at, after.saturating_sub(slept))
    }
}

impl AccessToken {
    /// Joins `scheme` and `secret` into the header value. The scheme may be empty.
    pub(crate) fn new(
        scheme: &str,
        secret: &str,
        sequence: u64,
        times: Times,
    ) -> Result<Self, Unsendable> {
        if secret.is_empty() {
            return Err(Unsendable::Empty);
        }
        // RFC 6750, section 2.1, allows fewer characters (`b64token`). This check refuses only what
        // is not visible ASCII.
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
            extensions: Extensions::new(),
        })))
    }

    /// Adds the values of the response that brought the token. For a token that has just been made.
    pub(crate) fn with_extensions(mut self, extensions: Extensions) -> Self {
        if let Some(issued) = Arc::get_mut(&mut self.0) {
            issued.extensions = extensions;
        }
        self
    }

    /// Returns the header value with bytes of its own, so that a clone of it does not write to the
    /// reference count of this one.
    pub(crate) fn copy_header(&self) -> HeaderValue {
        let value = Zeroizing::new(self.0.header.as_bytes().to_vec());
        // The bytes came from a header, so they fit into one and this never falls back.
        wiped_header(value).unwrap_or_else(|| self.0.header.clone())
    }

    /// Returns whether both are the same token of the same cache.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether both are sent as the same bytes, as if the endpoint issued one token twice.
    pub(crate) fn is_sent_as(&self, other: &Self) -> bool {
        self.0.header == other.0.header
    }

    /// Returns the scheme in front of the token, which may be empty.
    pub(crate) fn scheme(&self) -> &str {
        let scheme = &self.0.header.as_bytes()[..self.0.secret_from.saturating_sub(1)];
        // Only ASCII gets in, so this never falls back.
        std::str::from_utf8(scheme).unwrap_or_default()
    }

    pub(crate) fn times(&self) -> &Times {
        &self.0.times
    }

    /// Notes that a resource has accepted the token.
    pub(crate) fn accept(&self) {
        self.0.accepted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Returns the token as the endpoint issued it, without the scheme. Keep it out of logs and
    /// errors.
    pub fn expose_secret(&self) -> &str {
        // Only ASCII gets in, so this never falls back.
        std::str::from_utf8(&self.0.header.as_bytes()[self.0.secret_from..]).unwrap_or_default()
    }

    /// Returns the value of this type that the endpoint has
    /// [added](crate::endpoint::IssuedToken::with) to the token, such as the
    /// [`Granted`](crate::endpoint::oauth2::Granted) of an OAuth 2 response.
    ///
    /// `None` if there is none, and for a token that another process has asked for.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.extensions.get()
    }

    /// Returns the value of the `Authorization` header: scheme, space and token (RFC 6750, section
    /// 2.1), or the bare token if the scheme is empty. It is marked sensitive. Cloning it copies no
    /// bytes.
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }

    /// Returns the token's place in the order in which its [`TokenCache`](crate::TokenCache) asked
    /// for tokens. A greater number is a newer token. Numbers of two caches can't be compared.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Returns how long the token lives in all, counted from the moment when it was asked for.
    ///
    /// It is observed from the response that brought the token. A lifetime between two dates is
    /// less up to one second, because their resolution is one second.
    /// [`IssuedToken`](crate::endpoint::IssuedToken) says which of them count.
    pub fn lifetime(&self) -> Duration {
        self.0.times.lifetime
    }

    /// Returns how much of the lifetime is left, or zero once the token has expired.
    pub fn time_left(&self) -> Duration {
        self.time_left_at(&clock::moment())
    }

    pub(crate) fn time_left_at(&self, now: &Moment) -> Duration {
        self.0.times.at(self.0.times.lifetime, now).saturating_duration_since(now.at)
    }

    /// Returns whether the token can still be sent, by the clock alone. It can until the
    /// [`expiry_margin`](crate::RefreshPolicy::expiry_margin) before its end: by default 2 % of its
    /// lifetime, at most 5 seconds. The endpoint may have revoked it all the same.
    pub fn is_usable(&self) -> bool {
        self.is_usable_at(&clock::moment())
    }

    pub(crate) fn is_usable_at(&self, now: &Moment) -> bool {
        now.at < self.0.times.at(self.0.times.schedule.unusable, now)
    }

    /// Decodes the claims of a JWT (RFC 7519) **without verifying them**: nobody has checked its
    /// signature, or its dates.
    ///
    /// They are fit for display, and for choosing an endpoint, but never for an authorization
    /// decision. The feature `verify` adds methods for that.
    ///
    /// # Errors
    ///
    /// Returns an error if the token is not a JWT, or if its claims do not fit `T`.
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

    /// Decodes the claims of a JWT (RFC 7519), after checking its signature with `key`, and its
    /// dates and other claims as `validation` says.
    ///
    /// The types of key and validation are those of [`jsonwebtoken`](crate::jsonwebtoken), which is
    /// re-exported. The feature brings a crypto backend, and does not replace one that the program
    /// has installed. For keys in PEM, `DecodingKey::from_rsa_pem` and its siblings, enable
    /// `jsonwebtoken`'s feature `use_pem`, which adds twelve crates.
    ///
    /// # Errors
    ///
    /// Returns the error of [`jsonwebtoken::decode`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn f(token: &tower_reauth::AccessToken) -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_reauth::jsonwebtoken::{Algorithm, DecodingKey, Validation};
    ///
    /// let key = DecodingKey::from_secret(b"the key that the endpoint signs with");
    /// let claims: serde_json::Value =
    ///     token.verified_claims(&key, &Validation::new(Algorithm::HS256))?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "verify")]
    #[cfg_attr(docsrs, doc(cfg(feature = "verify")))]
    pub fn verified_claims<T: DeserializeOwned>(
        &self,
        key: &jsonwebtoken::DecodingKey,
        validation: &jsonwebtoken::Validation,
    ) -> Result<T, jsonwebtoken::errors::Error> {
        super::verify::with_key(self.expose_secret(), key, validation)
    }

    /// Works like [`verified_claims`](Self::verified_claims), with the key that the token's `kid`
    /// names in a key set (RFC 7517).
    ///
    /// # Errors
    ///
    /// Returns the error of [`jsonwebtoken::decode`]. If `kid` is missing, or not in the set, that
    /// is [`ErrorKind::InvalidKeyFormat`](jsonwebtoken::errors::ErrorKind::InvalidKeyFormat).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_reauth::{AccessToken, BoxError};
    /// # fn f(token: &AccessToken, jwks: &str) -> Result<(), BoxError> {
    /// use tower_reauth::jsonwebtoken::{Algorithm, Validation, jwk::JwkSet};
    ///
    /// let keys: JwkSet = serde_json::from_str(jwks)?;
    /// let claims: serde_json::Value =
    ///     token.verified_claims_with_jwks(&keys, &Validation::new(Algorithm::RS256))?;
    /// # Ok(())
    /// # }
    /// ```
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

/// Returns `true` if `scheme` is empty, or a token by RFC 9110, section 5.6.2.
pub(crate) fn is_scheme(scheme: &str) -> bool {
    scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Makes a sensitive header value of these bytes. It shares them instead of copying them, so that
/// dropping its last clone wipes them.
pub(crate) fn wiped_header(value: Zeroizing<Vec<u8>>) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
#[path = "access_token_tests.rs"]
mod tests;
