//! [`LocalStore`]: the operations, on threads that may block.

use std::{fmt, path::Path, sync::Arc};

use futures_util::Stream;
use tokio::{runtime::Handle, sync::Semaphore, task::JoinHandle};
use zeroize::Zeroizing;

use super::{
    fault::Fault,
    files::{Change, Files},
    record::MAX_VALUE,
    watcher::Watcher,
};
use crate::{
    error::ConfigError,
    isolate::isolate,
    store::{
        error::StoreError,
        name::Name,
        token_store::{Notice, Swap, Versioned},
    },
};

/// How many threads of a runtime the operations of one store occupy at most. A disk that hangs
/// would take one more with each operation.
const MAX_THREADS: usize = 8;

/// A store where the platform has what it takes.
#[derive(Clone)]
pub(super) struct LocalStore {
    files: Arc<Files>,
    threads: Arc<Semaphore>,
    watcher: Arc<Watcher>,
}

impl LocalStore {
    pub(super) fn open(path: &Path) -> Result<Self, ConfigError> {
        let files = Arc::new(Files::open(path).map_err(Fault::into_config)?);
        let watcher = Watcher::new(Arc::clone(&files));
        Ok(Self { files, threads: Arc::new(Semaphore::new(MAX_THREADS)), watcher })
    }

    pub(super) async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        let name = name.clone();
        self.run(move |files| files.get(&name)).await
    }

    pub(super) async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
    ) -> Result<Swap, StoreError> {
        if value.len() > MAX_VALUE {
            return Err(StoreError::unusable(format!(
                "a value of {} bytes is larger than {MAX_VALUE} bytes",
                value.len()
            )));
        }
        let value = Zeroizing::new(value.to_vec());
        let change = Arc::new(Change { name: name.clone(), old, new, value });
        loop {
            let change = Arc::clone(&change);
            if let Some(swap) = self.run(move |files| files.swap(&change)).await? {
                return Ok(swap);
            }
        }
    }

    pub(super) fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        self.watcher.watch(name)
    }

    /// Runs `operation` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Files) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = || StoreError::unavailable("the runtime has shut down");
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| ended())?;
        let Ok(runtime) = Handle::try_current() else {
            return Err(StoreError::unavailable("there is no Tokio runtime here"));
        };
        let files = Arc::clone(&self.files);
        let operation = move || {
            // The thread gives it back, not a caller who has stopped waiting.
            let _permit = permit;
            operation(&files)
        };
        // Tokio panics if it can't start a thread.
        let Some(task) = isolate(|| runtime.spawn_blocking(operation)) else {
            return Err(StoreError::unavailable("no thread can be started"));
        };
        match (&mut Operation(task).0).await {
            Ok(result) => Ok(result?),
            Err(error) if error.is_panic() => Err(StoreError::unavailable("an operation panicked")),
            Err(_) => Err(ended()),
        }
    }
}

/// An operation that is called off when dropped, unless it is running.
///
/// An operation that waits for a thread could otherwise begin long after its caller has given up.
struct Operation<T>(JoinHandle<T>);

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.files.path(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_occupies_a_few_threads_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store")).unwrap();
        let (start, started) = mpsc::channel();
        for round in 0..3 {
            let (open, opened) = mpsc::channel::<()>();
            let opened = Arc::new(std::sync::Mutex::new(opened));
            let callers = join_all((0..MAX_THREADS * 2).map(|_| {
                let (start, opened) = (start.clone(), Arc::clone(&opened));
                store.run(move |_| {
                    start.send(()).unwrap();
                    let _ = opened.lock().unwrap().recv();
                    Ok(())
                })
            }));
            let mut callers = callers.boxed();
            assert!((&mut callers).now_or_never().is_none(), "round {round}");
            for _ in 0..MAX_THREADS {
                started.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            assert!(started.recv_timeout(Duration::from_millis(20)).is_err(), "round {round}");
            drop(callers);
            let start = start.clone();
            let late = store.run(move |_| {
                start.send(()).unwrap();
                Ok(())
            });
            let mut late = late.boxed();
            assert!((&mut late).now_or_never().is_none());
            let began = started.recv_timeout(Duration::from_millis(20));
            assert!(began.is_err(), "callers who gave up make no room");
            drop(late);
            drop(open);
            while store.threads.available_permits() < MAX_THREADS {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn an_operation_that_panics_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store")).unwrap();
        let error = store.run(|_| -> Result<(), _> { panic!("told to panic") }).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(store.threads.available_permits(), MAX_THREADS);
    }
}
