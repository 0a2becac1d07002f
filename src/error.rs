//! The errors of this crate: [`Error`] from the service, [`AuthError`] from everything that obtains a token, and
//! [`ConfigError`] from the builders.
//!
//! Each level's `Display` is one sentence that says what happened and what to do; the cause, where there is one,
//! is in [`source()`](std::error::Error::source). No secret, no token and no raw response body of the token
//! endpoint is ever part of any of them.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::{StatusCode, Uri};

/// A boxed error, as Tower's own middleware uses it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What [`Auth`](crate::Auth) answers when a request did not get a response.
///
/// # Examples
///
/// ```
/// use tower_reauth::Error;
///
/// fn explain(error: &Error) -> String {
///     match error {
///         Error::Auth(auth) if auth.is_rejected() => "check the client id and secret".into(),
///         Error::Auth(auth) if auth.is_transient() => "the token endpoint is having a bad time".into(),
///         Error::Auth(auth) => format!("no token: {auth}"),
///         Error::Inner(inner) => format!("the HTTP client failed: {inner}"),
///     }
/// }
/// # let _ = explain;
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no token for the request, or it must not carry one. It has not been applied: it was not sent, or was
    /// answered 401.
    #[error("the request could not be authenticated")]
    Auth(#[source] AuthError),
    /// The service below failed. `downcast_ref` leads to its own error type.
    #[error("the inner service failed")]
    Inner(#[source] BoxError),
}

impl Error {
    /// The authentication error, if that is what it is.
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

/// Why there is no token for a request.
///
/// Cheap to clone: every caller that waited for the same refresh gets the same error. Ask it with the `is_*`
/// methods rather than by matching text. A [`TokenEndpoint`](crate::endpoint::TokenEndpoint) of your own makes
/// one with [`transient`](Self::transient), [`rejected`](Self::rejected) or [`permanent`](Self::permanent).
#[derive(Clone)]
pub struct AuthError(Arc<Inner>);

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    fate: Fate,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

/// What became of the request for a token, as far as can be told. For an exclusive endpoint it decides what the token
/// in use is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// No token was issued: it was not sent, or was refused.
    NotIssued,
    /// It may have been carried out: no answer, or one that does not tell.
    Unknown,
    /// A token was issued, and is lost.
    Issued,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Trying again later may help: connection, reset, 408, 409, 429, 5xx, a cut answer.
    Transient,
    /// An attempt or the whole refresh ran out of time.
    Timeout,
    /// The endpoint refused the credentials: 400, 401, 403.
    Rejected,
    /// The endpoint answered with something that is not a token.
    InvalidResponse,
    /// The token had expired before it arrived.
    Expired,
    /// The credentials source failed, or what it gave can't be sent.
    Credentials,
    /// The refresh died: a panic, or its runtime shut down.
    Interrupted,
    /// There is no Tokio runtime to refresh on.
    NoRuntime,
    /// The token was refused so soon after the one before it that no new one is asked for yet.
    CoolingDown,
    /// The guard does not let this request carry the token.
    RefusedOrigin,
    /// Anything else that trying again does not help.
    Permanent,
}

impl AuthError {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            fate: default_fate(kind),
            status: None,
            retry_after: None,
            source: None,
        }))
    }

    /// The same, where more is known of the request's fate than its kind says. For an error just made.
    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.fate = fate;
        }
        self
    }

    pub(crate) fn fate(&self) -> Fate {
        self.0.fate
    }

    pub(crate) fn caused_by(
        kind: Kind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            fate: default_fate(kind),
            status: None,
            retry_after: None,
            source: Some(source.into()),
        }))
    }

    pub(crate) fn answered(
        kind: Kind,
        message: impl Into<Cow<'static, str>>,
        status: StatusCode,
        retry_after: Option<Duration>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            fate: if status.is_success() { Fate::Issued } else { default_fate(kind) },
            status: Some(status),
            retry_after,
            source: None,
        }))
    }

    /// A failure that trying again may mend. The refresh retries it with back-off until its deadline.
    ///
    /// The text of `source` will be shown: it must hold no secret.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Transient,
            "the token endpoint failed in passing; try again later",
            source,
        )
    }

    /// The endpoint refused the credentials. Not retried within the refresh.
    ///
    /// The text of `source` will be shown: it must hold no secret.
    pub fn rejected(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Rejected,
            "the token endpoint refused the credentials; check the client id and the secret",
            source,
        )
    }

    /// The endpoint answered with something that holds no usable token. Not retried within the refresh.
    ///
    /// The text of `source` will be shown: it must hold no secret.
    pub fn invalid_response(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::InvalidResponse,
            "the token endpoint's answer holds no usable token",
            source,
        )
    }

    /// The credentials source failed, so no token was asked for. Not retried within the refresh.
    ///
    /// The text of `source` will be shown: it must hold no secret.
    pub fn credentials(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Credentials,
            "the credentials source failed, so no token was asked for; check where it reads from",
            source,
        )
    }

    /// A failure that trying again does not mend. Not retried within the refresh.
    ///
    /// The text of `source` will be shown: it must hold no secret.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::caused_by(Kind::Permanent, "the token endpoint can't be used as configured", source)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Transient | Kind::Timeout | Kind::Interrupted | Kind::CoolingDown
        )
    }

    /// Whether an attempt, or the whole refresh, ran out of time.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// Whether the token endpoint refused the credentials (400, 401, 403).
    pub fn is_rejected(&self) -> bool {
        self.0.kind == Kind::Rejected
    }

    /// Whether the endpoint answered with something that holds no usable token: not JSON, too large, a redirect,
    /// an empty or unsendable `accessToken`, or a token that had already expired.
    pub fn is_invalid_response(&self) -> bool {
        matches!(self.0.kind, Kind::InvalidResponse | Kind::Expired)
    }

    /// Whether the credentials source failed, or gave credentials that can't be sent.
    pub fn is_credentials(&self) -> bool {
        self.0.kind == Kind::Credentials
    }

    /// Whether the refresh died under its waiters: a panic in the endpoint or the credentials source, or the
    /// Tokio runtime that ran it shut down. The next call starts afresh.
    pub fn is_interrupted(&self) -> bool {
        self.0.kind == Kind::Interrupted
    }

    /// Whether no new token is asked for yet, because tokens were refused soon after they were issued: somebody else
    /// seems to use the same credentials, or the resource refuses every token.
    pub fn is_cooling_down(&self) -> bool {
        self.0.kind == Kind::CoolingDown
    }

    /// Whether there was no Tokio runtime to run the refresh on.
    pub fn is_no_runtime(&self) -> bool {
        self.0.kind == Kind::NoRuntime
    }

    /// Whether the request was refused because its origin may not see the token.
    pub fn is_refused_origin(&self) -> bool {
        self.0.kind == Kind::RefusedOrigin
    }

    /// The status that the token endpoint answered with, if it answered.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// How long the token endpoint asked to be left alone (`Retry-After`), if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// Without further knowledge.
fn default_fate(kind: Kind) -> Fate {
    match kind {
        Kind::Transient | Kind::Timeout | Kind::Interrupted => Fate::Unknown,
        Kind::InvalidResponse | Kind::Expired => Fate::Issued,
        Kind::Rejected
        | Kind::Credentials
        | Kind::NoRuntime
        | Kind::CoolingDown
        | Kind::RefusedOrigin
        | Kind::Permanent => Fate::NotIssued,
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AuthError");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(status) = self.0.status {
            debug.field("status", &status.as_u16());
        }
        if let Some(retry_after) = self.0.retry_after {
            debug.field("retry_after", &retry_after);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl std::error::Error for AuthError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// A value that a builder can't work with. Its text says which one and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL can't be parsed, or has no scheme or host, or carries user information, a query or a fragment.
    #[error("{url:?} can't be used: {reason}")]
    InvalidUrl {
        /// The URL as given, without its user information.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Plain http would show the secret or the token to everybody on the way.
    #[error(
        "{origin} is plain http and not this machine; use https, or allow it by name with `{allow}`"
    )]
    PlainHttp {
        /// The origin concerned.
        origin: String,
        /// The builder method that allows it.
        allow: &'static str,
    },
    /// The scheme of the header value must be a token as in RFC 9110, section 5.6.2, or empty.
    #[error(
        "{0:?} can't be an authentication scheme; use letters, digits and hyphens, such as \"Bearer\""
    )]
    InvalidScheme(String),
    /// A duration of the refresh policy is zero, or one contradicts another.
    #[error("the refresh policy can't work: {0}")]
    InvalidPolicy(&'static str),
    /// The platform's trust roots can't be loaded.
    #[error("the HTTPS client can't be built: {0}")]
    Tls(String),
}

/// A URI for other people's eyes: scheme, host and port. User information, path and query may hold a secret.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{host}{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_answers_its_predicates() {
        let table = [
            (Kind::Transient, [true, false, false, false]),
            (Kind::Timeout, [true, false, false, false]),
            (Kind::Interrupted, [true, false, false, false]),
            (Kind::Rejected, [false, true, false, false]),
            (Kind::InvalidResponse, [false, false, true, false]),
            (Kind::Expired, [false, false, true, false]),
            (Kind::Credentials, [false, false, false, true]),
            (Kind::CoolingDown, [true, false, false, false]),
            (Kind::NoRuntime, [false, false, false, false]),
            (Kind::RefusedOrigin, [false, false, false, false]),
            (Kind::Permanent, [false, false, false, false]),
        ];
        for (kind, expected) in table {
            let error = AuthError::new(kind, "x");
            let answers = [
                error.is_transient(),
                error.is_rejected(),
                error.is_invalid_response(),
                error.is_credentials(),
            ];
            assert_eq!(answers, expected, "{kind:?}");
        }
    }

    #[test]
    fn a_shown_uri_keeps_no_user_information_no_path_and_no_query() {
        let uri =
            Uri::from_static("https://user:hunter2@api.example.com:8443/v1/hunter3?key=hunter4");
        assert_eq!(shown(&uri), "https://api.example.com:8443");
    }
}
