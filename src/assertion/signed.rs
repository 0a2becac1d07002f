//! [`SignedJwt`]: assertions that are signed in this process.

use std::{fmt, time::Duration};

use secrecy::SecretString;
use serde_json::Value;

use super::{
    jwt::{self, Claims},
    signer::SignerSource,
    source::{AssertionAsk, AssertionSource},
};
use crate::error::BoxError;

/// The `aud` of an assertion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience {
    /// The identifier of the authorization server. An endpoint that does not know it can't be
    /// built.
    ///
    /// Any other value lets a hostile server use the assertion at another one, by naming that
    /// one's token endpoint as its own (CVE-2025-27370 and CVE-2025-27371).
    #[default]
    Issuer,
    /// The token endpoint, for a server that accepts nothing else.
    TokenUri,
    /// Another value, which the provider's documentation gives.
    Other(String),
}

/// Assertions by RFC 7523, each with a `jti` and dates of its own, signed in this process.
///
/// | claim | value |
/// |---|---|
/// | `iss` | the client id, or what [`issuer`](Self::issuer) says |
/// | `sub` | the client id, or what [`subject`](Self::subject) says |
/// | `aud` | the server's issuer, as one string, or what [`audience`](Self::audience) says |
/// | `iat` | now, less the [`skew`](Self::skew) |
/// | `exp` | now, plus the [`lifetime`](Self::lifetime) |
/// | `jti` | 128 random bits |
///
/// There is no `nbf`. Now is by the server's clock, where that is known to differ from this
/// machine's by more than 30 seconds.
///
/// # Examples
///
/// ```
/// use tower_reauth::assertion::{SignedJwt, SigningKey};
///
/// # fn main() -> Result<(), tower_reauth::ConfigError> {
/// // `client_secret_jwt`. `SigningKey` has the constructors for `private_key_jwt`.
/// let key = SigningKey::hs256("a secret of at least thirty-two bytes")?;
/// let source = SignedJwt::new(key);
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignedJwt<K> {
    keys: K,
    issuer: Option<String>,
    subject: Subject,
    audience: Audience,
    typ: String,
    lifetime: Duration,
    skew: Duration,
    claims: Claims,
}

#[derive(Clone, Debug)]
enum Subject {
    Client,
    Named(String),
    Nobody,
}

impl<K: SignerSource> SignedJwt<K> {
    /// Creates a source that signs with a [`SigningKey`](super::SigningKey), a
    /// [`key_file`](super::key_file) or a [`Signer`](super::Signer) of your own.
    pub fn new(keys: K) -> Self {
        Self {
            keys,
            issuer: None,
            subject: Subject::Client,
            audience: Audience::Issuer,
            typ: "JWT".into(),
            lifetime: Duration::from_secs(60),
            skew: Duration::from_secs(5),
            claims: Claims::new(),
        }
    }

    /// Sets `iss`. Defaults to the client id.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets `sub`. Defaults to the client id.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Subject::Named(subject.into());
        self
    }

    /// Leaves `sub` out, as a service account of Google does that acts for itself.
    pub fn without_subject(mut self) -> Self {
        self.subject = Subject::Nobody;
        self
    }

    /// Sets `aud`. Defaults to [`Audience::Issuer`].
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Sets the `typ` of the header, such as `client-authentication+jwt`. Defaults to `JWT`.
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typ = typ.into();
        self
    }

    /// Sets how long an assertion lives. Defaults to 60 seconds.
    ///
    /// Most servers have a limit: Salesforce three minutes, GitHub ten, Google an hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets how far `iat` is in the past, for a server whose clock is behind. Defaults to 5
    /// seconds.
    pub fn skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    /// Adds a claim. It takes no place of one that the table names.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    fn claims(&self, ask: &AssertionAsk<'_>) -> Result<Claims, BoxError> {
        let client = Some(ask.client_id).filter(|id| !id.is_empty());
        let issuer = self.issuer.as_deref().or(client);
        let issuer = issuer.ok_or("the assertion has no iss; set it with `SignedJwt::issuer`")?;
        let subject = match &self.subject {
            Subject::Client => Some(client.unwrap_or(issuer)),
            Subject::Named(subject) => Some(subject.as_str()),
            Subject::Nobody => None,
        };
        let audience = match &self.audience {
            Audience::Issuer => ask.issuer.ok_or(
                "the issuer of the authorization server is not known; name it, or choose another \
                 audience with `SignedJwt::audience`",
            )?,
            Audience::TokenUri => &ask.token_uri.to_string(),
            Audience::Other(audience) => audience,
        };
        let mut claims = self.claims.clone();
        claims.insert("iss".into(), issuer.into());
        if let Some(subject) = subject {
            claims.insert("sub".into(), subject.into());
        }
        claims.insert("aud".into(), audience.into());
        let start = ask.now.checked_sub(self.skew).unwrap_or(ask.now);
        let end = ask
            .now
            .checked_add(self.lifetime)
            .ok_or("the lifetime is too long; give a shorter one")?;
        claims.insert("iat".into(), jwt::date(start));
        claims.insert("exp".into(), jwt::date(end));
        claims.insert("jti".into(), jwt::random_id()?.into());
        Ok(claims)
    }
}

impl<K: SignerSource> AssertionSource for SignedJwt<K> {
    async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        let claims = self.claims(ask)?;
        let signer = self.keys.signer().await?;
        jwt::sign(&signer, &self.typ, &claims).await
    }

    async fn changed(&self) -> bool {
        self.keys.changed().await
    }

    fn needs_issuer(&self) -> bool {
        self.audience == Audience::Issuer
    }

    fn identity(&self) -> Option<String> {
        let Self { issuer, subject, audience, claims, .. } = self;
        let claims = serde_json::to_string(claims).ok()?;
        Some(format!("{issuer:?} {subject:?} {audience:?} {claims}"))
    }
}

impl<K> fmt::Debug for SignedJwt<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedJwt")
            .field("audience", &self.audience)
            .field("typ", &self.typ)
            .field("lifetime", &self.lifetime)
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
