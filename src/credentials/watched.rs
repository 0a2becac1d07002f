//! [`Watched`]: a source, and what of it was last sent.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{bounded::ask, client_credentials::Credentials, source::CredentialsSource};
use crate::error::AuthError;

/// A source of credentials that knows if they differ from those that were last sent.
pub(crate) struct Watched<C> {
    source: C,
    /// Keyed at random, so that the fingerprint of a secret tells nothing outside of this process.
    hasher: RandomState,
    /// The fingerprint of the credentials that were last sent. Zero before the first request, and
    /// after the source has failed.
    ///
    /// `Relaxed`, because the number stands alone and publishes no other memory.
    last_sent: AtomicU64,
}

impl<C: CredentialsSource> Watched<C> {
    pub(crate) fn new(source: C) -> Self {
        Self { source, hasher: RandomState::new(), last_sent: AtomicU64::new(0) }
    }

    /// Returns the credentials as they are now.
    pub(crate) async fn ask(&self) -> Result<Credentials, AuthError> {
        ask(&self.source).await
    }

    /// Notes that these credentials are sent. This is called before the request, so that an attempt
    /// that is dropped half-way counts as sent.
    pub(crate) fn sending(&self, credentials: &Credentials) {
        self.last_sent.store(self.fingerprint(credentials), Ordering::Relaxed);
    }

    /// Notes that there was nothing to send. Whatever the source supplies next is news, even what
    /// it supplied before.
    pub(crate) fn failed(&self) {
        self.last_sent.store(0, Ordering::Relaxed);
    }

    /// Returns the credentials if they differ from those that were last sent.
    pub(crate) async fn changed(&self) -> Option<Credentials> {
        let credentials = self.source.credentials().await.ok()?;
        let is_new = self.fingerprint(&credentials) != self.last_sent.load(Ordering::Relaxed);
        is_new.then_some(credentials)
    }

    /// Returns a number that changes with the credentials, so that no second copy of the secret has
    /// to be kept for the comparison.
    fn fingerprint(&self, credentials: &Credentials) -> u64 {
        self.hasher.hash_one((credentials.client_id(), credentials.expose_secret()))
    }
}
