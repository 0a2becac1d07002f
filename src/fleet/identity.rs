//! [`Identity`]: whose tokens an endpoint issues.

use std::fmt::{self, Write};

use http::Uri;
use sha2::{Digest, Sha256};

use crate::store::{Name, seal::Fingerprint};

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

    /// Returns the fingerprint of the credentials, if the endpoint tells of a secret.
    pub(super) fn credentials(&self) -> Option<&Fingerprint> {
        self.credentials.as_deref()
    }

    /// Adds a value that may be a secret, by its digest.
    pub(crate) fn with_hidden(self, key: impl Into<String>, digest: impl AsRef<[u8]>) -> Self {
        self.with(key, in_hex(digest.as_ref()))
    }

    /// Returns the key under which processes with this identity share a token. It tells nothing of
    /// the client id.
    pub(super) fn name(&self, uri: Option<&Uri>, namespace: &str) -> Option<Name> {
        let mut hash = Sha256::new_with_prefix("tower-reauth/1");
        let uri = uri.map(ToString::to_string).unwrap_or_default();
        let others = self.others.iter().flat_map(|(key, value)| [&**key, &**value]);
        for part in [&uri, &*self.client_id, namespace].into_iter().chain(others) {
            // With its length, because a part may have any character in it.
            hash.update([0]);
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Name::new(&in_hex(&hash.finalize()[..16]))
    }
}

fn in_hex(bytes: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(identity: &Identity, uri: &'static str, namespace: &str) -> String {
        let uri = Uri::from_static(uri);
        identity.name(Some(&uri), namespace).expect("hex is allowed").to_string()
    }

    #[test]
    fn whatever_makes_tokens_differ_makes_another_name() {
        let (id, uri) = (Identity::new("a"), "https://api.example.com/auth");
        let names = [
            name(&id, uri, ""),
            name(&id, uri, "test"),
            name(&id, "https://example.com/auth", ""),
            name(&Identity::new("b"), uri, ""),
            name(&id.clone().with("scope", "x"), uri, ""),
            name(&id.clone().with("scope", "y"), uri, ""),
            name(&id.clone().with("audience", "x"), uri, ""),
            name(&Identity::new("a\0b"), uri, ""),
            name(&Identity::new("a"), uri, "b"),
        ];
        for (index, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 32);
            assert!(!names[..index].contains(name), "{index}");
        }
        assert_eq!(names[0], name(&Identity::new("a"), uri, ""));
        assert_eq!(names[0], name(&id.with_secret("s"), uri, ""), "a secret can be replaced");
    }
}
