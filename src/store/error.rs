//! [`StoreError`]: the error of a store's operation.

use std::{error::Error, fmt, sync::Arc};

use crate::error::BoxError;

/// An operation of a [`TokenStore`](super::TokenStore) that failed.
///
/// Its text is logged, so it must hold no secret.
///
/// # Examples
///
/// ```
/// use tower_reauth::store::StoreError;
///
/// let error = StoreError::unavailable("the server does not answer");
/// assert!(error.is_transient());
/// ```
#[derive(Clone, Debug)]
pub struct StoreError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: Box<str>,
    source: Option<BoxError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unavailable,
    Denied,
    Unusable,
}

impl StoreError {
    /// Creates the error of a store that can't be reached now, or that does not respond in time.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message.into())
    }

    /// Creates the error of a store that refuses the operation. `message` names the right that is
    /// missing.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Kind::Denied, message.into())
    }

    /// Creates the error of a store that does not work as it is set up, and will not without a
    /// change.
    pub fn unusable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unusable, message.into())
    }

    fn new(kind: Kind, message: String) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Adds the cause. Its text is logged too.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        let Inner { kind, message, .. } = &*self.0;
        Self(Arc::new(Inner { kind: *kind, message: message.clone(), source: Some(source.into()) }))
    }

    /// Returns `true` if the same operation may succeed later without a change to the setup.
    pub fn is_transient(&self) -> bool {
        self.0.kind == Kind::Unavailable
    }

    /// Returns `true` if the store refused the operation for a missing right.
    pub fn is_denied(&self) -> bool {
        self.0.kind == Kind::Denied
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            Kind::Unavailable => write!(f, "the token store is unavailable: {}", self.0.message),
            Kind::Denied => write!(f, "the token store denies access: {}", self.0.message),
            Kind::Unusable => write!(f, "the token store can't be used: {}", self.0.message),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
