//! [`Identity`]: whose tokens an endpoint issues.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

/// The SHA-256 of a client and its secret. It does not leave the process.
pub(crate) type Fingerprint = [u8; 32];

/// The client that an endpoint's tokens are issued to, and whatever else makes them differ.
///
/// Processes with the same identity at the same endpoint share a token, whatever their secrets.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::Identity;
///
/// let identity = Identity::new("my-client-id").with("scope", "payments.read");
/// assert_eq!(identity, Identity::new("my-client-id").with("scope", "payments.read"));
/// assert_ne!(identity, Identity::new("my-client-id"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    client_id: Box<str>,
    others: Vec<(Box<str>, Box<str>)>,
    /// The SHA-256 of the client id and its secret.
    credentials: Option<Box<Fingerprint>>,
}

impl Identity {
    /// Creates the identity of a client.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into().into(), others: Vec::new(), credentials: None }
    }

    /// Adds a value that makes tokens differ, such as a scope or an audience. The order of several
    /// matters.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.others.push((key.into().into(), value.into().into()));
        self
    }

    /// Adds the secret with which the client asks for tokens. Only its SHA-256 is kept.
    ///
    /// Processes that share a token share its renewal too. If the endpoint refuses the secret of
    /// one, those with the same secret don't try it again during back-off, and those with another
    /// secret do. Without this, a refused secret holds back all of them. An example is a rollout of
    /// a new secret, one process after the other.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{Credentials, endpoint::Identity};
    ///
    /// # let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let identity =
    ///     Identity::new(credentials.client_id()).with_secret(credentials.expose_secret());
    /// assert!(!format!("{identity:?}").contains("my-client-secret"));
    /// ```
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [&*self.client_id, secret] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        self.credentials = Some(Box::new(hash.finalize().into()));
        self
    }

    /// Returns the client id.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the other values that make tokens differ, each with its key, in their order.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        self.others.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns the fingerprint of the credentials, if the endpoint tells of a secret.
    pub(crate) fn credentials(&self) -> Option<&Fingerprint> {
        self.credentials.as_deref()
    }

    /// Adds a value that may be a secret, by its digest.
    pub(crate) fn with_hidden(self, key: impl Into<String>, digest: impl AsRef<[u8]>) -> Self {
        self.with(key, in_hex(digest.as_ref()))
    }
}

/// Returns `bytes` in hexadecimal, in lower case.
pub(crate) fn in_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Shows the client id, and of the other values their names. A value may be the digest of a secret
/// that is easily guessed, and so may be the fingerprint of the credentials.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<_> = self.others.iter().map(|(key, _)| key).collect();
        f.debug_struct("Identity")
            .field("client_id", &self.client_id)
            .field("others", &others)
            .finish_non_exhaustive()
    }
}
