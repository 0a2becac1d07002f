//! [`from_fn`]: an async function as a source.

use std::{fmt, future::Future};

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// Creates a source from an async function, which is called each time a token is requested.
///
/// The text of an error that it returns is shown to users and logged, so it must hold no secret.
/// The function must not block. For files there is [`FileCredentials`](super::FileCredentials).
///
/// # Examples
///
/// ```
/// use tower_reauth::credentials::{self, Credentials};
///
/// async fn ask_vault() -> Result<String, std::io::Error> {
///     Ok("the current secret".into())
/// }
///
/// let source = credentials::from_fn(|| async {
///     Ok(Credentials::new("my-client-id", ask_vault().await?))
/// });
/// # let _ = source;
/// ```
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, BoxError>> + Send,
{
    FromFn(function)
}

/// The source that [`from_fn`] creates.
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F, Fut> CredentialsSource for FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, BoxError>> + Send,
{
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        (self.0)().await
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}
