//! Asks a source within the time of one attempt.
//!
//! An attempt asks the credentials source and then the endpoint. Its timeout alone would not tell
//! which of the two let it pass. The difference matters. If the source did, no request was sent, so
//! the token in use is as good as before, and the source is asked again within a second.

use tokio::time::{Instant, timeout_at};

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
    let started = clock::now();
    let Ok(ends) = ENDS.try_with(|ends| *ends) else {
        return supplied.await.map_err(AuthError::credentials);
    };
    // The attempt's own timeout ends at the same instant. This one is polled first.
    let asked = timeout_at(ends, supplied).await;
    asked.map_or_else(
        |_| Err(did_not_answer(ends, started)),
        |supplied| supplied.map_err(AuthError::credentials),
    )
}

fn did_not_answer(ends: Instant, started: Instant) -> AuthError {
    let waited = clock::in_seconds(ends.saturating_duration_since(started));
    AuthError::new(
        Kind::Credentials,
        format!(
            "the credentials source did not answer within {waited}, so no token was asked for; \
             check what it waits for"
        ),
    )
}
