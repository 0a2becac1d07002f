//! [`IssuedToken`]: a token as its endpoint issued it.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::Extensions;
use secrecy::SecretString;

use super::identity::Identity;

/// A token as its endpoint issued it, with all that the response says about its lifetime.
///
/// The lifetime is the least of these that are known:
///
/// 1. [`expires_in`](Self::expires_in);
/// 2. the claims `exp` less `iat` of a JWT (RFC 7519, section 4.1);
/// 3. [`expires_at`](Self::expires_at) less [`server_date`](Self::server_date). Without an
///    `expires_at`, the `exp` of a JWT takes its place.
///
/// Each of them is by the endpoint's own clocks, so a wrong local clock does no harm. If none is
/// known, the lifetime is `expires_at` or `exp` less the local clock, else the
/// [assumed](Self::assumed_lifetime) one. It counts from the moment when the token was asked for.
///
/// Clocks can disagree by any amount. A token that one of them calls dead and another calls alive
/// lives for one minute at most, and so does one that only the local clock calls dead. For example,
/// a gateway may stamp responses with a `Date` ten minutes ahead of the issuer's clock. An
/// `expires_at` at or before 1970 counts as unknown.
///
/// A JWT may have been minted long before it was handed over, as by a server that caches tokens, or
/// in a file. [`server_date`](Self::server_date) tells how much of its lifetime is left then. If
/// neither that nor [`expires_in`](Self::expires_in) is known, and `iat` is more than five minutes
/// before the local clock, the lifetime is `exp` less the local clock.
///
/// A token that is dead by every clock counts as expired, and the refresh fails. A lifetime of more
/// than 365 days is cut to that.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::endpoint::IssuedToken;
///
/// let token = IssuedToken::new("the-access-token").expires_in(Duration::from_secs(300));
/// # let _ = token;
/// ```
pub struct IssuedToken {
    pub(crate) secret: SecretString,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) server_date: Option<SystemTime>,
    pub(crate) issued_to: Option<Identity>,
    pub(crate) scheme: Option<String>,
    pub(crate) renew_in: Option<Duration>,
    pub(crate) assumed_lifetime: Option<Duration>,
    pub(crate) extensions: Extensions,
}

impl IssuedToken {
    /// Creates a token of which only the secret is known.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self {
            secret: secret.into(),
            expires_in: None,
            expires_at: None,
            server_date: None,
            issued_to: None,
            scheme: None,
            renew_in: None,
            assumed_lifetime: None,
            extensions: Extensions::new(),
        }
    }

    /// Sets the lifetime in all, as the `expires_in` of OAuth 2 gives it (RFC 6749, section 5.1).
    /// Defaults to unknown.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// Sets the end of the lifetime by the endpoint's wall clock. Defaults to unknown.
    #[must_use]
    pub fn expires_at(mut self, end: impl Into<Option<SystemTime>>) -> Self {
        self.expires_at = end.into();
        self
    }

    /// Sets the endpoint's wall clock at the time of its response, which is
    /// [`TokenResponse::date`](crate::endpoint::TokenResponse::date). Defaults to unknown.
    #[must_use]
    pub fn server_date(mut self, date: impl Into<Option<SystemTime>>) -> Self {
        self.server_date = date.into();
        self
    }

    /// Sets the client that the token was issued to.
    ///
    /// A process that shares tokens does not hand the token to others under another client's name,
    /// if the credentials have changed since it asked for the name. Defaults to unknown.
    #[must_use]
    pub fn issued_to(mut self, identity: Identity) -> Self {
        self.issued_to = Some(identity);
        self
    }

    /// Sets the authentication scheme in front of this token (RFC 9110, section 11.1). An empty
    /// scheme sends the bare token. One that is no token by RFC 9110, section 5.6.2, makes the
    /// response invalid. Defaults to the scheme of the
    /// [cache](crate::cache::TokenCacheBuilder::scheme).
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Sets when the endpoint wants to be asked for a successor, counted from the moment when the
    /// token was asked for, as the `refresh_in` of Microsoft Entra ID does.
    ///
    /// The renewal is due then, if that is earlier than the
    /// [policy](crate::RefreshPolicy::renew_at) has it, but not in the first quarter of the
    /// lifetime. Defaults to the policy's moment.
    #[must_use]
    pub fn renew_in(mut self, after: Duration) -> Self {
        self.renew_in = Some(after);
        self
    }

    /// Sets the lifetime to assume if nothing tells it: neither the methods above nor the claims of
    /// a JWT. Defaults to one minute.
    #[must_use]
    pub fn assumed_lifetime(mut self, lifetime: Duration) -> Self {
        self.assumed_lifetime = Some(lifetime);
        self
    }

    /// Adds a value of the response, which [`AccessToken::get`](crate::AccessToken::get) returns.
    /// It takes the place of an earlier one of its type.
    ///
    /// Only the process that asked for the token has it. Other processes that share the token do
    /// not.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::endpoint::IssuedToken;
    ///
    /// /// The address of the API, which some providers tell with the token.
    /// #[derive(Clone)]
    /// struct InstanceUrl(String);
    ///
    /// let token = IssuedToken::new("the-access-token")
    ///     .with(InstanceUrl("https://eu7.example.com".into()));
    /// # let _ = token;
    /// ```
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .field("server_date", &self.server_date)
            .field("scheme", &self.scheme)
            .field("renew_in", &self.renew_in)
            .finish_non_exhaustive()
    }
}
