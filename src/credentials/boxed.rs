//! [`BoxCredentialsSource`]: any source, so that whatever holds one has no type parameter.

use std::{future::Future, pin::Pin};

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// Any [`CredentialsSource`].
pub(crate) struct BoxCredentialsSource(Box<dyn DynCredentialsSource>);

impl BoxCredentialsSource {
    pub(crate) fn new(source: impl CredentialsSource) -> Self {
        Self(Box::new(source))
    }
}

impl CredentialsSource for BoxCredentialsSource {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        self.0.credentials().await
    }
}

trait DynCredentialsSource: Send + Sync + 'static {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, BoxError>>;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<C: CredentialsSource> DynCredentialsSource for C {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, BoxError>> {
        Box::pin(CredentialsSource::credentials(self))
    }
}
