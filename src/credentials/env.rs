//! [`EnvCredentials`]: environment variables.

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// Credentials from two environment variables.
///
/// The variables are read each time a token is requested. White space around the values is dropped.
/// A variable that is missing or empty, or is not UTF-8, is an error that names it.
///
/// # Examples
///
/// ```
/// use tower_reauth::credentials::EnvCredentials;
///
/// let source = EnvCredentials::new("SEND_CLIENT_ID", "SEND_CLIENT_SECRET");
/// # let _ = source;
/// ```
#[derive(Clone, Debug)]
pub struct EnvCredentials {
    client_id: String,
    client_secret: String,
}

impl EnvCredentials {
    /// Creates a source from the names of the variables that hold the client id and the secret.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), client_secret: client_secret.into() }
    }
}

impl CredentialsSource for EnvCredentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        let client_id = variable(&self.client_id)?;
        let client_secret = variable(&self.client_secret)?;
        Ok(Credentials::new(client_id.trim(), SecretString::from(client_secret.trim())))
    }
}

fn variable(name: &str) -> Result<Zeroizing<String>, BoxError> {
    // `env::var(..)?` would leak: its error for a value that is not UTF-8 holds the value.
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => {
            Err(format!("the environment variable {name} is empty; set it").into())
        }
        Ok(value) => Ok(Zeroizing::new(value)),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment variable {name} is not set; set it").into())
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name} is not UTF-8; set it again").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_variable_is_named() {
        let source = EnvCredentials::new("TOWER_REAUTH_NO_SUCH_VARIABLE", "PATH");
        let error = source.credentials().await.unwrap_err();
        assert!(error.to_string().contains("TOWER_REAUTH_NO_SUCH_VARIABLE"));
    }

    #[tokio::test]
    async fn variables_are_read_when_asked() {
        // Cargo sets these two for every test.
        let source = EnvCredentials::new("CARGO_PKG_NAME", "CARGO_PKG_LICENSE");
        let credentials = source.credentials().await.unwrap();
        assert_eq!(
            (credentials.client_id(), credentials.expose_secret()),
            ("tower-reauth", "MIT OR Apache-2.0")
        );
    }
}
