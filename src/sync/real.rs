//! The names as they are outside of models.

pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, Weak,
    atomic::{AtomicU64, fence},
};
use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

pub(crate) use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
pub(crate) use tokio::{sync::oneshot, task::AbortHandle};

/// Chooses among several copies. Each thread always gets the same one.
#[derive(Default)]
pub(crate) struct Turn(());

impl Turn {
    /// Returns the index of this thread's copy. `copies` is a power of two.
    #[inline]
    #[expect(clippy::unused_self, reason = "the stand-in has a state")]
    pub(crate) fn of(&self, copies: usize) -> usize {
        thread() & (copies - 1)
    }
}

/// Returns the number of this thread, from 1 on.
#[inline]
pub(crate) fn thread() -> usize {
    thread_local! {
        /// 0 until this thread has a number.
        static THREAD: Cell<usize> = const { Cell::new(0) };
    }

    #[cold]
    fn enter() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        THREAD.set(NEXT.fetch_add(1, Relaxed));
        THREAD.get()
    }

    match THREAD.get() {
        0 => enter(),
        thread => thread,
    }
}

#[inline]
pub(crate) fn spawn(
    runtime: &Handle,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    runtime.spawn(task).abort_handle()
}
