//! [`CredentialsSource`]: where credentials come from each time a token is requested.

use std::future::Future;

use super::client_credentials::Credentials;
use crate::error::BoxError;

/// Supplies the credentials each time a token is requested.
///
/// A panic in it is caught, and becomes an [`AuthError::is_interrupted`](crate::AuthError::is_interrupted) for the callers that waited.
pub trait CredentialsSource: Send + Sync + 'static {
    /// The credentials as they are now.
    ///
    /// # Errors
    ///
    /// Whatever went wrong; its text will be shown as the cause of an [`AuthError::is_credentials`](crate::AuthError::is_credentials) and must hold
    /// no secret.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send;
}

impl CredentialsSource for Credentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        Ok(self.clone())
    }
}
