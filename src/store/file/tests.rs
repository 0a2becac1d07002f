//! Tests of one process. Those of several processes are in `tests/stacks/file_store`.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
};

use futures_util::{FutureExt as _, pin_mut};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::{
    directory::Directory,
    record::{self, Moment},
    *,
};

const KEEP: Duration = Duration::from_secs(3600);

/// A store in a directory that it has created, and a name in it.
struct Fixture {
    folder: TempDir,
    path: PathBuf,
    store: FileStore,
    name: Name,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = FileStore::open(&path).unwrap();
        Self { folder, path, store, name: Name::new("name").unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    async fn get(&self) -> Option<Versioned> {
        self.store.get(&self.name).await.unwrap()
    }

    async fn set(&self, old: u64, new: u64, value: &[u8]) -> Result<Swap, StoreError> {
        self.store.compare_and_set(&self.name, old, new, value, KEEP).await
    }

    fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Expects both operations to fail with the path of `file` and `reason`.
    async fn refuses(&self, file: &str, reason: &str) {
        let path = self.file(file).display().to_string();
        let set = self.set(0, 9, b"value").await.unwrap_err();
        let mut errors = vec![set];
        if file == "name" {
            errors.push(self.store.get(&self.name).await.unwrap_err());
        }
        for error in errors {
            let text = error.to_string();
            assert!(text.contains(&path) && text.contains(reason), "{file}, {reason}: {text}");
            assert!(!error.is_transient() && !error.is_denied(), "{error:?}");
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes a file of another user. Returns `false` if this user can't.
fn give_away(path: &Path) -> bool {
    std::os::unix::fs::chown(path, Some(65534), None).is_ok()
}

#[tokio::test]
async fn a_value_is_replaced_by_who_knows_its_revision() {
    let it = Fixture::new();
    assert_eq!(it.get().await, None);
    assert_eq!(it.set(1, 2, b"early").await.unwrap(), Swap::Conflict(None));
    assert_eq!(it.set(0, 10, b"first").await.unwrap(), Swap::Done);
    let Swap::Conflict(Some(found)) = it.set(0, 11, b"late").await.unwrap() else {
        panic!("revision 0 was replaced twice")
    };
    assert_eq!((found.revision, &found.value[..]), (10, &b"first"[..]));
    assert!(found.age < Duration::from_secs(60), "{:?}", found.age);
    assert_eq!(it.set(10, 12, b"second").await.unwrap(), Swap::Done);
    // The store of another process.
    let other = FileStore::open(&it.path).unwrap();
    let found = other.get(&it.name).await.unwrap().unwrap();
    assert_eq!((found.revision, &found.value[..]), (12, &b"second"[..]));
    assert_eq!(other.get(&Name::new("other").unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_value_ages_from_its_change_on() {
    let it = Fixture::new();
    let before = crate::clock::uptime();
    it.set(0, 1, b"value").await.unwrap();
    let changed = crate::clock::uptime();
    while crate::clock::uptime() < changed + Duration::from_millis(20) {
        tokio::task::yield_now().await;
    }
    let asked = crate::clock::uptime();
    let age = it.get().await.unwrap().age;
    let now = crate::clock::uptime();
    assert!(asked.saturating_sub(changed) <= age && age <= now.saturating_sub(before), "{age:?}");
    it.set(1, 2, b"value").await.unwrap();
    let age = it.get().await.unwrap().age;
    assert!(
        age <= crate::clock::uptime().saturating_sub(asked),
        "a change starts it anew: {age:?}"
    );
}

#[tokio::test]
async fn directory_and_files_are_for_their_owner_alone() {
    let it = Fixture::new();
    it.set(0, 1, b"value").await.unwrap();
    assert_eq!(mode(&it.path), 0o700);
    assert_eq!(it.entries(), ["name", "name.lock"]);
    assert_eq!((mode(&it.file("name")), mode(&it.file("name.lock"))), (0o600, 0o600));
}

#[test]
fn a_directory_that_others_have_a_right_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let refused = |path: &Path, reason: &str| {
        let error = FileStore::open(path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/store") && text.contains(reason), "{reason}: {text}");
        assert!(matches!(error, ConfigError::FileStore { .. }), "{error:?}");
    };
    refused(&path.join("child"), "can't be created");
    fs::write(&path, b"").unwrap();
    refused(&path, "choose a directory");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    for (mode, shown) in [(0o750, "0750"), (0o701, "0701"), (0o720, "0720"), (0o777, "0777")] {
        set_mode(&path, mode);
        refused(&path, shown);
    }
    set_mode(&path, 0o700);
    FileStore::open(&path).unwrap();

    let link = folder.path().join("a").join("store");
    fs::create_dir(folder.path().join("a")).unwrap();
    symlink(&path, &link).unwrap();
    refused(&link, "choose a directory, and no symlink");
    refused(&link.join(""), "choose a directory, and no symlink");
    refused(&link.join("."), "choose a directory, and no symlink");

    if give_away(&path) {
        refused(&path, "belongs to user 65534");
    }
}

#[tokio::test]
async fn a_directory_that_changes_later_is_refused_too() {
    let it = Fixture::new();
    it.set(0, 1, b"value").await.unwrap();
    set_mode(&it.path, 0o755);
    for error in [it.store.get(&it.name).await.unwrap_err(), it.set(1, 2, b"").await.unwrap_err()] {
        assert!(error.to_string().contains("/store has the mode 0755"), "{error}");
    }
    let moved = it.folder.path().join("moved");
    fs::rename(&it.path, &moved).unwrap();
    set_mode(&moved, 0o700);
    symlink(&moved, &it.path).unwrap();
    assert!(it.set(1, 2, b"").await.unwrap_err().to_string().contains("no symlink"));
}

#[tokio::test]
async fn a_file_that_others_have_a_right_to_is_refused() {
    for file in ["name", "name.lock"] {
        let it = Fixture::new();
        it.set(0, 1, b"value").await.unwrap();
        let path = it.file(file);
        for (mode, shown) in [(0o640, "0640"), (0o604, "0604"), (0o620, "0620")] {
            set_mode(&path, mode);
            it.refuses(file, shown).await;
        }
        set_mode(&path, 0o600);
        if give_away(&path) {
            it.refuses(file, "belongs to user 65534").await;
        }
    }
}

#[tokio::test]
async fn nothing_but_a_regular_file_is_opened() {
    for file in ["name", "name.lock"] {
        let it = Fixture::new();
        let path = it.file(file);
        let target = it.folder.path().join("target");
        fs::write(&target, b"untouched").unwrap();
        set_mode(&target, 0o600);
        symlink(&target, &path).unwrap();
        it.refuses(file, "symlink").await;
        assert_eq!(fs::read(&target).unwrap(), b"untouched");
        fs::remove_file(&path).unwrap();

        symlink(it.folder.path().join("missing"), &path).unwrap();
        it.refuses(file, "symlink").await;
        assert!(!it.folder.path().join("missing").exists());
        fs::remove_file(&path).unwrap();

        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        it.refuses(file, "is no regular file").await;
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        it.refuses(file, "remove").await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_absent_and_replaced() {
    let it = Fixture::new();
    it.set(0, 1, b"value").await.unwrap();
    let written = fs::read(it.file("name")).unwrap();
    let large = vec![0xff; 100_000];
    for damaged in [&b""[..], b"{}", &written[..written.len() - 1], &large] {
        fs::write(it.file("name"), damaged).unwrap();
        assert_eq!(it.get().await, None);
        assert_eq!(it.set(1, 2, b"value").await.unwrap(), Swap::Conflict(None));
        assert_eq!(it.set(0, 5, b"healed").await.unwrap(), Swap::Done);
        assert_eq!(it.get().await.unwrap().value, &b"healed"[..]);
    }
}

#[tokio::test]
async fn a_value_from_before_the_machine_was_started_is_absent() {
    let it = Fixture::new();
    it.set(0, 1, b"value").await.unwrap();
    let changed = Moment { boot: 1, uptime: Duration::ZERO };
    fs::write(it.file("name"), &*record::encode(7, changed, b"old")).unwrap();
    assert_eq!(it.get().await, None);
    assert_eq!(it.set(0, 8, b"new").await.unwrap(), Swap::Done);
    assert_eq!(it.get().await.unwrap().revision, 8);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_replaced() {
    let it = Fixture::new();
    fs::write(it.file("name.tmp"), b"half of a val").unwrap();
    set_mode(&it.file("name.tmp"), 0o644);
    assert_eq!(it.set(0, 1, b"value").await.unwrap(), Swap::Done);
    assert_eq!(it.entries(), ["name", "name.lock"]);
    assert_eq!(mode(&it.file("name")), 0o600);

    let target = it.folder.path().join("target");
    fs::write(&target, b"untouched").unwrap();
    symlink(&target, it.file("name.tmp")).unwrap();
    assert_eq!(it.set(1, 2, b"value").await.unwrap(), Swap::Done);
    assert_eq!(it.entries(), ["name", "name.lock"]);
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    assert_eq!(it.get().await.unwrap().revision, 2);
}

#[tokio::test]
async fn a_directory_that_was_removed_is_created_again_by_who_writes() {
    let it = Fixture::new();
    it.set(0, 1, b"value").await.unwrap();
    fs::remove_dir_all(&it.path).unwrap();
    assert_eq!(it.get().await, None);
    assert!(!it.path.exists(), "a reader leaves no trace");
    assert_eq!(it.set(0, 2, b"value").await.unwrap(), Swap::Done);
    assert_eq!((it.get().await.unwrap().revision, mode(&it.path)), (2, 0o700));
}

#[tokio::test]
async fn a_value_too_large_to_be_read_again_is_refused() {
    let it = Fixture::new();
    assert_eq!(it.set(0, 1, &[7; 8192]).await.unwrap(), Swap::Done);
    assert_eq!(it.get().await.unwrap().value, vec![7; 8192]);
    let error = it.set(1, 2, &[7; 8193]).await.unwrap_err();
    assert!(error.to_string().contains("8193 bytes") && !error.is_transient(), "{error}");
    assert_eq!(it.get().await.unwrap().revision, 1);
    let larger = [fs::read(it.file("name")).unwrap(), vec![7]].concat();
    fs::write(it.file("name"), larger).unwrap();
    assert_eq!(it.get().await, None);
}

/// A runtime whose operations share one thread.
fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
}

#[test]
fn who_waits_for_a_lock_keeps_no_thread_and_leaves_nothing_locked() {
    let it = Fixture::new();
    one_thread().block_on(async {
        it.set(0, 1, b"value").await.unwrap();
        let elsewhere = File::open(it.file("name.lock")).unwrap();
        elsewhere.lock().unwrap();
        let (waiting, dropped) = (it.set(1, 2, b"second"), it.set(1, 3, b"never"));
        pin_mut!(waiting);
        {
            pin_mut!(dropped);
            for _ in 0..5 {
                assert!(waiting.as_mut().now_or_never().is_none());
                assert!(dropped.as_mut().now_or_never().is_none());
                assert_eq!(it.get().await.unwrap().revision, 1, "on the only thread");
            }
        }
        elsewhere.unlock().unwrap();
        assert_eq!(waiting.await.unwrap(), Swap::Done);
        elsewhere.try_lock().unwrap();
    });
}

#[test]
fn an_operation_dropped_before_it_has_a_thread_never_begins() {
    let it = Fixture::new();
    one_thread().block_on(async {
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || opened.recv());
        assert!(it.set(0, 1, b"value").now_or_never().is_none());
        drop(open);
        let _ = busy.await.unwrap();
        assert_eq!(it.get().await, None, "it comes after what was dropped");
    });
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let it = Fixture::new();
    let error = it.store.get(&it.name).now_or_never().unwrap().unwrap_err();
    assert!(error.to_string().contains("no Tokio runtime"), "{error}");
}

#[test]
fn a_lock_that_was_removed_from_the_directory_protects_nothing() {
    let it = Fixture::new();
    let directory = Directory::open_or_create(&it.path).unwrap();
    let lock = directory.try_lock(&it.name).unwrap().unwrap();
    assert!(directory.try_lock(&it.name).unwrap().is_none());
    fs::remove_file(it.file("name.lock")).unwrap();
    assert!(!directory.replace(&it.name, b"bytes", &lock).unwrap());
    let other = directory.try_lock(&it.name).unwrap().unwrap();
    assert!(!directory.replace(&it.name, b"bytes", &lock).unwrap());
    assert_eq!(it.entries(), ["name.lock"]);
    assert!(directory.replace(&it.name, b"bytes", &other).unwrap());
    assert_eq!(it.entries(), ["name", "name.lock"]);
}
