//! [`Watcher`]: tells the streams of a store what changes in its directory.
//!
//! One thread serves all streams of a store. It starts with the first of them and ends with the
//! last. It sleeps until inotify reports that a file was replaced, and then reads that file. Every
//! [`SCAN`] it reads all files that are watched, in case an event was lost. The kernel may refuse
//! it inotify, of which a user has 128 by default. It then reads all files every [`BLIND_SCAN`].

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use futures_util::{Stream, stream};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::{
        Timespec,
        inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    },
};
use tokio::sync::watch;

use super::files::Files;
use crate::{
    clock::{self, Alarm},
    isolate::isolate,
    store::{name::Name, token_store::Notice},
};

const SCAN: Duration = Duration::from_secs(2);
const BLIND_SCAN: Duration = Duration::from_millis(250);

/// The longest tick of the kernel.
const TICK: Duration = Duration::from_millis(10);

/// How long a stream waits before it tries again to start the thread.
const RETRY: Duration = Duration::from_secs(2);

/// The state that the streams of a store share with its thread.
pub(super) struct Watcher {
    files: Arc<Files>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: HashMap<Name, Entry>,
    /// Wakes the thread. `None` if there is none.
    thread: Option<Arc<OwnedFd>>,
}

/// A name that has a stream.
struct Entry {
    notices: watch::Sender<Option<Notice>>,
    /// The file as the thread last saw it. `None` if it has not read it yet.
    seen: Option<Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Unreadable,
    Absent,
    Revision(u64),
}

impl Watcher {
    pub(super) fn new(files: Arc<Files>) -> Arc<Self> {
        Arc::new(Self { files, state: Mutex::default() })
    }

    /// Returns the changes of the file of `name`.
    pub(super) fn watch(
        self: &Arc<Self>,
        name: &Name,
    ) -> impl Stream<Item = Notice> + Send + 'static {
        stream::unfold(Watch::New(Arc::clone(self), name.clone()), Watch::next)
    }

    /// Adds a stream. Starts the thread if there is none.
    fn subscribe(self: &Arc<Self>, name: &Name) -> io::Result<Subscription> {
        let mut state = self.lock();
        let wake = match &state.thread {
            Some(wake) => Arc::clone(wake),
            None => Arc::clone(state.thread.insert(self.start()?)),
        };
        let entry = state
            .names
            .entry(name.clone())
            .or_insert_with(|| Entry { notices: watch::Sender::new(None), seen: None });
        let notices = entry.notices.subscribe();
        if entry.seen.is_none() {
            ring(&wake);
        }
        Ok(Subscription { notices, watcher: Arc::clone(self), name: name.clone() })
    }

    fn start(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (this, woken) = (Arc::clone(self), Arc::clone(&wake));
        thread::Builder::new().name("file-store".into()).spawn(move || this.serve(&woken))?;
        Ok(wake)
    }

    /// The thread: reads files until no stream is left.
    fn serve(&self, wake: &OwnedFd) {
        let mut events = Events::new(self.files.path());
        let mut due = Due::All;
        while let Some(names) = self.watched(&due) {
            for name in names {
                self.check(&name);
            }
            due = events.wait(wake);
        }
    }

    /// Returns the names of `due` that are watched, and those that were not read yet. Returns
    /// `None` if no stream is left, which ends the thread.
    fn watched(&self, due: &Due) -> Option<Vec<Name>> {
        let mut state = self.lock();
        if state.names.is_empty() {
            state.thread = None;
            return None;
        }
        let is_due = |name: &Name| match due {
            Due::All => true,
            Due::Some(names) => names.contains(name),
        };
        let watched =
            state.names.iter().filter(|(name, entry)| entry.seen.is_none() || is_due(name));
        Some(watched.map(|(name, _)| name.clone()).collect())
    }

    /// Reads the file of `name`, and tells its streams if it has changed.
    fn check(&self, name: &Name) {
        let (seen, notice) = match self.files.get(name) {
            Ok(Some(found)) => {
                let revision = found.revision;
                (Seen::Revision(revision), Notice::Changed { revision, value: found.value })
            }
            Ok(None) => (Seen::Absent, Notice::Gap),
            // The caller gets the value now, and learns of the error.
            Err(_) => (Seen::Unreadable, Notice::Gap),
        };
        let mut state = self.lock();
        let Some(entry) = state.names.get_mut(name) else { return };
        if entry.seen == Some(seen) {
            return;
        }
        entry.seen = Some(seen);
        let notices = entry.notices.clone();
        drop(state);
        // Wakes the streams, whose wakers are foreign code.
        isolate(|| notices.send_replace(Some(notice)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's state.
enum Watch {
    New(Arc<Watcher>, Name),
    Live(Subscription),
}

impl Watch {
    async fn next(self) -> Option<(Notice, Self)> {
        match self {
            Self::New(watcher, name) => {
                let mut subscription = loop {
                    match watcher.subscribe(&name) {
                        Ok(subscription) => break subscription,
                        Err(_) => pause(RETRY).await,
                    }
                };
                // From the first reading of the file on, no change of it goes unseen.
                subscription.notices.wait_for(Option::is_some).await.ok()?;
                Some((Notice::Gap, Self::Live(subscription)))
            }
            Self::Live(mut subscription) => {
                subscription.notices.changed().await.ok()?;
                let notice = subscription.notices.borrow_and_update().clone()?;
                Some((notice, Self::Live(subscription)))
            }
        }
    }
}

async fn pause(time: Duration) {
    let mut alarm = Alarm::at(clock::later(clock::now(), time));
    poll_fn(|cx| alarm.poll(cx)).await;
}

/// A stream as the watcher knows it, until it is dropped.
struct Subscription {
    notices: watch::Receiver<Option<Notice>>,
    watcher: Arc<Watcher>,
    name: Name,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watcher.lock();
        // Its own receiver counts still.
        if state.names.get(&self.name).is_some_and(|it| it.notices.receiver_count() <= 1) {
            state.names.remove(&self.name);
        }
        if let (true, Some(wake)) = (state.names.is_empty(), &state.thread) {
            ring(wake);
        }
    }
}

fn ring(wake: &OwnedFd) {
    // It fails only if the thread has 2^64 of them to hear.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}

/// The files that the thread is to read.
enum Due {
    All,
    Some(Vec<Name>),
}

/// The sources of the thread's work: inotify, and the time of the next scan.
struct Events<'a> {
    path: &'a Path,
    inotify: Option<OwnedFd>,
    /// When to read all files, in nanoseconds of the coarse clock.
    scan_at: u64,
}

impl<'a> Events<'a> {
    fn new(path: &'a Path) -> Self {
        let mut events = Self { path, inotify: arm(path), scan_at: 0 };
        events.schedule();
        events
    }

    /// Sleeps until there is something to read.
    fn wait(&mut self, wake: &OwnedFd) -> Due {
        if self.inotify.is_none() {
            self.inotify = arm(self.path);
            if self.inotify.is_some() {
                // Changes from before that were reported to nobody.
                self.schedule();
                return Due::All;
            }
        }
        self.sleep(wake);
        let changed = self.changed();
        if clock::coarse() >= self.scan_at {
            self.schedule();
            return Due::All;
        }
        changed
    }

    fn schedule(&mut self) {
        let pause = if self.inotify.is_some() { SCAN } else { BLIND_SCAN };
        let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.scan_at = clock::coarse().saturating_add(pause);
    }

    fn sleep(&self, wake: &OwnedFd) {
        let left = Duration::from_nanos(self.scan_at.saturating_sub(clock::coarse()));
        // The coarse clock is behind by a tick at most, and would have it sleep once more.
        let timeout = Timespec::try_from(left + TICK).ok();
        let mut sources = vec![PollFd::new(wake, PollFlags::IN)];
        sources.extend(self.inotify.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
        // A signal ends it early, which costs one more round.
        let _ = poll(&mut sources, timeout.as_ref());
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }

    /// Returns the files that were replaced. Closes inotify if it reports no more.
    fn changed(&mut self) -> Due {
        let Some(inotify) = &self.inotify else { return Due::Some(Vec::new()) };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify.as_fd(), &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = reader.next() {
            let gone = ReadFlags::IGNORED
                | ReadFlags::UNMOUNT
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::QUEUE_OVERFLOW;
            if event.events().intersects(gone) {
                self.inotify = None;
                self.schedule();
                return Due::All;
            }
            let file_name = event.file_name().and_then(|name| name.to_str().ok());
            names.extend(file_name.and_then(Name::new));
        }
        Due::Some(names)
    }
}

/// Starts to watch the directory for files that are moved to a name, which is how a value changes.
fn arm(path: &Path) -> Option<OwnedFd> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let events = WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::DONT_FOLLOW;
    inotify::add_watch(&inotify, path, events).ok()?;
    Some(inotify)
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("names", &self.lock().names.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
