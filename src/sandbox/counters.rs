//! The counters of a sandbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A consistent snapshot of the counters of a sandbox. All of them start at zero with the sandbox.
///
/// # Examples
///
/// ```
/// use tower_reauth::sandbox::Sandbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder().start().await?;
/// sandbox.issue_elsewhere(Sandbox::CLIENT_ID);
///
/// let counters = sandbox.counters();
/// assert_eq!((counters.auth_requests, counters.tokens_issued), (0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SandboxCounters {
    /// `POST /auth` requests that arrived.
    pub auth_requests: u64,
    /// Tokens that were issued, each of which killed the one before it.
    ///
    /// Tokens whose response a fault spoiled count, and so do those of
    /// [`Sandbox::issue_elsewhere`](super::Sandbox::issue_elsewhere).
    pub tokens_issued: u64,
    /// `POST /auth` requests that were malformed, were too large or had wrong credentials.
    ///
    /// Requests that met an [`AuthFault`](super::AuthFault) with an error status do not count.
    pub auth_refused: u64,
    /// Requests that arrived on any path that needs a token, even one that does not exist.
    pub resource_requests: u64,
    /// Requests on such a path that were answered with a 2xx status.
    pub resource_ok: u64,
    /// Requests that were answered 401 because they carried no bearer token.
    pub unauthorized_missing: u64,
    /// Requests that were answered 401 because their token is malformed or was not signed by this
    /// sandbox, or because they carried several `Authorization` headers.
    pub unauthorized_unknown: u64,
    /// Requests that were answered 401 because their token has expired, even if it had been
    /// replaced before that.
    pub unauthorized_expired: u64,
    /// Requests that were answered 401 because a newer token or a
    /// [`revoke`](super::Sandbox::revoke) has killed their token before it expired.
    pub unauthorized_replaced: u64,
    /// Accounts that were created by `POST /accounts`.
    pub accounts_created: u64,
    /// Repeated `POST /accounts` requests that were answered with the stored response of the first.
    pub idempotent_replays: u64,
    /// The greatest number of `POST /auth` requests that were in flight at once.
    pub auth_in_flight_max: u64,
}

/// The live counters.
#[derive(Default)]
pub(super) struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    counters: SandboxCounters,
    auth_in_flight: u64,
}

impl Tally {
    pub(super) fn snapshot(&self) -> SandboxCounters {
        self.lock().counters
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut SandboxCounters)) {
        change(&mut self.lock().counters);
    }

    /// Counts a `POST /auth` that has arrived. It is in flight until the returned value is dropped.
    pub(super) fn start_auth(self: &Arc<Self>) -> AuthInFlight {
        let mut inner = self.lock();
        inner.auth_in_flight += 1;
        inner.counters.auth_requests += 1;
        inner.counters.auth_in_flight_max =
            inner.counters.auth_in_flight_max.max(inner.auth_in_flight);
        AuthInFlight { tally: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One `POST /auth` that is in flight.
pub(super) struct AuthInFlight {
    tally: Arc<Tally>,
}

impl Drop for AuthInFlight {
    fn drop(&mut self) {
        self.tally.lock().auth_in_flight -= 1;
    }
}
