use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use futures_util::{FutureExt as _, StreamExt as _, pin_mut};
use tempfile::TempDir;

use super::*;
use crate::store::file::{local::LocalStore, record::MAX_VALUE};

struct Fixture {
    _folder: TempDir,
    path: PathBuf,
    store: LocalStore,
    name: Name,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = LocalStore::open(&path).unwrap();
        Self { _folder: folder, path, store, name: Name::new("name").unwrap() }
    }

    /// Replaces the value as another process does.
    async fn set(&self, old: u64, new: u64) {
        let other = LocalStore::open(&self.path).unwrap();
        other.compare_and_set(&self.name, old, new, &[7; MAX_VALUE]).await.unwrap();
    }

    fn files(&self) -> Arc<Files> {
        Arc::new(Files::open(&self.path).unwrap())
    }
}

fn revision(notice: Option<Notice>) -> Option<u64> {
    match notice.unwrap() {
        Notice::Changed { revision, .. } => Some(revision),
        Notice::Gap => None,
    }
}

fn new_wake() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

const LATE: u64 = 10_000_000_000;

#[tokio::test]
async fn a_stream_begins_with_a_gap_and_goes_on_with_the_changes_of_its_name() {
    let it = Fixture::new();
    it.set(0, 1).await;
    let other = it.store.watch(&Name::new("other").unwrap());
    let (first, second) = (it.store.watch(&it.name), it.store.watch(&it.name));
    pin_mut!(first, second, other);
    let began = clock::coarse();
    for stream in [&mut first as &mut (dyn Stream<Item = Notice> + Unpin), &mut second, &mut other]
    {
        assert_eq!(revision(stream.next().await), None);
    }
    assert!(clock::coarse() < began + 1_000_000_000, "none of them waits for the next scan");
    it.set(1, 5).await;
    let notice = first.next().await.unwrap();
    let value = vec![7; MAX_VALUE].into();
    assert_eq!(notice, Notice::Changed { revision: 5, value });
    assert_eq!(revision(second.next().await), Some(5));
    assert!(other.next().now_or_never().is_none());
    assert!(first.next().now_or_never().is_none());
}

#[tokio::test]
async fn of_several_changes_a_stream_gives_the_newest() {
    let it = Fixture::new();
    let stream = it.store.watch(&it.name);
    pin_mut!(stream);
    assert_eq!(revision(stream.next().await), None);
    for old in 0..20 {
        it.set(old, old + 1).await;
    }
    let mut last = 0;
    while last < 20 {
        let next = revision(stream.next().await).unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[tokio::test]
async fn a_file_that_goes_or_can_no_longer_be_read_is_a_gap() {
    let it = Fixture::new();
    it.set(0, 1).await;
    let watcher = Watcher::new(it.files());
    let stream = watcher.watch(&it.name);
    pin_mut!(stream);
    assert_eq!(revision(stream.next().await), None);
    let file = it.path.join("name");
    for (mode, told) in [(0o644, None), (0o600, Some(1))] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        // The next scan, at once.
        watcher.check(&it.name);
        assert_eq!(revision(stream.next().await), told);
        watcher.check(&it.name);
        assert!(stream.next().now_or_never().is_none(), "a scan that finds the same is no news");
    }
    fs::remove_dir_all(&it.path).unwrap();
    assert_eq!(revision(stream.next().await), None);
    it.set(0, 2).await;
    assert_eq!(revision(stream.next().await), Some(2));
}

#[tokio::test]
async fn the_thread_lives_as_long_as_a_stream_does_and_starts_again() {
    let it = Fixture::new();
    let watcher = Watcher::new(it.files());
    let thread = || watcher.lock().thread.clone();
    for _ in 0..3 {
        assert!(thread().is_none());
        let mut streams: Vec<_> = (0..3).map(|_| watcher.watch(&it.name).boxed()).collect();
        assert!(thread().is_none(), "a stream that nobody polls needs none");
        for stream in &mut streams {
            assert_eq!(revision(stream.next().await), None);
        }
        assert_eq!(watcher.lock().names.len(), 1);
        let wake = thread().unwrap();
        streams.truncate(1);
        assert!(thread().is_some_and(|it| Arc::ptr_eq(&it, &wake)), "one for all of them");
        assert_eq!(watcher.lock().names.len(), 1);
        drop(streams);
        assert_eq!(watcher.lock().names.len(), 0);
        let dropped = clock::coarse();
        while thread().is_some() {
            assert!(clock::coarse() < dropped + LATE, "the thread goes on");
            thread::yield_now();
        }
        assert!(clock::coarse() < dropped + 1_000_000_000, "it ends before the next scan");
    }
}

#[tokio::test]
async fn inotify_names_the_file_that_was_replaced() {
    let it = Fixture::new();
    let (mut events, wake) = (Events::new(&it.path), new_wake());
    assert!(events.inotify.is_some());
    events.scan_at = clock::coarse() + LATE;
    it.set(0, 1).await;
    let Due::Some(names) = events.wait(&wake) else { panic!("a scan") };
    assert_eq!(names, std::slice::from_ref(&it.name), "and no lock or temporary file");
    ring(&wake);
    let Due::Some(names) = events.wait(&wake) else { panic!("a scan") };
    assert_eq!(names, [], "there is a new stream");
}

#[test]
fn all_files_are_read_from_time_to_time_and_more_often_without_inotify() {
    let it = Fixture::new();
    let wake = new_wake();
    for (path, pause) in [(&*it.path, SCAN), (&*it.path.join("missing"), BLIND_SCAN)] {
        let mut events = Events::new(path);
        let mut began = clock::coarse();
        for _ in 0..2 {
            let until_scan = Duration::from_nanos(events.scan_at - began);
            assert!(until_scan >= pause && until_scan < pause * 2, "{until_scan:?}, {pause:?}");
            began = clock::coarse();
            events.scan_at = began + 10_000_000;
            assert!(matches!(events.wait(&wake), Due::All));
            assert!(clock::coarse() >= began + 10_000_000);
        }
    }
}

#[test]
fn inotify_is_armed_again_when_its_directory_is_another_one() {
    let it = Fixture::new();
    let (mut events, wake) = (Events::new(&it.path), new_wake());
    events.scan_at = clock::coarse() + LATE;
    fs::remove_dir(&it.path).unwrap();
    assert!(matches!(events.wait(&wake), Due::All));
    assert!(events.inotify.is_none());
    fs::create_dir(&it.path).unwrap();
    assert!(matches!(events.wait(&wake), Due::All), "for what was written before");
    assert!(events.inotify.is_some());
}

#[tokio::test]
async fn a_waker_that_panics_ends_no_other_stream() {
    use std::{
        panic,
        task::{Context, Wake, Waker},
    };

    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("told to panic");
        }
    }

    let it = Fixture::new();
    let (first, second) = (it.store.watch(&it.name), it.store.watch(&Name::new("b").unwrap()));
    pin_mut!(first, second);
    assert_eq!(revision(first.next().await), None);
    assert_eq!(revision(second.next().await), None);
    let waker = Waker::from(Arc::new(Panics));
    assert!(first.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    it.set(0, 1).await;
    let other = LocalStore::open(&it.path).unwrap();
    other.compare_and_set(&Name::new("b").unwrap(), 0, 1, b"").await.unwrap();
    let next = tokio::time::timeout(Duration::from_nanos(LATE), second.next()).await;
    assert_eq!(revision(next.unwrap()), Some(1));
}
