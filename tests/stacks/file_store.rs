//! A file store among processes that are killed.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Child},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, pin_mut};
use support::child;
use tokio::time::timeout;
use tower_reauth::store::{
    FileStore, Name, Notice, Swap, TokenStore as _, Versioned, conformance, conformance_between,
};

const KEEP: Duration = Duration::from_secs(3600);
/// Longer than anything takes here on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn name() -> Name {
    Name::new("name").unwrap()
}

/// A value that tells its revision, and what it replaced, and that is wrong if it is cut or mixed.
fn value(old: u64, new: u64) -> Vec<u8> {
    format!("{old} {new} ").repeat(100).into_bytes()
}

/// Checks that a value is whole.
fn check(revision: u64, value: &[u8]) {
    let text = str::from_utf8(value).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words.len(), 200);
    let expected = [words[0], &revision.to_string()];
    assert!(words.chunks(2).all(|pair| pair == expected), "{revision}: {text}");
}

fn checked(found: Option<Versioned>) -> u64 {
    found.map_or(0, |found| {
        check(found.revision, &found.value);
        assert!(found.age < LONG, "{:?}", found.age);
        found.revision
    })
}

#[test]
fn it_keeps_every_rule_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = FileStore::open(&path).unwrap();
    run(conformance(&store)).unwrap();
    // The store of another process.
    run(conformance_between(&store, &FileStore::open(&path).unwrap())).unwrap();
}

const KILLS: u32 = 25;

const LOAD: &str = "ten_processes_that_are_killed_at_any_moment_leave_one_chain_of_changes";

#[test]
fn ten_processes_that_are_killed_at_any_moment_leave_one_chain_of_changes() {
    if let Some(folder) = child::argument() {
        return change_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let start = || child::start(module_path!(), LOAD, folder.path());
    let mut children: Vec<Child> = (0..10).map(|_| start()).collect();
    let last = run(look_and_kill(folder.path(), &mut children, start));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let store = FileStore::open(folder.path().join("store")).unwrap();
    let end = run(async {
        let newest = checked(store.get(&name()).await.unwrap());
        assert!(newest >= last);
        // The locks of the dead are free, and what they left is gone.
        let end = newest + 1;
        let value = value(newest, end);
        let swap = timeout(LONG, store.compare_and_set(&name(), newest, end, &value, KEEP)).await;
        assert_eq!(swap.unwrap().unwrap(), Swap::Done);
        end
    });
    let mut files: Vec<_> = fs::read_dir(folder.path().join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["name", "name.lock"]);

    let (changes, writers) = changes(folder.path());
    println!("{} changes by {writers} processes", changes.len());
    assert!(changes.len() > 100 && writers > 10, "too little has happened");
    // Nobody has replaced a revision that was no longer there. A change that its process did not
    // live to tell is missing in the chain.
    for pair in changes.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two winners: {pair:?}");
    }
    assert!(changes.iter().all(|(old, new)| old < new && *new < end));
}

/// Reads and kills. Returns the newest revision.
async fn look_and_kill(folder: &Path, children: &mut [Child], start: impl Fn() -> Child) -> u64 {
    let store = FileStore::open(folder.join("store")).unwrap();
    let file = folder.join("store").join("name");
    let notices = store.watch(&name());
    pin_mut!(notices);
    let (mut last, mut heard, mut kills) = (0, 0, 0);
    let mut kill_at = Instant::now() + Duration::from_millis(300);
    while kills < KILLS {
        let revision = checked(store.get(&name()).await.unwrap());
        assert!(revision >= last, "{revision} after {last}");
        last = revision;
        if last > 0 {
            let metadata = fs::symlink_metadata(&file).unwrap();
            assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o600, "{metadata:?}");
        }
        if let Ok(Some(Notice::Changed { revision, value })) =
            timeout(Duration::from_millis(1), notices.next()).await
        {
            check(revision, &value);
            assert!(revision > heard, "a notice of {revision} after {heard}");
            heard = revision;
        }
        if Instant::now() >= kill_at {
            let child = &mut children[fastrand::usize(..10)];
            assert!(child.try_wait().unwrap().is_none(), "a process has failed");
            child.kill().unwrap();
            child.wait().unwrap();
            *child = start();
            kills += 1;
            kill_at = Instant::now() + Duration::from_millis(fastrand::u64(20..80));
        }
    }
    assert!(heard > 0);
    last
}

/// Replaces the value as often as it can, and notes each time that it did.
fn change_until_killed(folder: &Path) {
    let log = folder.join(format!("log-{}", process::id()));
    let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
    let store = FileStore::open(folder.join("store")).unwrap();
    run(async {
        let mut old = 0;
        loop {
            let new = old + fastrand::u64(1..10);
            let swap = store.compare_and_set(&name(), old, new, &value(old, new), KEEP).await;
            old = match swap.unwrap() {
                Swap::Done => {
                    log.write_all(format!("{old} {new}\n").as_bytes()).unwrap();
                    new
                }
                Swap::Conflict(found) => {
                    let found = checked(found);
                    assert!(found != old && (found > old || old == 0), "{found} after {old}");
                    found
                }
            };
        }
    });
}

/// Returns what was noted, by the new revision, and how many processes have noted something.
fn changes(folder: &Path) -> (Vec<(u64, u64)>, usize) {
    let mut changes = Vec::new();
    let mut writers = HashSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let (old, new) = line.split_once(' ').unwrap();
            changes.push((old.parse().unwrap(), new.parse().unwrap()));
            writers.insert(path.clone());
        }
    }
    changes.sort_by_key(|(_, new)| *new);
    (changes, writers.len())
}

#[test]
fn the_lock_of_a_killed_process_is_free_at_once() {
    if let Some(folder) = child::argument() {
        let lock = File::open(Path::new(&folder).join("store").join("name.lock")).unwrap();
        lock.lock().unwrap();
        fs::write(Path::new(&folder).join("locked"), b"").unwrap();
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    run(async {
        store.compare_and_set(&name(), 0, 1, b"first", KEEP).await.unwrap();
        let name_of_test = "the_lock_of_a_killed_process_is_free_at_once";
        let mut holder = child::start(module_path!(), name_of_test, folder.path());
        let began = Instant::now();
        while !folder.path().join("locked").exists() {
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let name = name();
        let change = store.compare_and_set(&name, 1, 2, b"second", KEEP);
        pin_mut!(change);
        assert!(timeout(Duration::from_millis(100), &mut change).await.is_err());
        assert_eq!(store.get(&name).await.unwrap().unwrap().revision, 1, "readers need no lock");
        holder.kill().unwrap();
        assert_eq!(timeout(LONG, change).await.unwrap().unwrap(), Swap::Done);
        holder.wait().unwrap();
    });
}

#[test]
fn a_full_disk_is_transient_and_leaves_the_value_as_it_was() {
    if let Some(folder) = child::argument() {
        return fill_disk(Path::new(&folder));
    }
    // A small disk of its own, in namespaces where that takes no rights.
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=64k tmpfs \"$0\" || exit 77; exec \"$@\"";
    let before = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount].map(OsStr::new);
    let before = [&before[..], &[folder.path().as_os_str()]].concat();
    let name_of_test = "a_full_disk_is_transient_and_leaves_the_value_as_it_was";
    let child =
        child::command(&before, module_path!(), name_of_test, folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&child.stderr);
    if child.status.code() == Some(77) || errors.starts_with("unshare:") {
        println!("not shown: this machine gives no namespaces: {errors}");
        return;
    }
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(printed.contains("test result: ok. 1 passed"), "{printed}{errors}");
}

fn fill_disk(folder: &Path) {
    let store = FileStore::open(folder.join("store")).unwrap();
    run(async {
        store.compare_and_set(&name(), 0, 1, &value(0, 1), KEEP).await.unwrap();
        let mut filler = File::create(folder.join("filler")).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
        let error = store.compare_and_set(&name(), 1, 2, &[7; 8192], KEEP).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("store/name.tmp can't be written"), "{error}");
        assert_eq!(checked(store.get(&name()).await.unwrap()), 1);
        assert!(!folder.join("store").join("name.tmp").exists());
        drop(filler);
        fs::remove_file(folder.join("filler")).unwrap();
        let swap = store.compare_and_set(&name(), 1, 2, &[7; 8192], KEEP).await.unwrap();
        assert_eq!(swap, Swap::Done);
    });
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
