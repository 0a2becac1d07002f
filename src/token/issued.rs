//! [`IssuedToken`]: a token as its endpoint issued it.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use secrecy::SecretString;

/// A token as its endpoint issued it, with all that the answer said about its lifetime.
///
/// The lifetime is taken from the first of these that is there: [`expires_in`](Self::expires_in);
/// [`expires_at`](Self::expires_at) less [`server_date`](Self::server_date); a JWT's own `exp` less `iat`;
/// `expires_at` less the local clock; one minute. All but the last two are the endpoint's own clock, so a wrong
/// local one does no harm. It counts from the moment the request was sent.
pub struct IssuedToken {
    pub(crate) secret: SecretString,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) server_date: Option<SystemTime>,
}

impl IssuedToken {
    /// A token of which only the secret is known.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self { secret: secret.into(), expires_in: None, expires_at: None, server_date: None }
    }

    /// The lifetime in all, as OAuth 2's `expires_in` gives it.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// The end of the lifetime, on the endpoint's wall clock.
    #[must_use]
    pub fn expires_at(mut self, end: impl Into<Option<SystemTime>>) -> Self {
        self.expires_at = end.into();
        self
    }

    /// The endpoint's wall clock when it answered: [`TokenResponse::date`](crate::endpoint::TokenResponse::date).
    #[must_use]
    pub fn server_date(mut self, date: impl Into<Option<SystemTime>>) -> Self {
        self.server_date = date.into();
        self
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .field("server_date", &self.server_date)
            .finish_non_exhaustive()
    }
}
