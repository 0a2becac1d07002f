//! [`ServiceHandle`]: where a request that waits, or is sent again, gets a service of its own.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::signer::Signer;
use crate::sync::Striped;

/// A reference that a request takes along instead of a clone of the service, which few requests
/// will need.
///
/// Aligned so that its reference count shares no cache line with anything else.
#[repr(align(128))]
pub(crate) struct ServiceHandle<S> {
    pub(crate) signer: Arc<Signer>,
    service: Arc<Mutex<S>>,
}

/// The part that an `Auth` and its clones share: the signer, and a service handle for each core.
pub(crate) struct Inner<S> {
    pub(crate) signer: Arc<Signer>,
    /// In a lock because a service need not be `Sync`, and the futures over it must be `Send` all
    /// the same.
    service: OnceLock<Arc<Mutex<S>>>,
    handles: Striped<OnceLock<Arc<ServiceHandle<S>>>>,
}

impl<S> Inner<S> {
    pub(crate) fn new(signer: Arc<Signer>) -> Self {
        Self { signer, service: OnceLock::new(), handles: Striped::new(OnceLock::new) }
    }
}

impl<S: Clone> Inner<S> {
    /// Returns the handle of this core. The first one of all clones `inner`.
    #[inline]
    pub(crate) fn handle(&self, inner: &S) -> Arc<ServiceHandle<S>> {
        Arc::clone(self.handles.local().get_or_init(|| {
            let service = self.service.get_or_init(|| Arc::new(Mutex::new(inner.clone())));
            Arc::new(ServiceHandle {
                signer: Arc::clone(&self.signer),
                service: Arc::clone(service),
            })
        }))
    }
}

impl<S: Clone> ServiceHandle<S> {
    /// Returns a service that has yet to become ready.
    pub(crate) fn service(&self) -> S {
        self.lock().clone()
    }

    /// Lets later requests have what `service` has learned, such as a connection.
    pub(crate) fn update(&self, service: S) {
        let before = mem::replace(&mut *self.lock(), service);
        // Dropped without the lock, because the destructor is a user's code.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // A clone that panics leaves what it was cloned from as it is.
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
