//! [`AuthError`]: why there is no token.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use super::{
    boxed::BoxError,
    kind::{Fate, Kind, default_fate},
};
use crate::isolate::isolate;

/// The reason why there is no token for a request.
///
/// Callers that waited for the same refresh share the error, so a clone is cheap. Ask the
/// error with its `is_*` methods, because its text may change.
///
/// # Errors of your own endpoint
///
/// A [`TokenEndpoint`](crate::endpoint::TokenEndpoint) makes an error with one of the constructors.
/// The constructor decides two things. One is if the refresh makes another attempt. The other is
/// what an [exclusive](crate::endpoint::Rotation::Exclusive) endpoint has done to the token in use,
/// which a new token kills.
///
/// | constructor | another attempt | token in use of an exclusive endpoint |
/// |---|---|---|
/// | [`transient`](Self::transient) | yes, with back-off | suspect, because a token may be lost |
/// | [`transient_after`](Self::transient_after) | yes, after a pause | suspect, as above |
/// | [`answered`](Self::answered) | by status and code | by status and code |
/// | [`rejected`](Self::rejected) | no | unchanged |
/// | [`invalid_response`](Self::invalid_response) | no | suspect, because a token may be lost |
/// | [`credentials`](Self::credentials) | no | unchanged |
/// | [`permanent`](Self::permanent) | no | unchanged |
///
/// A suspect token is still sent, and its first 401 starts a refresh at once.
///
/// # Examples
///
/// ```
/// use tower_reauth::AuthError;
///
/// let error = AuthError::transient(std::io::Error::other("connection reset"));
/// assert!(error.is_transient() && !error.is_rejected());
///
/// let source = std::error::Error::source(&error).map(ToString::to_string);
/// assert_eq!(source.as_deref(), Some("connection reset"));
/// ```
#[derive(Clone)]
pub struct AuthError(Arc<Inner>);

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    fate: Fate,
    status: Option<StatusCode>,
    code: Option<Box<str>>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The source is of a user's type, whose destructor may panic where the last clone goes.
        let source = self.source.take();
        isolate(|| drop(source));
    }
}

impl AuthError {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            fate: default_fate(kind),
            status: None,
            code: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Replaces the fate that follows from the kind, where the caller knows more.
    ///
    /// For an error that has just been made. One that has been cloned keeps its fate.
    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.fate = fate;
        }
        self
    }

    pub(crate) fn fate(&self) -> Fate {
        self.0.fate
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
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
            code: None,
            retry_after: None,
            source: Some(source.into()),
        }))
    }

    /// Creates the error of a response with `status`.
    ///
    /// A success without a token does not tell if one was issued, whatever the kind.
    pub(crate) fn responded(
        kind: Kind,
        message: impl Into<Cow<'static, str>>,
        status: StatusCode,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            fate: if status.is_success() { Fate::Unknown } else { default_fate(kind) },
            status: Some(status),
            code: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Adds the error that the endpoint's own code gave. For an error that has just been made.
    pub(crate) fn with_source(mut self, source: BoxError) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.source = Some(source);
        }
        self
    }

    /// Adds the code of the response's body. For an error that has just been made.
    pub(crate) fn with_code(mut self, code: Option<String>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.code = code.map(Into::into);
        }
        self
    }

    /// Adds the pause that the response asked for. For an error that has just been made.
    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.retry_after = pause;
        }
        self
    }

    /// Cuts the pause that the response asked for. For an error that has just been made.
    pub(crate) fn with_retry_after_at_most(self, longest: Duration) -> Self {
        let pause = self.retry_after().map(|pause| pause.min(longest));
        self.with_retry_after(pause)
    }

    /// Creates an error that another attempt may mend. The refresh retries with back-off until its
    /// [deadline](crate::RefreshPolicy::deadline).
    ///
    /// The text of `source` is shown to users and logged, so it must hold no secret.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Transient,
            "the token endpoint failed for now; try again later",
            source,
        )
    }

    /// Creates an error as [`transient`](Self::transient) does, of an endpoint that asked not to be
    /// called for this `pause`, for example with `Retry-After` (RFC 9110, section 10.2.3).
    ///
    /// The refresh makes its next attempt after that. A pause of more than
    /// [`max_retry_after`](crate::RefreshPolicy::max_retry_after) is cut to it. The text of
    /// `source` is shown to users and logged, so it must hold no secret.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::AuthError;
    ///
    /// let error = AuthError::transient_after("asked too often", Duration::from_secs(5));
    /// assert!(error.is_transient());
    /// assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    /// ```
    pub fn transient_after(source: impl Into<BoxError>, pause: Duration) -> Self {
        Self::transient(source).with_retry_after(Some(pause))
    }

    /// Creates an error that says that the endpoint refused the credentials. The refresh makes no
    /// other attempt.
    ///
    /// The text of `source` is shown to users and logged, so it must hold no secret.
    pub fn rejected(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Rejected,
            "the token endpoint refused the credentials; check the client id and the secret",
            source,
        )
    }

    /// Creates an error that says that a success of the endpoint holds no usable token. The refresh
    /// makes no other attempt.
    ///
    /// The text of `source` is shown to users and logged, so it must hold no secret.
    pub fn invalid_response(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::InvalidResponse,
            "the token endpoint's response holds no usable token; check the endpoint's address",
            source,
        )
    }

    /// Creates an error that says that the credentials source failed, so no token was asked for.
    /// The refresh makes no other attempt.
    ///
    /// The text of `source` is shown to users and logged, so it must hold no secret.
    pub fn credentials(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Credentials,
            "the credentials source failed, so no token was asked for; check where it reads from",
            source,
        )
    }

    /// Creates an error that another attempt does not mend. The refresh makes no other attempt.
    ///
    /// The text of `source` is shown to users and logged, so it must hold no secret.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::caused_by(
            Kind::Permanent,
            "the token endpoint can't be used as configured; check its address and settings",
            source,
        )
    }

    /// Returns the status of the token endpoint's response.
    ///
    /// `None` if there was no response, and for an error of a constructor other than
    /// [`answered`](Self::answered).
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Returns the error code in the body of the token endpoint's response, such as
    /// `invalid_client` (RFC 6749, section 5.2).
    ///
    /// `None` if there is none, if it is longer than 64 characters or has others than the RFC
    /// allows, if it holds a part of the secret, and for an error of a constructor other than
    /// [`answered`](Self::answered).
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns how long the token endpoint asked not to be called, by its `Retry-After` header
    /// (RFC 9110, section 10.2.3). At most
    /// [`max_retry_after`](crate::RefreshPolicy::max_retry_after).
    ///
    /// The code `slow_down` (RFC 8628, section 3.5) asks for 5 seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
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
        if let Some(code) = &self.0.code {
            debug.field("code", code);
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
