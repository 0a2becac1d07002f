//! [`Template`]: where a request that waits, or is sent again, gets a service of its own.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{layer::Shared, stripe::Striped};

/// What such a request takes along: a count of this instead of a clone of the service, which only few of them will need.
/// Aligned so that the count shares no cache line with anything else.
#[repr(align(128))]
pub(crate) struct Template<S> {
    pub(crate) shared: Arc<Shared>,
    /// Behind a lock because a service need not be `Sync`, and its futures are to be `Send` all the same.
    service: Arc<Mutex<S>>,
}

/// A template with a copy of it for each core.
pub(crate) type Templates<S> = Striped<Arc<Template<S>>>;

impl<S: Clone> Template<S> {
    pub(crate) fn striped(service: S, shared: &Arc<Shared>) -> Arc<Templates<S>> {
        let service = Arc::new(Mutex::new(service));
        let copy = || Arc::new(Self { shared: Arc::clone(shared), service: Arc::clone(&service) });
        Arc::new(Striped::new(copy))
    }

    /// A service that has yet to become ready.
    pub(crate) fn service(&self) -> S {
        // A clone that panics leaves what it was made from as it is.
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
