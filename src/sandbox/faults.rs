//! The ways in which `POST /auth` can be made to go wrong.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;

/// A way in which `POST /auth` can go wrong.
///
/// The first group meets any `POST /auth`, whatever it asks for, and issues nothing: the token in use stays valid.
/// The second meets only one whose credentials are right (another gets its 400 or 401, and has used the fault up).
/// It issues a token, so the one in use dies, and then spoils the answer.
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
/// // The next request hangs, all those after it are answered 503, and now everything is well again:
/// sandbox.fail_every_auth(None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuthFault {
    /// Issues nothing; answers with the documented error body.
    Status {
        /// The status of the answer.
        status: StatusCode,
        /// Sent as `Retry-After`, in seconds, rounded up.
        retry_after: Option<Duration>,
    },
    /// Issues nothing; answers with this status and the HTML page of a proxy.
    Html(StatusCode),
    /// Issues nothing; resets the TCP connection, along with whatever else is under way on it.
    ResetBeforeIssuing,
    /// Issues nothing and never answers.
    Hang,
    /// Waits this long, on top of [`auth_latency`](super::SandboxBuilder::auth_latency), then goes on as if there
    /// were no fault.
    Delay(Duration),
    /// Issues nothing; answers 307 to this `Location`. One that can't be a header value makes it a 500.
    Redirect(String),

    /// Issues a token, then resets the TCP connection, along with whatever else is under way on it.
    ResetAfterIssuing,
    /// Issues a token; answers 201 with no body.
    EmptyBody,
    /// Issues a token; answers 201 with a `Content-Length` larger than the part of the body that is sent.
    CutBody,
    /// Issues a token; answers 201 with a body that says it is JSON and is not.
    Garbage,
    /// Issues a token; answers 201 with `""` in its place.
    EmptyToken,
    /// Issues a token; answers 201 with no `accessToken`.
    MissingToken,
    /// Issues a token; answers 201 with a line feed in it, which no header can carry.
    UnsendableToken,
    /// Issues a good token; answers 201 with an `expiresAt` that is not a date.
    BadExpiry,
    /// Issues a good token; answers 201 with no `expiresAt`.
    NoExpiry,
    /// Issues a token with a good signature that expired a minute ago; answers 201, with an `expiresAt` that says so.
    Expired,
    /// Issues a good token; answers 201 with a JSON body of 32 MiB, streamed. Read whole, it is a valid answer.
    Oversized,
}

/// The faults still to come.
#[derive(Default)]
pub(super) struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<AuthFault>,
    standing: Option<AuthFault>,
}

impl Faults {
    pub(super) fn push(&self, fault: AuthFault) {
        self.lock().queue.push_back(fault);
    }

    pub(super) fn set_standing(&self, fault: Option<AuthFault>) {
        self.lock().standing = fault;
    }

    /// What the `POST /auth` that has just arrived meets.
    pub(super) fn next(&self) -> Option<AuthFault> {
        let mut inner = self.lock();
        inner.queue.pop_front().or_else(|| inner.standing.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
