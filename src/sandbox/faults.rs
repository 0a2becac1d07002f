//! [`AuthFault`]: the ways in which `POST /auth` can be made to fail.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;

/// A way in which `POST /auth` can fail.
///
/// - The faults of the first group, up to [`Redirect`](Self::Redirect), meet every `POST /auth`,
///   even a malformed one. They issue nothing, so the token in use stays alive.
/// - The faults of the second group meet a `POST /auth` whose credentials are right. They issue a
///   token, which kills the one in use, and then spoil the response. A request with wrong
///   credentials gets its 400 or 401 and uses the fault up.
///
/// [`Delay`](Self::Delay) meets every `POST /auth` too, which then goes on without a fault.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use http::StatusCode;
/// use tower_reauth::sandbox::{AuthFault, Sandbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder().start().await?;
/// let overloaded = AuthFault::Status {
///     status: StatusCode::SERVICE_UNAVAILABLE,
///     retry_after: Some(Duration::from_secs(2)),
/// };
/// sandbox.fail_every_auth(Some(overloaded));
/// sandbox.fail_next_auth(AuthFault::Hang);
/// // The next request hangs and all later ones are answered 503, until the fault is removed:
/// sandbox.fail_every_auth(None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
// A test makes a fault from its fields, so the fields are not `non_exhaustive`.
pub enum AuthFault {
    /// Issues nothing, and answers with the documented error body.
    Status {
        /// The status of the response.
        status: StatusCode,
        /// The value of the `Retry-After` header, rounded up to whole seconds. `None` sends none.
        retry_after: Option<Duration>,
    },
    /// Issues nothing, and answers with this status and the HTML page of a proxy.
    Html(StatusCode),
    /// Issues nothing, and resets the TCP connection with every request that is in flight on it.
    ResetBeforeIssuing,
    /// Issues nothing and never answers.
    Hang,
    /// Waits this long on top of the [`auth_latency`](super::SandboxBuilder::auth_latency), and
    /// goes on as if there were no fault.
    Delay(Duration),
    /// Issues nothing, and answers 307 with this `Location`. A header that can't carry it makes
    /// the response a 500.
    Redirect(String),

    /// Issues a token, and resets the TCP connection with every request that is in flight on it.
    ResetAfterIssuing,
    /// Issues a token, and answers 201 without a body.
    EmptyBody,
    /// Issues a token, and answers 201 with half of the body that its `Content-Length` announces.
    CutBody,
    /// Issues a token, and answers 201 with the content type of JSON and a body that is not JSON.
    Garbage,
    /// Issues a token, and answers 201 with an empty `accessToken`.
    EmptyToken,
    /// Issues a token, and answers 201 without an `accessToken`.
    MissingToken,
    /// Issues a token, and answers 201 with a line feed at its end, which no header can carry.
    UnsendableToken,
    /// Issues a good token, and answers 201 with an `expiresAt` that is not a date.
    BadExpiry,
    /// Issues a good token, and answers 201 without an `expiresAt`.
    NoExpiry,
    /// Issues a token with a good signature that expired a minute ago, and answers 201 with an
    /// `expiresAt` that says so.
    Expired,
    /// Issues a good token, and streams a 201 with a JSON body of 32 MiB. A client that reads all
    /// of it finds a valid response.
    Oversized,
}

/// The faults that later requests will meet.
#[derive(Default)]
pub(super) struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<AuthFault>,
    /// Met by every request when the queue is empty.
    standing: Option<AuthFault>,
}

impl Faults {
    pub(super) fn push(&self, fault: AuthFault) {
        self.lock().queue.push_back(fault);
    }

    pub(super) fn set_standing(&self, fault: Option<AuthFault>) {
        self.lock().standing = fault;
    }

    /// Returns the fault for the `POST /auth` that has just arrived, and takes it from the queue.
    pub(super) fn next(&self) -> Option<AuthFault> {
        let mut inner = self.lock();
        inner.queue.pop_front().or_else(|| inner.standing.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
