//! What a sandbox counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// What a sandbox has counted since it started: one consistent snapshot.
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
    /// Tokens that were issued, each killing the one before it: whether the answer said so or a fault spoilt it,
    /// and those of [`Sandbox::issue_elsewhere`](super::Sandbox::issue_elsewhere) too.
    pub tokens_issued: u64,
    /// `POST /auth` requests that were refused for what they asked: malformed, too large, or wrong credentials. An
    /// [`AuthFault`](super::AuthFault) that answers with a status is not counted here.
    pub auth_refused: u64,
    /// Requests that arrived on any path that needs a token, even one that doesn't exist.
    pub resource_requests: u64,
    /// Those of them that were answered with a 2xx status.
    pub resource_ok: u64,
    /// 401: no bearer token was sent.
    pub unauthorized_missing: u64,
    /// 401: the token is malformed, was never issued here, or its signature is wrong; or there were several
    /// `Authorization` headers.
    pub unauthorized_unknown: u64,
    /// 401: the token has expired; also when it had been replaced before that.
    pub unauthorized_expired: u64,
    /// 401: the token has not expired, but a newer one or a [`revoke`](super::Sandbox::revoke) has killed it.
    pub unauthorized_replaced: u64,
    /// Accounts that were created.
    pub accounts_created: u64,
    /// `POST /accounts` requests that got a stored answer again.
    pub idempotent_replays: u64,
    /// The most `POST /auth` requests that were under way at once.
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

    /// Counts a `POST /auth` as arrived, and as under way until the returned value is dropped.
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

/// One `POST /auth` that is under way.
pub(super) struct AuthInFlight {
    tally: Arc<Tally>,
}

impl Drop for AuthInFlight {
    fn drop(&mut self) {
        self.tally.lock().auth_in_flight -= 1;
    }
}
