//! [`Reader`]: reads secrets from files, on a thread of its own.
//!
//! A file may block whoever reads it, for as long as it likes: a FIFO whose writer does not come, a
//! mount whose server is gone. On Tokio's blocking pool each attempt would take one more thread of
//! it, and the runtime could not shut down. So there is one thread per source. It is started by the
//! first read, reused by all later ones, and ends with the source. A thread that is stuck holds up
//! nothing, not even the end of the process.

mod content;
mod secret_file;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::yield_now,
};

pub(crate) use self::{
    content::{read, trimmed},
    secret_file::SecretFile,
};
use crate::{clock, isolate::isolate};

/// Reads with a function that may block. Clones share the thread.
pub(crate) struct Reader<T, V>(Arc<Shared<T, V>>);

struct Shared<T, V> {
    read: fn(&T) -> Read<V>,
    from: Arc<T>,
    progress: Mutex<Progress<V>>,
}

/// The result of one read: a value, or the text of its error.
pub(crate) type Read<V> = Result<V, Arc<str>>;

struct Progress<V> {
    /// Asks the thread for one read. Dropped with the source, which ends the thread.
    thread: Option<Sender<()>>,
    /// Those who wait for the read in progress. `None` if there is none.
    waiting: Option<Vec<oneshot::Sender<Read<V>>>>,
    /// The result of a read that ended after everybody had stopped waiting. A FIFO gives it only
    /// once.
    unclaimed: Option<Read<V>>,
}

impl<T: Send + Sync + 'static, V: Clone + Send + 'static> Reader<T, V> {
    /// Creates a reader of whatever `from` names. Starts no thread.
    pub(crate) fn new(from: T, read: fn(&T) -> Read<V>) -> Self {
        let progress = Progress { thread: None, waiting: None, unclaimed: None };
        let progress = Mutex::new(progress);
        Self(Arc::new(Shared { read, from: Arc::new(from), progress }))
    }

    pub(crate) fn from(&self) -> &T {
        &self.0.from
    }

    /// Starts a read, or joins the one in progress, and waits for its end.
    ///
    /// # Cancel safety
    ///
    /// The read goes on. If nobody else waits for it, the next call gets what it brings.
    pub(crate) async fn read(&self) -> Read<V> {
        let mut ended = match self.0.begin() {
            Ok(Begun::Ended(read)) => return read,
            Ok(Begun::InProgress(ended)) => ended,
            Err(error) => return Err(format!("no thread can be started for it: {error}").into()),
        };
        if clock::is_paused() {
            // Tokio's paused clock would jump to the next timeout as soon as nothing is left to do
            // but wait, because it does not know of the thread.
            let until = clock::coarse().saturating_add(PATIENCE);
            while clock::coarse() < until {
                match ended.try_recv() {
                    Ok(read) => return read,
                    Err(TryRecvError::Empty) => yield_now().await,
                    Err(TryRecvError::Closed) => break,
                }
            }
        }
        ended.await.unwrap_or_else(|_| Err("the thread that reads it has ended".into()))
    }
}

/// How long a runtime with a paused clock waits for the thread before it lets its clock jump, in
/// nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

enum Begun<V> {
    Ended(Read<V>),
    InProgress(oneshot::Receiver<Read<V>>),
}

impl<T: Send + Sync + 'static, V: Clone + Send + 'static> Shared<T, V> {
    fn begin(self: &Arc<Self>) -> io::Result<Begun<V>> {
        let mut progress = self.lock();
        if let Some(read) = progress.unclaimed.take() {
            return Ok(Begun::Ended(read));
        }
        let (sender, ended) = oneshot::channel();
        if let Some(waiting) = &mut progress.waiting {
            waiting.retain(|waiter| !waiter.is_closed());
            waiting.push(sender);
            return Ok(Begun::InProgress(ended));
        }
        let asked = progress.thread.as_ref().is_some_and(|thread| thread.send(()).is_ok());
        if !asked {
            let (thread, reads) = mpsc::channel();
            let _ = thread.send(());
            let (this, read, from) = (Arc::downgrade(self), self.read, Arc::clone(&self.from));
            thread::Builder::new()
                .name("file-reader".into())
                .spawn(move || serve(&this, &reads, || read(&from)))?;
            progress.thread = Some(thread);
        }
        progress.waiting = Some(vec![sender]);
        Ok(Begun::InProgress(ended))
    }

    /// Gives what a read brought to all who wait for it.
    fn end(&self, read: Read<V>) {
        let mut progress = self.lock();
        let mut is_claimed = false;
        for waiter in progress.waiting.take().unwrap_or_default() {
            is_claimed |= waiter.send(read.clone()).is_ok();
        }
        // An error is not kept: it says what was, and the next read says what is.
        progress.unclaimed = if is_claimed { None } else { read.ok().map(Ok) };
    }

    fn lock(&self) -> MutexGuard<'_, Progress<V>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: one read for each that is asked for, until the source is dropped.
fn serve<T: Send + Sync + 'static, V: Clone + Send + 'static>(
    source: &Weak<Shared<T, V>>,
    reads: &Receiver<()>,
    read: impl Fn() -> Read<V>,
) {
    while reads.recv().is_ok() {
        let read = isolate(&read).unwrap_or_else(|| Err("the read has panicked".into()));
        let Some(source) = source.upgrade() else { return };
        source.end(read);
    }
}

impl<T, V> Clone for Reader<T, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, future::join_all};

    use super::*;
    use crate::credentials::Credentials;

    /// A file that blocks until it is opened, and tells which thread reads it.
    struct Blocking {
        opened: Mutex<Receiver<Read<Credentials>>>,
        readers: Sender<thread::ThreadId>,
    }

    impl Blocking {
        fn new()
        -> (Reader<Self, Credentials>, Sender<Read<Credentials>>, Receiver<thread::ThreadId>)
        {
            let (open, opened) = mpsc::channel();
            let (readers, read_by) = mpsc::channel();
            let file = Self { opened: Mutex::new(opened), readers };
            let read = |file: &Self| {
                let _ = file.readers.send(thread::current().id());
                let opened = file.opened.lock().unwrap();
                opened.recv().unwrap_or_else(|_| panic!("told to panic"))
            };
            (Reader::new(file, read), open, read_by)
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a reader returns")]
    fn id(id: &str) -> Read<Credentials> {
        Ok(Credentials::new(id, "s"))
    }

    #[tokio::test]
    async fn all_who_ask_during_a_read_share_it_and_the_next_read_reuses_the_thread() {
        let (reader, open, read_by) = Blocking::new();
        for name in ["first", "second"] {
            let mut reads: Vec<_> = (0..10)
                .map(|_| {
                    let reader = reader.clone();
                    async move { reader.read().await }.boxed()
                })
                .collect();
            assert!(join_all(&mut reads).now_or_never().is_none());
            open.send(id(name)).unwrap();
            for read in join_all(reads).await {
                assert_eq!(read.unwrap().client_id(), name);
            }
        }
        drop(reader);
        // Ends with the thread, which ends with the source.
        let threads: Vec<_> = read_by.iter().collect();
        assert_eq!(threads.len(), 2, "one read each");
        assert_eq!(threads[0], threads[1]);
    }

    #[tokio::test]
    async fn what_a_read_brings_when_nobody_waits_is_for_the_next_who_asks() {
        let (reader, open, read_by) = Blocking::new();
        assert!(reader.read().now_or_never().is_none());
        // An error is not kept, and credentials are.
        for (brought, left) in [(Err("gone".into()), None), (id("late"), Some("late"))] {
            open.send(brought).unwrap();
            while reader.0.lock().waiting.is_some() {
                tokio::task::yield_now().await;
            }
            let read = reader.read().now_or_never();
            assert_eq!(read.as_ref().map(|it| it.as_ref().unwrap().client_id()), left);
        }
        assert_eq!(read_by.try_iter().count(), 2);
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_error_and_the_next_one_works() {
        let (reader, open, _read_by) = Blocking::new();
        drop(open);
        assert!(reader.read().await.unwrap_err().contains("panicked"));
        assert!(reader.read().await.unwrap_err().contains("panicked"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_waits_for_a_read() {
        let (reader, open, _read_by) = Blocking::new();
        let opener = thread::spawn(move || {
            // Long after a runtime with nothing to do has let its clock jump.
            thread::park_timeout(Duration::from_millis(30));
            open.send(id("soon")).unwrap();
        });
        let read = tokio::time::timeout(Duration::from_secs(1), reader.read()).await;
        assert_eq!(read.unwrap().unwrap().client_id(), "soon");
        opener.join().unwrap();
    }
}
