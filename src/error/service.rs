//! [`Error`]: the error of the service.

use super::{auth::AuthError, boxed::BoxError};

/// The error of [`Auth`](crate::Auth), for a request that got no response.
///
/// # Examples
///
/// ```
/// use tower_reauth::Error;
///
/// fn explain(error: &Error) -> String {
///     match error {
///         Error::Auth(auth) if auth.is_rejected() => "check the client id and secret".into(),
///         Error::Auth(auth) if auth.is_transient() => "no token for now, try again later".into(),
///         Error::Auth(auth) => format!("no token: {auth}"),
///         Error::Inner(inner) => format!("the HTTP client failed: {inner}"),
///     }
/// }
/// # let _ = explain;
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no token for the request, or the request must not carry one.
    ///
    /// The request has not been applied. Either it was not sent, or the resource answered 401.
    #[error("the request could not be authenticated")]
    Auth(#[source] AuthError),
    /// The inner service failed. `downcast_ref` on the box leads to its own error type.
    #[error("the inner service failed")]
    Inner(#[source] BoxError),
}

impl Error {
    /// Returns the authentication error, or `None` if the inner service failed.
    pub fn as_auth(&self) -> Option<&AuthError> {
        match self {
            Self::Auth(error) => Some(error),
            Self::Inner(_) => None,
        }
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}
