//! [`ServiceHandle`]: where a request that waits, or is sent again, gets a service of its own.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::signer::Signer;
use crate::sync::Striped;

/// What such a request takes along: a count of this instead of a clone of the service, which only few of them will need.
/// Aligned so that the count shares no cache line with anything else.
#[repr(align(128))]
pub(crate) struct ServiceHandle<S> {
    pub(crate) signer: Arc<Signer>,
    service: Arc<Mutex<S>>,
}

/// What a service and its clones have in common: the layer's settings, and a handle with a copy for each core.
pub(crate) struct Inner<S> {
    pub(crate) signer: Arc<Signer>,
    /// Behind a lock because a service need not be `Sync`, and its futures are to be `Send` all the same.
    service: OnceLock<Arc<Mutex<S>>>,
    handles: Striped<OnceLock<Arc<ServiceHandle<S>>>>,
}

impl<S> Inner<S> {
    pub(crate) fn new(signer: Arc<Signer>) -> Self {
        Self { signer, service: OnceLock::new(), handles: Striped::new(OnceLock::new) }
    }
}

impl<S: Clone> Inner<S> {
    /// The handle of this core. The first one of all is made from `inner`.
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
    /// A service that has yet to become ready.
    pub(crate) fn service(&self) -> S {
        self.lock().clone()
    }

    /// Lets later requests have what this one knows, a connection say.
    pub(crate) fn update(&self, service: S) {
        let before = mem::replace(&mut *self.lock(), service);
        // Not under the lock.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        // A clone that panics leaves what it was made from as it is.
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
