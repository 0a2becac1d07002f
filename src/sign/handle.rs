//! [`ServiceHandle`]: where a request that waits, or is sent again, gets a service of its own.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::signer::Signer;
use crate::{
    cache::{CachedLease, Lease},
    sync::{self, Striped},
};

/// A reference that a request takes along instead of a clone of the service, which few requests
/// will need.
///
/// Aligned so that its reference count shares no cache line with anything else.
#[repr(align(128))]
pub(crate) struct ServiceHandle<S> {
    pub(crate) signer: Arc<Signer>,
    kept: Arc<Mutex<Kept<S>>>,
}

/// The things that requests of all clones leave for each other.
struct Kept<S> {
    service: S,
    /// When a refresh ends, the callers that waited for it come one after the other. The first
    /// takes its lease from the slot, and the others have it with the service.
    cached: CachedLease,
}

/// The part that an `Auth` and its clones share: the signer, and a service handle for each core.
pub(crate) struct Inner<S> {
    pub(crate) signer: Arc<Signer>,
    /// In a lock because a service need not be `Sync`, and the futures over it must be `Send` all
    /// the same.
    kept: OnceLock<Arc<Mutex<Kept<S>>>>,
    handles: Striped<OnceLock<Arc<ServiceHandle<S>>>>,
}

impl<S> Inner<S> {
    pub(crate) fn new(signer: Arc<Signer>) -> Self {
        Self { signer, kept: OnceLock::new(), handles: Striped::new(OnceLock::new) }
    }
}

impl<S: Clone> Inner<S> {
    /// Returns the handle of this core. The first one of all clones `inner`.
    #[inline]
    pub(crate) fn handle(&self, inner: &S) -> Arc<ServiceHandle<S>> {
        Arc::clone(self.handles.local().get_or_init(|| {
            let kept = self.kept.get_or_init(|| {
                let (service, cached) = (inner.clone(), CachedLease::default());
                Arc::new(Mutex::new(Kept { service, cached }))
            });
            Arc::new(ServiceHandle { signer: Arc::clone(&self.signer), kept: Arc::clone(kept) })
        }))
    }
}

impl<S: Clone> ServiceHandle<S> {
    /// Returns a service that has yet to become ready.
    pub(crate) fn service(&self) -> S {
        self.lock().service.clone()
    }

    /// Returns a service that has yet to become ready, and a lease on the token in use.
    pub(crate) fn service_and_lease(&self) -> (S, Option<sync::Arc<Lease>>) {
        let kept = self.lock();
        let (service, lease) = (kept.service.clone(), kept.cached.upgrade());
        drop(kept);
        // Dropped or asked for without the lock: either may wake a task.
        let lease = lease.filter(|lease| lease.is_fresh()).or_else(|| {
            let lease = self.signer.cache.lease()?;
            self.lock().cached.keep(&lease);
            Some(lease)
        });
        (service, lease)
    }

    /// Lets later requests have what `service` has learned, such as a connection.
    pub(crate) fn update(&self, service: S) {
        let before = mem::replace(&mut self.lock().service, service);
        // Dropped without the lock, because the destructor is a user's code.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Kept<S>> {
        // A clone that panics leaves what it was cloned from as it is.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
