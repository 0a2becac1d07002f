//! [`RefreshTokens`]: where a refresh token is kept.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::{
    credentials,
    error::{AuthError, BoxError, Fate, Kind},
};

/// How long a refusal is held up by the question if somebody else has stored a refresh token.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps the refresh token of a grant that a person has once allowed (RFC 6749, section 6).
///
/// Many servers replace a refresh token when it is used, and take the use of an old one for a
/// theft. The newest one is therefore kept before its access token is used.
///
/// # What an implementation has to do
///
/// 1. [`load`](Self::load) returns what the last [`store`](Self::store) has kept, whichever process
///    called it. A replica of a database that lags behind returns a refresh token that has been
///    used, so the primary is asked.
/// 2. [`store`](Self::store) compares and sets in one step, such as one statement or one
///    transaction. Otherwise a process that is late overwrites the refresh token that another
///    process has got since, or that a person has allowed anew.
/// 3. What is stored outlives the process and the machine, before `store` returns. A refresh token
///    that is lost has to be allowed anew by a person.
///
/// Processes that share the access token make one request at a time between them. A refresh token
/// is then sent twice only if the response to the first request was lost: on its way, or with a
/// process that died before `store` had returned. No store can prevent that.
///
/// # Examples
///
/// ```
/// use tower_reauth::{BoxError, ExposeSecret, SecretString, endpoint::oauth2::RefreshTokens};
///
/// struct Row(u64);
///
/// /// `SELECT refresh_token FROM integrations WHERE id = $1`
/// async fn select(row: u64) -> Result<String, std::io::Error> {
///     Ok(format!("the refresh token of row {row}"))
/// }
///
/// /// `UPDATE integrations SET refresh_token = $2 WHERE id = $1 AND refresh_token = $3`
/// async fn update(row: u64, token: &str, former: &str) -> Result<(), std::io::Error> {
///     let _ = (row, token, former);
///     Ok(())
/// }
///
/// impl RefreshTokens for Row {
///     async fn load(&self) -> Result<SecretString, BoxError> {
///         Ok(select(self.0).await?.into())
///     }
///
///     async fn store(&self, token: &SecretString, former: &SecretString) -> Result<(), BoxError> {
///         // No row is updated if another refresh token is kept by now, as it should be.
///         Ok(update(self.0, token.expose_secret(), former.expose_secret()).await?)
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
    /// It is asked again after a refusal, because another process may have had the refresh token
    /// replaced. Without an answer within a second, or half of what is left of the attempt if that
    /// is less, the refusal stands.
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

    /// Keeps a new refresh token, which takes the place of `former`: the one that was sent for it.
    ///
    /// If the one that is kept is no longer `former`, it stays, and that is no error. Another
    /// process has had it replaced, or a person has allowed the integration anew, or an earlier
    /// call for the same `token` succeeded after all.
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
    fn store(
        &self,
        token: &SecretString,
        former: &SecretString,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

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
    pending: Mutex<Option<Pending>>,
    /// Keyed at random, so that the fingerprint of a secret tells nothing outside of this process.
    hasher: RandomState,
    /// The fingerprint of what was last sent. Zero before the first request.
    ///
    /// `Relaxed`, because the number stands alone and publishes no other memory.
    last_sent: AtomicU64,
}

/// A refresh token that is still to be stored.
#[derive(Clone)]
struct Pending {
    token: SecretString,
    /// The one that was sent for it.
    former: SecretString,
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
        if let Some(pending) = pending {
            self.store(&pending).await?;
        }
        // Even after that: a person may have allowed the integration anew in the meantime.
        let newest = credentials::within(self.tokens.load()).await?;
        if newest.expose_secret().is_empty() {
            let text = "the refresh token is empty; check where refresh tokens are kept, and if \
                        anybody has allowed this integration yet";
            return Err(AuthError::new(Kind::Credentials, text));
        }
        self.last_sent.store(self.fingerprint(&newest), Ordering::Relaxed);
        Ok(newest)
    }

    /// Stores a new refresh token, which was issued for `former`. From here on it is the newest,
    /// whatever becomes of this future.
    pub(super) async fn keep(
        &self,
        token: SecretString,
        former: SecretString,
    ) -> Result<(), AuthError> {
        let pending = Pending { token, former };
        *self.pending() = Some(pending.clone());
        // The server has issued an access token, which is lost with an error.
        self.store(&pending).await.map_err(|error| error.with_fate(Fate::Issued))
    }

    async fn store(&self, pending: &Pending) -> Result<(), AuthError> {
        let stored = self.tokens.store(&pending.token, &pending.former);
        let stored = credentials::within(async { Ok(stored.await) }).await;
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
    /// that is still to be stored. A store that does not answer knows of none.
    pub(super) async fn is_changed(&self) -> bool {
        if self.pending().is_some() {
            return true;
        }
        let loaded = credentials::soon(PATIENCE, self.tokens.load()).await;
        let last_sent = self.last_sent.load(Ordering::Relaxed);
        matches!(loaded, Some(Ok(loaded)) if self.fingerprint(&loaded) != last_sent)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.tokens.is_shared()
    }

    fn fingerprint(&self, token: &SecretString) -> u64 {
        self.hasher.hash_one(token.expose_secret())
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
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
            runtime.spawn(async move { tokens.store(&pending.token, &pending.former).await });
        }
    }
}

/// A dyn-compatible [`RefreshTokens`].
trait DynRefreshTokens: Send + Sync + 'static {
    fn load(&self) -> BoxFuture<'_, Result<SecretString, BoxError>>;
    fn store<'a>(
        &'a self,
        token: &'a SecretString,
        former: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn is_shared(&self) -> bool;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<R: RefreshTokens> DynRefreshTokens for R {
    fn load(&self) -> BoxFuture<'_, Result<SecretString, BoxError>> {
        Box::pin(RefreshTokens::load(self))
    }

    fn store<'a>(
        &'a self,
        token: &'a SecretString,
        former: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RefreshTokens::store(self, token, former))
    }

    fn is_shared(&self) -> bool {
        RefreshTokens::is_shared(self)
    }
}

#[cfg(test)]
#[path = "refresh_token_tests.rs"]
mod tests;
