//! [`CredentialsSource`]: supplies the credentials of each request for a token.

use std::future::Future;

use super::client_credentials::Credentials;
use crate::error::BoxError;

/// Supplies the credentials each time a token is requested.
///
/// - A source is asked at each attempt at a token. While the endpoint refuses the credentials, and
///   while the source itself fails, it is also asked about once a second, as long as somebody needs
///   a token. So corrected credentials, or those of a source that was not there yet, are used
///   within two seconds.
/// - The time it takes counts towards the
///   [`attempt_timeout`](crate::RefreshPolicy::attempt_timeout). If it takes all of it, the error
///   is an [`AuthError::is_credentials`](crate::AuthError::is_credentials), and no request was
///   sent.
/// - It must not block the thread. [`FileCredentials`](super::FileCredentials) reads files on a
///   thread of its own.
/// - A panic in it is caught. The callers that waited get an
///   [`AuthError::is_interrupted`](crate::AuthError::is_interrupted).
///
/// # Examples
///
/// ```
/// use tower_reauth::{BoxError, Credentials, CredentialsSource};
///
/// struct Vault;
///
/// impl Vault {
///     async fn ask(&self) -> Result<String, std::io::Error> {
///         Ok("the current secret".into())
///     }
/// }
///
/// impl CredentialsSource for Vault {
///     async fn credentials(&self) -> Result<Credentials, BoxError> {
///         Ok(Credentials::new("my-client-id", self.ask().await?))
///     }
/// }
/// ```
pub trait CredentialsSource: Send + Sync + 'static {
    /// Returns the credentials as they are now.
    ///
    /// # Errors
    ///
    /// Any error becomes the cause of an
    /// [`AuthError::is_credentials`](crate::AuthError::is_credentials). Its text is shown to users
    /// and logged, so it must hold no secret.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the attempt's timeout or the refresh's deadline has passed, or
    /// when the last handle of the cache is gone. A caller's cancellation never reaches it.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send;
}

impl CredentialsSource for Credentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        Ok(self.clone())
    }
}
