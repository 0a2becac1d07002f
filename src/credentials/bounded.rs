//! Asks a source within the time of one attempt.
//!
//! An attempt asks the credentials source and then the endpoint. Its timeout alone would not tell
//! which of the two let it pass. The difference matters. If the source did, no request was sent, so
//! the token in use is as good as before, and the source is asked again within a second.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::{
    clock,
    error::{AuthError, BoxError, Kind},
};

tokio::task_local! {
    /// When the attempt in progress ends.
    static ENDS: Instant;
}

/// Runs an attempt in which a source may be asked until `ends`.
pub(crate) async fn bounded<T>(ends: Instant, attempt: impl Future<Output = T>) -> T {
    ENDS.scope(ends, attempt).await
}

/// Returns the credentials of `source`, which may not be ones that can be sent.
///
/// Outside of an attempt the source has as long as it takes.
pub(crate) async fn ask(source: &impl CredentialsSource) -> Result<Credentials, AuthError> {
    within(source.credentials()).await
}

/// Returns what a source supplies, be it credentials or whatever takes their place.
pub(crate) async fn within<T>(
    supplied: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, AuthError> {
    match in_time(supplied).await {
        Ok(supplied) => supplied.map_err(AuthError::credentials),
        Err(waited) => Err(did_not_answer(waited)),
    }
}

/// Returns what a future brings, or how long it was waited for if the attempt ends first.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> Result<T, Duration> {
    let started = clock::now();
    let Ok(ends) = ENDS.try_with(|ends| *ends) else { return Ok(future.await) };
    // The attempt's own timeout ends at the same instant. This one is polled first.
    timeout_at(ends, future).await.map_err(|_| ends.saturating_duration_since(started))
}

/// Returns what a future brings within `longest`, and within half of what is left of the attempt,
/// which has something else to tell.
///
/// Outside of an attempt it has as long as it takes.
pub(crate) async fn soon<T>(longest: Duration, future: impl Future<Output = T>) -> Option<T> {
    let Ok(ends) = ENDS.try_with(|ends| *ends) else { return Some(future.await) };
    let left = ends.saturating_duration_since(clock::now());
    timeout(longest.min(left / 2), future).await.ok()
}

fn did_not_answer(waited: Duration) -> AuthError {
    let waited = clock::in_seconds(waited);
    AuthError::new(
        Kind::Credentials,
        format!(
            "the credentials source did not answer within {waited}, so no token was asked for; \
             check what it waits for"
        ),
    )
}
