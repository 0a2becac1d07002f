//! The claims and the signature of the sandbox's tokens.

use std::{array, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::clock;

const SERVICES: &[&str] = &["accounts", "payments"];

/// The claims by which a token is checked.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) exp: u64,
    pub(super) jti: String,
}

#[derive(Serialize)]
struct SignedClaims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    services: &'static [&'static str],
}

/// A token that has been issued. It has no `Debug`, so that no log can show it.
pub(super) struct SignedToken {
    pub(super) token: String,
    /// The `jti` claim.
    pub(super) id: String,
    /// The value of `expiresAt`.
    pub(super) expires_at: String,
}

/// Signs tokens with a key of its own and verifies them.
pub(super) struct Signer {
    /// In seconds.
    lifetime: u64,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Signer {
    pub(super) fn new(lifetime: Duration) -> Self {
        // Enough for a double: the key differs from sandbox to sandbox and protects nothing.
        let key: [u8; 32] = array::from_fn(|_| fastrand::u8(..));
        // The guard checks expiry and owner, because it needs the reason and has another clock.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            lifetime: lifetime.as_secs().saturating_add(u64::from(lifetime.subsec_nanos() > 0)),
            encoding: EncodingKey::from_secret(&key),
            decoding: DecodingKey::from_secret(&key),
            validation,
        }
    }

    /// Returns a token that lives from `now` on.
    pub(super) fn sign(
        &self,
        client: &str,
        now: u64,
    ) -> Result<SignedToken, jsonwebtoken::errors::Error> {
        let exp = now.saturating_add(self.lifetime).min(clock::max_second());
        self.sign_claims(client, now, exp)
    }

    /// Returns a token with a good signature that expired a minute before `now`.
    pub(super) fn sign_expired(
        &self,
        client: &str,
        now: u64,
    ) -> Result<SignedToken, jsonwebtoken::errors::Error> {
        let exp = now.saturating_sub(60);
        self.sign_claims(client, exp.saturating_sub(self.lifetime), exp)
    }

    /// Returns the claims of a token with this sandbox's signature, or `None` for any other.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation)
            .ok()
            .map(|verified| verified.claims)
    }

    fn sign_claims(
        &self,
        sub: &str,
        iat: u64,
        exp: u64,
    ) -> Result<SignedToken, jsonwebtoken::errors::Error> {
        let id = random_id();
        let claims = SignedClaims { sub, iat, exp, jti: &id, services: SERVICES };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?;
        Ok(SignedToken { token, id, expires_at: clock::rfc3339(exp) })
    }
}

/// Returns 32 hexadecimal digits.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
