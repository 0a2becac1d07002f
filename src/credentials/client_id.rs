//! [`ClientId`]: a client without a secret.

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// The client id of a client that has no secret, because it proves who it is with an
/// [assertion](crate::assertion) or with a certificate.
///
/// It is a [`CredentialsSource`] of credentials whose secret is empty.
///
/// # Examples
///
/// ```
/// use tower_reauth::{CredentialsSource, credentials::ClientId};
///
/// fn accepts(_: impl CredentialsSource) {}
/// accepts(ClientId::new("my-client-id"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(String);

impl ClientId {
    /// Creates the source of this client id, as the provider gave it.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self(client_id.into())
    }
}

impl CredentialsSource for ClientId {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        Ok(Credentials::new(self.0.clone(), String::new()))
    }
}
