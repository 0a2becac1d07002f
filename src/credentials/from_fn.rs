//! [`from_fn`]: an async function as a source.

use std::{fmt, future::Future};

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// A source from an async function, which is called for each token request. See the [module](super) for an example.
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, BoxError>> + Send,
{
    FromFn(function)
}

/// The source that [`from_fn`] makes.
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
