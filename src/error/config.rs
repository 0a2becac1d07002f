//! [`ConfigError`]: the error of the builders.

use std::path::PathBuf;

/// A value that a builder can't work with.
///
/// The text names the value and says which one would do. There may be more variants later, and more
/// fields of each, so a pattern ends with `..` and a `match` has an arm for the rest.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # {
/// use tower_reauth::{AuthLayer, ConfigError, Credentials};
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let error = AuthLayer::send_payments("http://api.example.com", credentials).unwrap_err();
/// assert!(matches!(error, ConfigError::PlainHttp { .. }));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL can't be parsed, has no scheme or host, has a scheme that can't be used there, or
    /// carries a query, a fragment, or user information where none may be.
    #[error("{url:?} can't be used: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The scheme, host and port of the URL.
        ///
        /// If the URL can't be parsed, its first 100 characters before the query. If it may also
        /// hold user information, a placeholder.
        url: String,
        /// The fault, and what to give instead.
        reason: &'static str,
    },
    /// Plain http would show the secret or the token to everybody on the way.
    #[error(
        "{origin} is plain http and not this machine; use https, or allow it by name with `{allow}`"
    )]
    #[non_exhaustive]
    PlainHttp {
        /// The origin of the URL.
        origin: String,
        /// The builder method that allows it.
        allow: &'static str,
    },
    /// Plain Redis would show the password and the token to everybody on the way.
    #[error(
        "{address} is plain Redis and not this machine; use rediss, or allow it by name with \
         `{allow}`"
    )]
    #[non_exhaustive]
    PlainRedis {
        /// The scheme, host and port of the URL.
        address: String,
        /// The builder method that allows it.
        allow: &'static str,
    },
    /// The scheme of the header value is neither empty nor a token by RFC 9110, section 5.6.2.
    #[error(
        "{0:?} can't be an authentication scheme; use letters, digits and hyphens, such as \
         \"Bearer\""
    )]
    InvalidScheme(String),
    /// A duration of the refresh policy is zero, or one contradicts another.
    #[error("the refresh policy can't work: {0}")]
    InvalidPolicy(&'static str),
    /// A setting of an OAuth 2 endpoint that can't be used, or that another one contradicts.
    #[error("{setting} can't be used: {reason}")]
    #[non_exhaustive]
    InvalidSetting {
        /// The setting, such as `the grant type` or `the header "x-tenant"`. Never the value of a
        /// parameter or header.
        setting: String,
        /// The fault, and what to give instead.
        reason: &'static str,
    },
    /// A status, challenge, JSON pointer or code that can't tell a refusal.
    #[error("{given:?} can't tell a refusal: {reason}")]
    #[non_exhaustive]
    InvalidRefusal {
        /// The value. Empty if there is none.
        given: String,
        /// The fault, and what to give instead.
        reason: &'static str,
    },
    /// The environment variable with the keys that seal tokens in a store can't be used.
    #[error("the keys in the environment variable {variable} can't be used: {reason}")]
    #[non_exhaustive]
    InvalidKeys {
        /// The name of the variable.
        variable: String,
        /// The fault, and what to give instead. No part of a key.
        reason: &'static str,
    },
    /// The text is no private key that can sign.
    #[error("the signing key can't be used: {0}")]
    InvalidSigningKey(
        /// The fault, and what to give instead. No part of the key.
        &'static str,
    ),
    /// The directory of a file store can't be used, or the platform has no such store.
    #[error("the file store can't be used: {} {reason}", path.display())]
    #[non_exhaustive]
    FileStore {
        /// The path of the directory.
        path: PathBuf,
        /// The fault as the rest of a sentence about the path, and what to do about it.
        reason: String,
    },
    /// The TLS configuration of the built-in client can't be made, for example because the
    /// platform's trust roots can't be loaded.
    #[error(
        "the HTTPS client can't be built: {0}; check the platform's trust roots, or give others \
         with `client::builder`"
    )]
    Tls(String),
}
