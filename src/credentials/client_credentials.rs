//! [`Credentials`]: a client id and its secret.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::error::{AuthError, Kind};

/// A client id and its secret.
///
/// The secret is wiped from memory on drop. `Debug` shows the client id only. As a
/// [`CredentialsSource`](super::CredentialsSource) it supplies itself, for fixed credentials.
///
/// # Examples
///
/// ```
/// use tower_reauth::Credentials;
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// assert_eq!(credentials.client_id(), "my-client-id");
/// assert!(!format!("{credentials:?}").contains("my-client-secret"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    client_id: String,
    client_secret: SecretString,
}

impl Credentials {
    /// Creates credentials from a client id and its secret as the provider gave them.
    ///
    /// They are checked when a token is requested. The request fails with an
    /// [`AuthError::is_credentials`] before anything is sent if the id or the secret is empty, or
    /// if the id has control characters. No published pattern is enforced, because a provider's own
    /// examples may break it.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        Self { client_id: client_id.into(), client_secret: client_secret.into() }
    }

    /// Returns the client id, which is no secret.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the secret itself. Do not log it, and copy it only into memory that is wiped.
    pub fn expose_secret(&self) -> &str {
        self.client_secret.expose_secret()
    }

    /// Refuses credentials that no endpoint can accept, so that they are not sent.
    pub(crate) fn check(&self) -> Result<(), AuthError> {
        self.check_client_id()?;
        if self.expose_secret().is_empty() {
            return Err(AuthError::new(
                Kind::Credentials,
                "the client secret is empty; check where the credentials come from",
            ));
        }
        Ok(())
    }

    /// Refuses a client id that no endpoint can accept. For a client that has no secret.
    pub(crate) fn check_client_id(&self) -> Result<(), AuthError> {
        let problem = if self.client_id.is_empty() {
            "the client id is empty; check where the credentials come from"
        } else if self.client_id.chars().any(char::is_control) {
            "the client id has control characters; check where the credentials come from"
        } else {
            return Ok(());
        };
        Err(AuthError::new(Kind::Credentials, problem))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_id_and_no_secret() {
        let shown = format!("{:?}", Credentials::new("id-1", "hunter2"));
        assert!(shown.contains("id-1") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn only_what_cannot_be_right_is_refused() {
        for (id, secret, fits) in [
            ("5e505642-9024-474d-9434-e5a44f505cc", "s", true),
            ("any thing", "s\u{e9}", true),
            ("", "s", false),
            ("a\nb", "s", false),
            ("a", "", false),
        ] {
            let check = Credentials::new(id, secret).check();
            assert_eq!(check.is_ok(), fits, "{id:?}");
            assert!(check.is_ok() || check.unwrap_err().is_credentials());
        }
    }
}
