//! Stand-ins for the names of `real`, for loom. Each has the part of the original's interface that
//! is in use.
//!
//! None of them holds a lock of the standard library across an operation of loom's. Another thread
//! of the model may go on there, and all threads of a model are one thread of the machine: it would
//! wait for itself.

use std::{
    ops::Deref,
    pin::pin,
    sync::{
        self as std_sync,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, fence},
};
use loom::{
    sync::atomic::{AtomicBool as AtomicFlag, AtomicUsize, Ordering},
    thread,
};
use tokio::runtime::Handle;

/// The standard library's `Arc` with its memory orderings. Loom's own `Arc` always reports the
/// latest count. This one reports any count that a relaxed load may see.
pub(crate) struct Arc<T> {
    value: std_sync::Arc<T>,
    count: std_sync::Arc<AtomicUsize>,
}

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: std_sync::Arc::new(value), count: std_sync::Arc::new(AtomicUsize::new(1)) }
    }

    pub(crate) fn strong_count(this: &Self) -> usize {
        this.count.load(Ordering::Relaxed)
    }

    pub(crate) fn downgrade(this: &Self) -> Weak<T> {
        Weak(Some((std_sync::Arc::downgrade(&this.value), std_sync::Arc::clone(&this.count))))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        self.count.fetch_add(1, Ordering::Relaxed);
        Self { value: std_sync::Arc::clone(&self.value), count: std_sync::Arc::clone(&self.count) }
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        // No other thread goes on between this and the drop of `value`, so both counts agree.
        if self.count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The standard library's `Weak`, whose `upgrade` is relaxed here. Its documentation promises no
/// ordering, so no user may rely on one.
pub(crate) struct Weak<T>(Option<(std_sync::Weak<T>, std_sync::Arc<AtomicUsize>)>);

impl<T> Default for Weak<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Weak<T> {
    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        let (value, count) = self.0.as_ref()?;
        let increment = |count| (count > 0).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increment).ok()?;
        Some(Arc { value: value.upgrade()?, count: std_sync::Arc::clone(count) })
    }
}

/// The standard library's cell that is set once. A reader that finds the value sees what was
/// written before it was set.
pub(crate) struct OnceLock<T> {
    value: std_sync::OnceLock<T>,
    is_set: AtomicFlag,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std_sync::OnceLock::new(), is_set: AtomicFlag::new(false) }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.is_set.load(Ordering::Acquire).then(|| self.value.get()).flatten()
    }
}

/// The pointer of `arc-swap`, as its users see it. A loaded value is kept alive and counted.
pub(crate) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for ArcSwapOption<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> ArcSwapOption<T> {
    pub(crate) fn load(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn swap(&self, new: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut *self.0.lock().unwrap(), new)
    }
}

impl<T> Drop for ArcSwapOption<T> {
    /// Takes the lock once more, which orders this drop after all that other threads did. For the
    /// original, the last drop of the cache's `Arc` does so, but that `Arc` is not loom's.
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

/// Gives the copies in turn, whoever asks. The threads of a model can't be told apart, because they
/// are one thread of the machine.
#[derive(Default)]
pub(crate) struct Turn(std::sync::atomic::AtomicUsize);

impl Turn {
    pub(crate) fn of(&self, copies: usize) -> usize {
        self.0.fetch_add(1, SeqCst) % copies
    }
}

pub(crate) fn thread() -> usize {
    1
}

/// Tokio's `oneshot`, for one waiter. The sender is only ever dropped.
pub(crate) mod oneshot {
    use std::{
        marker::PhantomData,
        pin::Pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    use super::Mutex;

    #[derive(Clone, Debug)]
    pub(crate) struct RecvError;

    #[derive(Default)]
    struct Channel {
        closed: bool,
        waker: Option<Waker>,
    }

    pub(crate) struct Sender<T>(Arc<Mutex<Channel>>, PhantomData<T>);
    pub(crate) struct Receiver<T>(Arc<Mutex<Channel>>, PhantomData<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new(Mutex::new(Channel::default()));
        (Sender(Arc::clone(&channel), PhantomData), Receiver(channel, PhantomData))
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            let mut channel = self.0.lock().unwrap();
            channel.closed = true;
            let waker = channel.waker.take();
            drop(channel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let mut channel = self.0.lock().unwrap();
            if channel.closed {
                return Poll::Ready(Err(RecvError));
            }
            channel.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

/// The handle that would stop a task. A thread of a model can't be stopped.
pub(crate) struct AbortHandle;

impl AbortHandle {
    pub(crate) fn abort(&self) {}

    pub(crate) fn is_finished(&self) -> bool {
        false
    }
}

/// Runs `task` as a thread of the model.
pub(crate) fn spawn(_: &Handle, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    thread::spawn(move || block_on(task));
    AbortHandle
}

/// Works like loom's own `block_on`, but no other thread may go on while a waker runs. Others wake
/// under locks of theirs.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let parker = std_sync::Arc::new(Parker {
        thread: thread::current(),
        woken: false.into(),
        is_parked: false.into(),
    });
    let waker = Waker::from(std_sync::Arc::clone(&parker));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        if !parker.woken.swap(false, SeqCst) {
            parker.is_parked.store(true, SeqCst);
            thread::park();
            parker.woken.store(false, SeqCst);
        }
    }
}

struct Parker {
    thread: thread::Thread,
    woken: AtomicBool,
    is_parked: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: std_sync::Arc<Self>) {
        self.woken.store(true, SeqCst);
        // Unparks a parked thread only. To loom, a thread that waits for a lock looks the same as a
        // parked one, and would go on without the lock.
        if self.is_parked.swap(false, SeqCst) {
            self.thread.unpark();
        }
    }
}
