//! [`AssertionSource`]: supplies a new assertion each time one is sent.

use std::{fmt, future::Future, pin::Pin, time::SystemTime};

use http::Uri;
use secrecy::SecretString;

use crate::error::BoxError;

/// Supplies a signed assertion each time one is sent, and each time a new one.
///
/// - The assertion is a [`SecretString`](crate::SecretString), which a `String` turns into.
/// - A source is asked at each attempt at a token, on the task of the refresh. It must not block
///   the thread.
/// - The time it takes counts towards the
///   [`attempt_timeout`](crate::RefreshPolicy::attempt_timeout).
/// - A panic in it is caught. The callers that waited get an
///   [`AuthError::is_interrupted`](crate::AuthError::is_interrupted).
///
/// # Examples
///
/// ```
/// use tower_reauth::{
///     BoxError, SecretString,
///     assertion::{AssertionAsk, AssertionSource},
/// };
///
/// struct Vault;
///
/// impl Vault {
///     async fn sign(&self, subject: &str, audience: &str) -> Result<String, std::io::Error> {
///         Ok(format!("a JWT of {subject} for {audience}"))
///     }
/// }
///
/// impl AssertionSource for Vault {
///     async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
///         let audience = ask.issuer.ok_or("the issuer is not known")?;
///         Ok(self.sign(ask.client_id, audience).await?.into())
///     }
///
///     fn needs_issuer(&self) -> bool {
///         true
///     }
/// }
/// ```
pub trait AssertionSource: Send + Sync + 'static {
    /// Returns a new assertion, signed with the key that is in use now.
    ///
    /// # Errors
    ///
    /// Any error becomes the cause of an
    /// [`AuthError::is_credentials`](crate::AuthError::is_credentials), and nothing is sent. The
    /// error's text is shown to users and logged, so it must hold no secret.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the attempt's timeout or the refresh's deadline has passed, or
    /// when the last handle of the cache is gone. A caller's cancellation never reaches it.
    fn assertion(
        &self,
        ask: &AssertionAsk<'_>,
    ) -> impl Future<Output = Result<SecretString, BoxError>> + Send;

    /// Returns `true` if the key or the file differs from what the last assertion was made of.
    ///
    /// This is asked at most once a second, and only during the pause after the endpoint refused
    /// the last assertion, or after the source failed. `true` ends the pause, so that a corrected
    /// key is used at once. Defaults to `false`.
    fn changed(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Returns `true` if no assertion can be made unless the issuer is known, because the issuer is
    /// its audience. An endpoint without an issuer then can't be built. Defaults to `false`.
    fn needs_issuer(&self) -> bool {
        false
    }

    /// Returns what sets the tokens of this source's assertions apart from those of another one,
    /// such as issuer, subject and claims.
    ///
    /// It must not change with the key. Two keys of one client get tokens of the same client, so
    /// processes that sign with different keys share them, as during the rollout of a new key.
    ///
    /// It matters where an assertion is the grant itself, and processes share the token through a
    /// [store](crate::store). Those that return something else do not share. Only a hash of it is
    /// kept. Defaults to nothing, so that the
    /// [`subject`](crate::endpoint::oauth2::OAuth2Builder::subject) alone decides.
    fn identity(&self) -> Option<String> {
        None
    }
}

/// The facts that an assertion is made of.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AssertionAsk<'a> {
    /// The client id, which is issuer and subject of an assertion that authenticates the client
    /// (RFC 7523, section 3).
    pub client_id: &'a str,
    /// The identifier of the authorization server (RFC 8414, section 2), which should be the only
    /// audience (CVE-2025-27370). `None` unless the endpoint was told it by
    /// [`OAuth2Builder::issuer`](crate::endpoint::oauth2::OAuth2Builder::issuer), or has learned it
    /// from the server's metadata.
    pub issuer: Option<&'a str>,
    /// The address that the assertion is sent to.
    pub token_uri: &'a Uri,
    /// The time to date the assertion by. It is the server's clock where that is known to differ
    /// from this machine's by more than 30 seconds.
    pub now: SystemTime,
}

impl<'a> AssertionAsk<'a> {
    /// Creates a question without an issuer, to test a source with.
    pub fn new(client_id: &'a str, token_uri: &'a Uri, now: SystemTime) -> Self {
        Self { client_id, issuer: None, token_uri, now }
    }
}

/// Any [`AssertionSource`], so that whatever holds one has no type parameter.
pub struct BoxAssertionSource(Box<dyn DynAssertionSource>);

impl BoxAssertionSource {
    /// Boxes `source`.
    pub fn new(source: impl AssertionSource) -> Self {
        Self(Box::new(source))
    }
}

impl AssertionSource for BoxAssertionSource {
    async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        self.0.assertion(ask).await
    }

    async fn changed(&self) -> bool {
        self.0.changed().await
    }

    fn needs_issuer(&self) -> bool {
        self.0.needs_issuer()
    }

    fn identity(&self) -> Option<String> {
        self.0.identity()
    }
}

impl fmt::Debug for BoxAssertionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxAssertionSource").finish_non_exhaustive()
    }
}

/// A dyn-compatible [`AssertionSource`].
pub(crate) trait DynAssertionSource: Send + Sync + 'static {
    fn assertion<'a>(
        &'a self,
        ask: &'a AssertionAsk<'a>,
    ) -> BoxFuture<'a, Result<SecretString, BoxError>>;
    fn changed(&self) -> BoxFuture<'_, bool>;
    fn needs_issuer(&self) -> bool;
    fn identity(&self) -> Option<String>;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<S: AssertionSource> DynAssertionSource for S {
    fn assertion<'a>(
        &'a self,
        ask: &'a AssertionAsk<'a>,
    ) -> BoxFuture<'a, Result<SecretString, BoxError>> {
        Box::pin(AssertionSource::assertion(self, ask))
    }

    fn changed(&self) -> BoxFuture<'_, bool> {
        Box::pin(AssertionSource::changed(self))
    }

    fn needs_issuer(&self) -> bool {
        AssertionSource::needs_issuer(self)
    }

    fn identity(&self) -> Option<String> {
        AssertionSource::identity(self)
    }
}
