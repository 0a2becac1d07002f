//! [`TokenFile`]: a token that somebody else writes to a file.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::token_endpoint::{Rotation, TokenEndpoint};
use crate::{
    clock,
    error::AuthError,
    reader::SecretFile,
    token::{IssuedToken, unverified_claims},
};

/// A token that somebody else writes to a file: Kubernetes, the agent of a vault, a sidecar.
///
/// - The file is read when a token is due, and again after a 401. It is read on a thread of the
///   endpoint's own, as [`FileCredentials`](crate::credentials::FileCredentials) does, with the
///   same limits.
/// - A JWT lives until its `exp`, by this machine's clock. Its `iat` says nothing of what is left,
///   because the token may have been written long ago. Any other token has the
///   [`assumed_lifetime`](Self::assumed_lifetime).
/// - Kubernetes replaces a projected token at 80 % of its lifetime. A read before that gives the
///   same token again, and its remaining lifetime counts.
/// - No origin may see the token but those that are
///   [allowed by name](crate::AuthLayer::allow_origin).
///
/// # Examples
///
/// ```
/// use tower_reauth::{AuthLayer, TokenCache, endpoint::TokenFile};
///
/// # fn main() -> Result<(), tower_reauth::ConfigError> {
/// let token = TokenFile::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
/// let auth = AuthLayer::new(TokenCache::new(token))
///     .allow_origin("https://kubernetes.default.svc")?;
/// # let _ = auth;
/// # Ok(())
/// # }
/// ```
pub struct TokenFile {
    file: SecretFile,
    assumed_lifetime: Duration,
}

impl TokenFile {
    /// Creates an endpoint from the path of the file. Reads nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let file = SecretFile::new(path.into(), "the token");
        Self { file, assumed_lifetime: Duration::from_secs(60) }
    }

    /// Sets the lifetime of a token that is no JWT with an `exp`. Defaults to 60 seconds.
    #[must_use]
    pub fn assumed_lifetime(mut self, lifetime: Duration) -> Self {
        self.assumed_lifetime = lifetime;
        self
    }
}

impl TokenEndpoint for TokenFile {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let token = self.file.read().await.map_err(AuthError::credentials)?;
        let lifetime = remaining(&token).unwrap_or(self.assumed_lifetime);
        Ok(IssuedToken::new(token).expires_in(lifetime))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    async fn credentials_changed(&self) -> bool {
        self.file.has_changed().await
    }
}

/// Returns what is left of a JWT by the local clock. Zero if it has expired by that clock.
fn remaining(token: &SecretString) -> Option<Duration> {
    let claims: Map<String, Value> = unverified_claims(token.expose_secret())?;
    let end = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()?;
    let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(end.saturating_sub(now))
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.file.path())
            .field("assumed_lifetime", &self.assumed_lifetime)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{clock::tests::WALL, token::lifetime::observed};

    const NOW: u64 = 1_800_000_000;

    /// Makes a JWT with these claims and a false signature.
    fn jwt(iat: u64, exp: u64) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        let claims = encode(&format!(r#"{{"iat": {iat}, "exp": {exp}}}"#));
        format!("{}.{claims}.c2ln", encode(r#"{"alg":"RS256"}"#))
    }

    async fn lifetime(endpoint: &TokenFile) -> u64 {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        WALL.set(Some(now));
        let issued = endpoint.issue().await.unwrap();
        let secret = issued.secret.expose_secret().to_owned();
        observed(&issued, &secret, now).unwrap().as_secs()
    }

    #[tokio::test]
    async fn ten_minutes_that_are_left_do_not_become_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let endpoint = TokenFile::new(&path);
        for (iat, exp, expected) in [
            // Minted 50 minutes ago, and just now.
            (NOW - 3000, NOW + 600, 600),
            (NOW, NOW + 3600, 3599),
            // Dead by the local clock alone, which may be wrong.
            (NOW - 3600, NOW, 60),
        ] {
            fs::write(&path, jwt(iat, exp)).unwrap();
            assert_eq!(lifetime(&endpoint).await, expected);
        }
    }

    #[tokio::test]
    async fn a_token_that_is_no_jwt_has_the_assumed_lifetime() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " hvs.opaque\n").unwrap();
        let endpoint = TokenFile::new(&path);
        assert_eq!(endpoint.issue().await.unwrap().secret.expose_secret(), "hvs.opaque");
        assert_eq!(lifetime(&endpoint).await, 60);
        let endpoint = endpoint.assumed_lifetime(Duration::from_secs(300));
        assert_eq!(lifetime(&endpoint).await, 300);
        assert!(!format!("{endpoint:?}").contains("hvs"));
    }

    #[tokio::test]
    async fn a_file_that_is_missing_is_a_fault_of_the_source_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let endpoint = TokenFile::new(&path);
        let error = endpoint.issue().await.unwrap_err();
        assert!(error.is_credentials());
        assert!(!endpoint.credentials_changed().await);
        fs::write(&path, "token").unwrap();
        assert!(endpoint.credentials_changed().await);
        endpoint.issue().await.unwrap();
        assert!(!endpoint.credentials_changed().await);
    }
}
