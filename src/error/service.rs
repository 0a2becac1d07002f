//! [`Error`]: the error of the service.

use std::fmt;

use super::{auth::AuthError, boxed::BoxError};

/// The error of [`Auth`](crate::Auth), for a request that got no response.
///
/// `Display` names the [request](Self::request), and the cause is the
/// [`source`](std::error::Error::source). So print the chain, for example with `{:#}` of an
/// `anyhow::Error`.
///
/// The enum has two variants for good, so a `match` needs no third arm. Their fields may become
/// more, so a pattern ends with `..`.
///
/// # Examples
///
/// ```
/// use tower_reauth::Error;
///
/// fn explain(error: &Error) -> String {
///     match error {
///         Error::Auth { error, .. } if error.is_rejected() => "check id and secret".into(),
///         Error::Auth { error, .. } if error.is_transient() => "try again later".into(),
///         Error::Auth { error, .. } => format!("no token: {error}"),
///         Error::Inner { error, .. } => format!("the HTTP client failed: {error}"),
///     }
/// }
/// # let _ = explain;
/// ```
#[derive(Debug)]
pub enum Error {
    /// There is no token for the request, or the request must not carry one.
    ///
    /// The request has not been applied. Either it was not sent, or the resource answered 401.
    #[non_exhaustive]
    Auth {
        /// The reason.
        error: AuthError,
        /// The text that [`Error::request`] returns.
        request: Option<Box<str>>,
    },
    /// The HTTP client, or another layer inside of the [`AuthLayer`](crate::AuthLayer), failed.
    #[non_exhaustive]
    Inner {
        /// The error. Its `downcast_ref` leads to the type that the client gave it.
        error: BoxError,
        /// The text that [`Error::request`] returns.
        request: Option<Box<str>>,
    },
}

impl Error {
    /// Creates the error of an HTTP client, of no request in particular. It is for tests of code
    /// that handles errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{AuthError, Error};
    ///
    /// let failed = Error::inner(std::io::Error::other("connection reset"));
    /// assert!(failed.as_auth().is_none());
    ///
    /// let unsigned = Error::from(AuthError::rejected("unknown client"));
    /// assert!(unsigned.as_auth().is_some_and(AuthError::is_rejected));
    /// ```
    pub fn inner(error: impl Into<BoxError>) -> Self {
        Self::Inner { error: error.into(), request: None }
    }

    pub(crate) fn inner_of(error: impl Into<BoxError>, request: Option<Box<str>>) -> Self {
        Self::Inner { error: error.into(), request }
    }

    pub(crate) fn auth_of(error: AuthError, request: Option<Box<str>>) -> Self {
        Self::Auth { error, request }
    }

    /// Returns the authentication error, or `None` if the HTTP client failed.
    pub fn as_auth(&self) -> Option<&AuthError> {
        match self {
            Self::Auth { error, .. } => Some(error),
            Self::Inner { .. } => None,
        }
    }

    /// Returns the request, as `POST https://api.example.com/accounts`.
    ///
    /// User information and query are left out, because either may hold a secret. Of a request that
    /// is not signed, the path is left out too: `POST https://hooks.example/...`. The text is cut
    /// after 200 characters.
    ///
    /// `None` if the client failed before it had a request, or in a request that was sent
    /// [without replay](crate::AuthLayer::without_replay), of which nothing is kept.
    pub fn request(&self) -> Option<&str> {
        match self {
            Self::Auth { request, .. } | Self::Inner { request, .. } => request.as_deref(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.request().unwrap_or("the request"))?;
        f.write_str(match self {
            Self::Auth { .. } => " could not be signed",
            Self::Inner { .. } => " got no response from the HTTP client",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Auth { error, .. } => error,
            Self::Inner { error, .. } => &**error,
        })
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        Self::Auth { error, request: None }
    }
}
