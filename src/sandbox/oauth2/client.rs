//! [`OAuth2Client`]: a client that the server knows.

use std::{collections::BTreeSet, fmt};

use jsonwebtoken::jwk::{Jwk, JwkSet};

use crate::error::BoxError;

/// The way in which a client authenticates itself, by its registered name.
///
/// The names are those of the registry "OAuth Token Endpoint Authentication Methods" (RFC 8414,
/// section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// `client_secret_basic`: id and secret form-encoded in the header `Authorization` (RFC 6749,
    /// section 2.3.1).
    Basic,
    /// `client_secret_post`: id and secret in the form.
    Post,
    /// `client_secret_jwt`: an assertion signed with the secret (RFC 7523, section 2.2).
    SecretJwt,
    /// `private_key_jwt`: an assertion signed with a private key (RFC 7523, section 2.2).
    PrivateKeyJwt,
    /// `tls_client_auth`: the client id alone. The certificate is that of the connection (RFC 8705,
    /// section 2), at which the sandbox does not look.
    Tls,
    /// `none`: a public client, which sends its id.
    None,
}

impl AuthMethod {
    /// Returns the registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::SecretJwt => "client_secret_jwt",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Tls => "tls_client_auth",
            Self::None => "none",
        }
    }
}

/// A client that an [`OAuth2Server`](super::OAuth2Server) knows.
///
/// # Examples
///
/// ```
/// use tower_reauth::sandbox::{AuthMethod, OAuth2Client};
///
/// let client = OAuth2Client::with_secret("my-client", "its-secret")
///     .method(AuthMethod::Post)
///     .grants(["client_credentials"])
///     .scopes(["read", "write"]);
/// # let _ = client;
/// ```
#[derive(Clone)]
#[must_use]
pub struct OAuth2Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) keys: Vec<Jwk>,
    pub(super) methods: Vec<AuthMethod>,
    /// The grants that it may use. `None` means all that the server knows.
    pub(super) grants: Option<BTreeSet<String>>,
    /// The scopes that it may ask for. `None` means any.
    pub(super) scopes: Option<BTreeSet<String>>,
}

impl OAuth2Client {
    /// Creates a client with a secret, which it sends by [`AuthMethod::Basic`] or
    /// [`AuthMethod::Post`].
    pub fn with_secret(id: impl Into<String>, secret: impl Into<String>) -> Self {
        let secret = Some(secret.into());
        Self { secret, ..Self::new(id.into(), [AuthMethod::Basic, AuthMethod::Post]) }
    }

    /// Creates a client that signs assertions, with its public keys as a JWK or a JWK set
    /// (RFC 7517). Parameters of a private key are ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if `keys` is neither.
    pub fn with_keys(id: impl Into<String>, keys: &str) -> Result<Self, BoxError> {
        let keys = read_keys(keys)?;
        Ok(Self { keys, ..Self::new(id.into(), [AuthMethod::PrivateKeyJwt]) })
    }

    /// Creates a client whose certificate is taken for right. It sends its id and nothing else.
    pub fn with_certificate(id: impl Into<String>) -> Self {
        Self::new(id.into(), [AuthMethod::Tls])
    }

    /// Creates a public client, which has no credentials (RFC 6749, section 2.1). The grant
    /// `client_credentials` is closed to it (section 4.4).
    pub fn public(id: impl Into<String>) -> Self {
        Self::new(id.into(), [AuthMethod::None])
    }

    fn new(id: String, methods: impl Into<Vec<AuthMethod>>) -> Self {
        let methods = methods.into();
        Self { id, secret: None, keys: Vec::new(), methods, grants: None, scopes: None }
    }

    /// Refuses every other method. Defaults to those that the constructor states.
    pub fn method(mut self, method: AuthMethod) -> Self {
        self.methods = vec![method];
        self
    }

    /// Sets the grants that the client may use. Any other is an `unauthorized_client`. Defaults to
    /// all that the server knows.
    pub fn grants<G: Into<String>>(mut self, grants: impl IntoIterator<Item = G>) -> Self {
        self.grants = Some(grants.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the scopes that the client may ask for. Any other is an `invalid_scope`. A client that
    /// asks for none gets all of them. Defaults to any scope.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }
}

impl fmt::Debug for OAuth2Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2Client")
            .field("id", &self.id)
            .field("methods", &self.methods)
            .field("grants", &self.grants)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Reads a JWK or a JWK set.
pub(super) fn read_keys(json: &str) -> Result<Vec<Jwk>, BoxError> {
    let keys = serde_json::from_str::<JwkSet>(json)
        .map(|set| set.keys)
        .or_else(|_| serde_json::from_str::<Jwk>(json).map(|key| vec![key]));
    // The parser's message may quote what it read, which may be a private key.
    keys.map_err(|_| "the keys are neither a JWK nor a JWK set (RFC 7517); check the JSON".into())
}
