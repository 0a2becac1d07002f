//! [`RefreshTokens`]: where a refresh token is kept.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::{
    credentials,
    error::{AuthError, BoxError, Fate, Kind},
};

/// Keeps the refresh token of a grant that a person has once allowed (RFC 6749, section 6).
///
/// Many servers replace a refresh token when it is used, and take the use of an old one for a
/// theft. The newest one is therefore kept before its access token is used.
///
/// # Examples
///
/// ```
/// use secrecy::{ExposeSecret, SecretString};
/// use tower_reauth::{BoxError, endpoint::oauth2::RefreshTokens};
///
/// struct Row(u64);
///
/// async fn select(row: u64) -> Result<String, std::io::Error> {
///     Ok(format!("the refresh token of row {row}"))
/// }
///
/// async fn update(row: u64, token: &str) -> Result<(), std::io::Error> {
///     let _ = (row, token);
///     Ok(())
/// }
///
/// impl RefreshTokens for Row {
///     async fn load(&self) -> Result<SecretString, BoxError> {
///         Ok(select(self.0).await?.into())
///     }
///
///     async fn store(&self, token: &SecretString) -> Result<(), BoxError> {
///         Ok(update(self.0, token.expose_secret()).await?)
///     }
///
///     // A database that all processes use.
///     fn is_shared(&self) -> bool {
///         true
///     }
/// }
/// ```
pub trait RefreshTokens: Send + Sync + 'static {
    /// Returns the newest refresh token. It is asked at each attempt at an access token.
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
    /// when the last handle of the cache is gone.
    fn load(&self) -> impl Future<Output = Result<SecretString, BoxError>> + Send;

    /// Keeps a new refresh token, which takes the place of the one before it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). The access token is not used then. The refresh token is held in
    /// memory, and this is called with it again before anything else is asked for.
    ///
    /// # Cancel safety
    ///
    /// As [`load`](Self::load). After a future was dropped, this is called again as after an error.
    /// If the endpoint itself is dropped by then, that is on a task of the runtime in which it is
    /// dropped.
    fn store(&self, token: &SecretString) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Returns `true` if all processes that share the access token load and store the same refresh
    /// token. Without that, a cache with a
    /// [store](crate::cache::TokenCacheBuilder::shared) can't be built. Defaults to `false`.
    fn is_shared(&self) -> bool {
        false
    }
}

/// The refresh token of a grant: where it is kept, and what of it is not kept yet.
pub(super) struct Kept {
    tokens: Arc<dyn DynRefreshTokens>,
    /// The newest refresh token, as long as it is not stored.
    pending: Mutex<Option<SecretString>>,
    /// Keyed at random, so that the fingerprint of a secret tells nothing outside of this process.
    hasher: RandomState,
    /// The fingerprint of what was last sent. Zero before the first request.
    ///
    /// `Relaxed`, because the number stands alone and publishes no other memory.
    last_sent: AtomicU64,
}

impl Kept {
    pub(super) fn new(tokens: impl RefreshTokens) -> Self {
        Self {
            tokens: Arc::new(tokens),
            pending: Mutex::default(),
            hasher: RandomState::new(),
            last_sent: AtomicU64::new(0),
        }
    }

    /// Returns the newest refresh token, which is about to be sent. One that was not stored is
    /// stored first.
    pub(super) async fn newest(&self) -> Result<SecretString, AuthError> {
        let pending = self.pending().clone();
        let newest = match pending {
            Some(pending) => {
                self.store(&pending).await?;
                pending
            }
            None => credentials::within(self.tokens.load()).await?,
        };
        if newest.expose_secret().is_empty() {
            let text = "the refresh token is empty; check where refresh tokens are kept, and if \
                        anybody has allowed this integration yet";
            return Err(AuthError::new(Kind::Credentials, text));
        }
        self.last_sent.store(self.fingerprint(&newest), Ordering::Relaxed);
        Ok(newest)
    }

    /// Stores a new refresh token. From here on it is the newest, whatever becomes of this future.
    pub(super) async fn keep(&self, token: SecretString) -> Result<(), AuthError> {
        *self.pending() = Some(token.clone());
        // The server has issued an access token, which is lost with an error.
        self.store(&token).await.map_err(|error| error.with_fate(Fate::Issued))
    }

    async fn store(&self, token: &SecretString) -> Result<(), AuthError> {
        let stored = credentials::within(async { Ok(self.tokens.store(token).await) }).await;
        let stored = stored.map_err(|_| {
            AuthError::new(
                Kind::Credentials,
                "the new refresh token was not stored in time, so its access token is not used; \
                 check where refresh tokens are kept",
            )
        })?;
        stored.map_err(|source| {
            AuthError::caused_by(
                Kind::Credentials,
                "the new refresh token could not be stored, so its access token is not used; check \
                 where refresh tokens are kept",
                source,
            )
        })?;
        *self.pending() = None;
        Ok(())
    }

    /// Returns `true` if there is another refresh token than the one that was last sent, or one
    /// that is still to be stored.
    pub(super) async fn is_changed(&self) -> bool {
        if self.pending().is_some() {
            return true;
        }
        let loaded = self.tokens.load().await;
        let last_sent = self.last_sent.load(Ordering::Relaxed);
        loaded.is_ok_and(|loaded| self.fingerprint(&loaded) != last_sent)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.tokens.is_shared()
    }

    fn fingerprint(&self, token: &SecretString) -> u64 {
        self.hasher.hash_one(token.expose_secret())
    }

    fn pending(&self) -> MutexGuard<'_, Option<SecretString>> {
        // Every change under this lock is one assignment.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores what is not stored yet, because nobody else knows it.
impl Drop for Kept {
    fn drop(&mut self) {
        let pending = self.pending().take();
        if let Some(pending) = pending
            && let Ok(runtime) = Handle::try_current()
        {
            let tokens = Arc::clone(&self.tokens);
            runtime.spawn(async move { tokens.store(&pending).await });
        }
    }
}

/// A dyn-compatible [`RefreshTokens`].
trait DynRefreshTokens: Send + Sync + 'static {
    fn load(&self) -> BoxFuture<'_, Result<SecretString, BoxError>>;
    fn store<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<(), BoxError>>;
    fn is_shared(&self) -> bool;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<R: RefreshTokens> DynRefreshTokens for R {
    fn load(&self) -> BoxFuture<'_, Result<SecretString, BoxError>> {
        Box::pin(RefreshTokens::load(self))
    }

    fn store<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RefreshTokens::store(self, token))
    }

    fn is_shared(&self) -> bool {
        RefreshTokens::is_shared(self)
    }
}

#[cfg(test)]
#[path = "refresh_token_tests.rs"]
mod tests;
