//! [`from_fn`]: an async function as a source of assertions.

use std::{fmt, future::Future};

use secrecy::SecretString;

use super::source::{AssertionAsk, AssertionSource};
use crate::error::BoxError;

/// Creates a source from a function that returns a future of a new assertion. It is called each
/// time one is sent.
///
/// The future can't borrow from the [`AssertionAsk`], so the function copies what it needs. The
/// text of an error is shown to users and logged, so it must hold no secret.
///
/// # Examples
///
/// ```
/// use tower_reauth::assertion;
///
/// async fn sign_in_kms(subject: String) -> Result<String, std::io::Error> {
///     Ok(format!("a JWT of {subject}"))
/// }
///
/// let source = assertion::from_fn(|ask| {
///     let subject = ask.client_id.to_owned();
///     async move { Ok(sign_in_kms(subject).await?.into()) }
/// });
/// # let _ = source;
/// ```
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn(&AssertionAsk<'_>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<SecretString, BoxError>> + Send,
{
    FromFn(function)
}

/// The source that [`from_fn`] creates.
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F, Fut> AssertionSource for FromFn<F>
where
    F: Fn(&AssertionAsk<'_>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<SecretString, BoxError>> + Send,
{
    async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        (self.0)(ask).await
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}
