//! [`SelfSigned`]: a JWT that is signed here and is the token itself.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::token_endpoint::{Rotation, TokenEndpoint};
use crate::{
    assertion::{
        SignerSource,
        jwt::{self, Claims},
    },
    clock,
    error::{AuthError, BoxError},
    token::IssuedToken,
};

/// An API whose token is a JWT that the client signs, without a token endpoint: APNs, App Store
/// Connect, Snowflake, a GitHub App.
///
/// - A token has `iat`, `exp`, and the claims that are [added](Self::claim).
/// - Nothing is sent, so a renewal costs a signature. The dates are by this machine's clock, since
///   there is no server to learn another from.
/// - No origin may see the token but those that are
///   [allowed by name](crate::AuthLayer::allow_origin).
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use tower_reauth::{AuthLayer, TokenCache, assertion::SigningKey, endpoint::SelfSigned};
///
/// # fn main() -> Result<(), tower_reauth::BoxError> {
/// let key = SigningKey::es256_pem(&std::fs::read_to_string("AuthKey_2X9R4HXF34.p8")?)?;
/// let token = SelfSigned::new(key.with_kid("2X9R4HXF34"))
///     .claim("iss", "57246542-96fe-1a63-e053-0824d011072a")
///     .claim("aud", "appstoreconnect-v1")
///     .lifetime(Duration::from_secs(20 * 60));
/// let auth = AuthLayer::new(TokenCache::new(token))
///     .allow_origin("https://api.appstoreconnect.apple.com")?;
/// # let _ = auth;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct SelfSigned<K> {
    keys: K,
    typ: String,
    claims: Claims,
    lifetime: Duration,
    skew: Duration,
    has_exp: bool,
}

impl<K: SignerSource> SelfSigned<K> {
    /// Creates an endpoint that signs with a [`SigningKey`](crate::assertion::SigningKey), a
    /// [`key_file`](crate::assertion::key_file) or a [`Signer`](crate::assertion::Signer) of your
    /// own.
    pub fn new(keys: K) -> Self {
        Self {
            keys,
            typ: "JWT".into(),
            claims: Claims::new(),
            lifetime: Duration::from_secs(600),
            skew: Duration::from_secs(5),
            has_exp: true,
        }
    }

    /// Adds a claim. It takes no place of `iat` and `exp`.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Sets the time from `iat` to `exp`. Defaults to ten minutes.
    ///
    /// It is the limit that a provider states. The [`skew`](Self::skew) is within it.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets how far `iat` is in the past, for a server whose clock is behind. GitHub advises 60
    /// seconds. Defaults to 5 seconds.
    pub fn skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    /// Leaves `exp` out, for an API that counts from `iat`, as APNs does.
    pub fn without_exp(mut self) -> Self {
        self.has_exp = false;
        self
    }

    /// Sets the `typ` of the header. Defaults to `JWT`.
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typ = typ.into();
        self
    }

    fn claims(&self) -> Result<Claims, BoxError> {
        let now = clock::wall();
        let issued = now.checked_sub(self.skew).unwrap_or(now);
        let mut claims = self.claims.clone();
        claims.remove("exp");
        claims.insert("iat".into(), jwt::date(issued));
        if self.has_exp {
            let end = issued
                .checked_add(self.lifetime)
                .ok_or("the lifetime is too long; give a shorter one")?;
            claims.insert("exp".into(), jwt::date(end));
        }
        Ok(claims)
    }
}

impl<K: SignerSource> TokenEndpoint for SelfSigned<K> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let claims = self.claims().map_err(AuthError::permanent)?;
        let signer = self.keys.signer().await.map_err(AuthError::credentials)?;
        let token = jwt::sign(&signer, &self.typ, &claims).await.map_err(AuthError::credentials)?;
        Ok(IssuedToken::new(token).expires_in(self.lifetime.saturating_sub(self.skew)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    async fn credentials_changed(&self) -> bool {
        self.keys.changed().await
    }
}

impl<K> fmt::Debug for SelfSigned<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned")
            .field("typ", &self.typ)
            .field("lifetime", &self.lifetime)
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use jsonwebtoken::dangerous::insecure_decode;
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;
    use crate::{
        assertion::{Algorithm, SigningKey, key_file},
        clock::tests::WALL,
        token::lifetime::observed,
    };

    const NOW: u64 = 1_800_000_000;

    async fn claims_and_lifetime<K: SignerSource>(endpoint: SelfSigned<K>) -> (Value, u64) {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        WALL.set(Some(now));
        let issued = endpoint.issue().await.unwrap();
        let secret = issued.secret.expose_secret();
        let lifetime = observed(&issued, secret, now).unwrap();
        (insecure_decode::<Value>(secret).unwrap().claims, lifetime.as_secs())
    }

    fn key() -> SigningKey {
        SigningKey::hs256("hunter2").unwrap()
    }

    #[tokio::test]
    async fn the_token_has_the_claims_that_were_added_and_its_dates() {
        let endpoint = SelfSigned::new(key()).claim("iss", "me").claim("aud", json!(["a"]));
        let (claims, lifetime) = claims_and_lifetime(endpoint).await;
        let expected = json!({"iss": "me", "aud": ["a"], "iat": NOW - 5, "exp": NOW + 595});
        assert_eq!(claims, expected);
        assert_eq!(lifetime, 595);
    }

    #[tokio::test]
    async fn the_limit_of_a_provider_holds_whatever_the_skew() {
        let endpoint = SelfSigned::new(key()).claim("iat", 1).claim("exp", 1);
        let endpoint = endpoint.skew(Duration::from_secs(60)).lifetime(Duration::from_secs(600));
        let (claims, lifetime) = claims_and_lifetime(endpoint).await;
        assert_eq!(claims, json!({"iat": NOW - 60, "exp": NOW + 540}));
        assert_eq!(lifetime, 540);
    }

    #[tokio::test]
    async fn a_token_without_an_end_is_renewed_after_its_lifetime() {
        let endpoint = SelfSigned::new(key()).without_exp().claim("exp", 1);
        let (claims, lifetime) =
            claims_and_lifetime(endpoint.lifetime(Duration::from_secs(3000))).await;
        assert_eq!((claims, lifetime), (json!({"iat": NOW - 5}), 2995));
    }

    #[tokio::test]
    async fn a_key_that_can_not_be_read_is_a_fault_of_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = SelfSigned::new(key_file(folder.path().join("key"), Algorithm::Es256));
        assert!(endpoint.issue().await.unwrap_err().is_credentials());
        assert!(!format!("{:?}", SelfSigned::new(key()).claim("x", "hunter2")).contains("hunter2"));
    }
}
