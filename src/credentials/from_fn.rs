//! [`from_fn`]: an async function as a source.

use std::{fmt, future::Future};

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// Creates a source from an async function, which is called each time a token is requested.
///
/// The text of an error that it returns is shown to users and logged, so it must hold no secret.
/// The function must not block. Where it ends in `?`, name the error, as in the second example. For
/// files there is [`FileCredentials`](super::FileCredentials).
///
/// # Examples
///
/// ```
/// use tower_reauth::{
///     BoxError,
///     credentials::{self, Credentials},
/// };
///
/// async fn ask_vault() -> Result<Credentials, std::io::Error> {
///     Ok(Credentials::new("my-client-id", "the current secret"))
/// }
///
/// let source = credentials::from_fn(ask_vault);
///
/// let source = credentials::from_fn(|| async {
///     let id = std::env::var("CLIENT_ID")?;
///     Ok::<_, BoxError>(Credentials::new(id, ask_vault().await?.expose_secret()))
/// });
/// # let _ = source;
/// ```
pub fn from_fn<F, Fut, E>(function: F) -> FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    FromFn(function)
}

/// The source that [`from_fn`] creates.
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F, Fut, E> CredentialsSource for FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        (self.0)().await.map_err(Into::into)
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}
