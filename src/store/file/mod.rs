//! [`FileStore`]: a value per file, for the processes of one machine.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod directory;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod fault;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod files;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod local;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "unsupported.rs"]
mod local;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod record;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod watcher;

use std::{path::Path, time::Duration};

use futures_util::Stream;

use self::local::LocalStore;
use super::{
    error::StoreError,
    name::Name,
    token_store::{Notice, Swap, TokenStore, Versioned},
};
use crate::error::ConfigError;

/// A store in a directory, for the processes of one machine or pod.
///
/// It needs no server. Clones share what the store keeps in memory.
///
/// # The directory
///
/// - It must be on a local file system, such as ext4, XFS, Btrfs, tmpfs or an `emptyDir` of a pod.
///   NFS, SMB and other network file systems won't do. Their machines have no clock in common, and
///   each treats the values of the others as absent.
/// - [`open`](Self::open) creates it with the mode 0700 if it is missing. Its parent must exist.
///   Within an `emptyDir`, whose own mode is 0777, name a directory to be created.
/// - All processes must run as the same user. They must be in the same time namespace, as they are
///   unless somebody asks for another.
/// - It should hold nothing else, and nobody but the store should remove files from it.
///
/// # Who may read it
///
/// Whoever can read the directory has the token, unless it is sealed with a key. So the directory
/// has the mode 0700, its files have 0600, and all of them belong to the user of the process. An
/// operation returns an error that names the path if one of them
///
/// - gives a group or others a right,
/// - belongs to another user,
/// - is a symlink, or anything else than a directory and regular files.
///
/// `root` can read them anyway, and so can whoever reads a backup.
///
/// # What is in it
///
/// Each name has a file `NAME` with the value, and an empty `NAME.lock`. A process that changes the
/// value locks the second one, writes `NAME.tmp`, and renames it to `NAME`. A reader takes no lock
/// and finds the old value or the new one. The lock of a process that dies is free at once, and the
/// next writer removes its `NAME.tmp`.
///
/// A file that is damaged, or that is no value, is treated as absent and replaced. A value from
/// before the machine was started is treated alike, because its age is unknown.
///
/// # Blocking
///
/// Files are read and written on Tokio's threads for blocking work, by at most eight operations of
/// a store at a time. No thread waits for a lock for longer than 20 ms. One more thread per store,
/// outside the runtime, serves all [streams](TokenStore::watch). It sleeps until inotify reports a
/// change, and reads the files every 2 s besides. If the kernel refuses it inotify, it reads them
/// every 250 ms.
///
/// # Platforms
///
/// Linux and Android. Elsewhere [`open`](Self::open) returns an error: the age of a value takes a
/// clock that all processes share and that goes on while the machine sleeps.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_reauth::BoxError> {
/// # if !cfg!(target_os = "linux") { return Ok(()) }
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("payments");
/// use std::time::Duration;
///
/// use tower_reauth::store::{FileStore, Name, Swap, TokenStore};
///
/// // let path = "/run/payments/token";
/// let store = FileStore::open(path)?;
///
/// let name = Name::new("payments").ok_or("not a name")?;
/// let keep = Duration::from_secs(3600);
/// assert_eq!(store.compare_and_set(&name, 0, 1, b"value", keep).await?, Swap::Done);
/// assert_eq!(store.get(&name).await?.map(|found| found.revision), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FileStore(LocalStore);

impl FileStore {
    /// Opens a store in the directory `path`, which is created if it is missing. A relative path
    /// starts at the present working directory.
    ///
    /// The call does a few operations on files, which may block.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::FileStore`]
    ///
    /// - if the path is no directory, or is a symlink,
    /// - if the directory belongs to another user, or gives others a right,
    /// - if it can't be created or opened,
    /// - if its file system has no locks, or the platform has no such store.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        LocalStore::open(path.as_ref()).map(Self)
    }
}

/// A [`StoreError`] names the path. It is transient if the disk is full, denied if this process's
/// user has no access, and neither if [rights, owner or kind](FileStore#who-may-read-it) of a file
/// are wrong.
impl TokenStore for FileStore {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        self.0.get(name).await
    }

    /// Replaces the value, and keeps it until the machine is started anew, whatever `keep` is.
    ///
    /// Waits for as long as another process has the lock of `name`. A process that is stopped in
    /// the middle of a change keeps the lock until it goes on or is killed.
    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        _keep: Duration,
    ) -> Result<Swap, StoreError> {
        self.0.compare_and_set(name, old, new, value).await
    }

    /// Returns the changes of the value. The stream needs no runtime once it works.
    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        self.0.watch(name)
    }

    /// Returns 20 ms.
    fn notice(&self) -> Duration {
        Duration::from_millis(20)
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests;
