//! What the threads that read, hold and replace a token share. The models in `cache/loom_tests.rs` put stand-ins in its
//! place, which [loom](https://docs.rs/loom) can interleave.

mod striped;
mod wake_list;

#[cfg(not(all(test, tower_reauth_loom)))]
pub(crate) use self::real::*;
#[cfg(all(test, tower_reauth_loom))]
pub(crate) use self::stand_in::*;
pub(crate) use self::{striped::Striped, wake_list::WakeList};

#[cfg(not(all(test, tower_reauth_loom)))]
mod real {
    /// An `Arc` whose count decides something, and what does not count.
    pub(crate) use std::sync::{Arc, Weak};
    pub(crate) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, fence},
    };
    use std::{
        cell::Cell,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    pub(crate) use arc_swap::ArcSwapOption;
    use tokio::runtime::Handle;
    pub(crate) use tokio::{sync::oneshot, task::AbortHandle};

    /// Whose turn it is among several copies: each thread's is always the same.
    #[derive(Default)]
    pub(crate) struct Turn(());

    impl Turn {
        /// One of `copies`, a power of two.
        #[inline]
        #[expect(clippy::unused_self, reason = "the stand-in has a state")]
        pub(crate) fn of(&self, copies: usize) -> usize {
            thread() & (copies - 1)
        }
    }

    /// The number of this thread, from 1 on.
    #[inline]
    pub(crate) fn thread() -> usize {
        thread_local! {
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
}

#[cfg(all(test, tower_reauth_loom))]
mod stand_in;
