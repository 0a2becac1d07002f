//! [`LocalStore`]: the operations, on threads that may block.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::Stream;
use tokio::{runtime::Handle, sync::Semaphore, task::JoinHandle};
use zeroize::Zeroizing;

use super::{
    directory::Directory,
    fault::Fault,
    record::{self, MAX_VALUE, Moment},
    watcher::Watcher,
};
use crate::{
    clock,
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

/// How often, and with which pause, a thread tries to take a lock before others get their turn. A
/// change holds the lock for about a millisecond.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// A store where the platform has what it takes.
#[derive(Clone)]
pub(super) struct LocalStore {
    files: Arc<Files>,
    threads: Arc<Semaphore>,
    watcher: Arc<Watcher>,
}

/// Where the files are, and in which boot of the machine this process runs.
pub(super) struct Files {
    path: PathBuf,
    boot: u128,
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

/// The arguments of a compare-and-set.
struct Change {
    name: Name,
    old: u64,
    new: u64,
    value: Zeroizing<Vec<u8>>,
}

impl Files {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let absolute = std::path::absolute(path)
            .map_err(|error| Fault::io(path, "can't be made absolute", error))?;
        // Without the slash at the end, which would have a symlink followed.
        let path: PathBuf = absolute.components().collect();
        Directory::open_or_create(&path)?.check_locks()?;
        let boot = boot_id().ok_or_else(|| {
            Fault::unusable(&path, format!("is of no use without {BOOT_ID}, which can't be read"))
        })?;
        Ok(Self { path, boot })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn get(&self, name: &Name) -> Result<Option<Versioned>, Fault> {
        match Directory::open(&self.path)? {
            Some(directory) => directory.read(name, self.boot),
            None => Ok(None),
        }
    }

    /// Compares and sets; `None` if others hold the lock for longer than this may take.
    fn swap(&self, change: &Change) -> Result<Option<Swap>, Fault> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            if let Some(swap) = self.try_swap(change)? {
                return Ok(Some(swap));
            }
        }
        Ok(None)
    }

    fn try_swap(&self, change: &Change) -> Result<Option<Swap>, Fault> {
        let Change { name, old, new, value } = change;
        let directory = Directory::open_or_create(&self.path)?;
        let Some(lock) = directory.try_lock(name)? else { return Ok(None) };
        let found = directory.read(name, self.boot)?;
        if found.as_ref().map_or(0, |found| found.revision) != *old {
            return Ok(Some(Swap::Conflict(found)));
        }
        // The clock is read before the change takes effect, so that the age is never too small.
        let changed = Moment { boot: self.boot, uptime: clock::uptime() };
        let is_replaced = directory.replace(name, &record::encode(*new, changed, value), &lock)?;
        Ok(is_replaced.then_some(Swap::Done))
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id() -> Option<u128> {
    let uuid = fs::read_to_string(BOOT_ID).ok()?;
    u128::from_str_radix(&uuid.trim().replace('-', ""), 16).ok()
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.files.path, f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
