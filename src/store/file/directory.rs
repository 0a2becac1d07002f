//! [`Directory`]: the files of a store, and who may have a right to them.
//!
//! Each operation opens the directory once, checks the open directory, and reaches the files
//! through it. Nobody can swap the directory for another one, or for a symlink, after the check.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, mkdir, open, openat, renameat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};
use zeroize::Zeroizing;

use super::{
    fault::Fault,
    record::{self, MAX_RECORD, Moment},
};
use crate::{
    clock,
    store::{name::Name, token_store::Versioned},
};

/// An open directory that belongs to this process's user alone.
pub(super) struct Directory {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory; `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Ok(directory) => File::from(directory),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Fault::io(path, "can't be opened", error)),
        };
        let metadata = file.metadata().map_err(|error| Fault::io(path, "has no owner", error))?;
        check_rights(path, &metadata, "0700")?;
        Ok(Some(Self { file, path: path.into() }))
    }

    /// Opens the directory. Creates it if there is none, but none of its parents.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, Fault> {
        if let Some(directory) = Self::open(path)? {
            return Ok(directory);
        }
        match mkdir(path, Mode::RWXU) {
            // Another process may have been faster.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Fault::io(path, "can't be created", error)),
        }
        Self::open(path)?.ok_or_else(|| Fault::io(path, "was removed", Errno::NOENT))
    }

    /// Returns an error if the file system has no locks.
    pub(super) fn check_locks(&self) -> Result<(), Fault> {
        match self.file.try_lock_shared() {
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(Fault::io(&self.path, "can't be locked", error)),
        }
    }

    /// Returns the value under `name`; `None` if there is none of this boot of the machine.
    pub(super) fn read(&self, name: &Name, boot: u128) -> Result<Option<Versioned>, Fault> {
        let path = self.path.join(name.as_str());
        let Some(file) = self.open_file(name.as_str(), OFlags::RDONLY)? else { return Ok(None) };
        // The capacity for the largest file at once, because a buffer that grows leaves copies of
        // the token behind. One byte more shows that a file is too large.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_RECORD + 1));
        file.take(MAX_RECORD as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Fault::io(&path, "can't be read", error))?;
        // The clock is read after the file, so that the age is never too small.
        let now = Moment { boot, uptime: clock::uptime() };
        Ok(record::decode(bytes, now))
    }

    /// Takes the lock of `name`; `None` while another process or thread has it.
    pub(super) fn try_lock(&self, name: &Name) -> Result<Option<Lock>, Fault> {
        let file_name = format!("{name}.lock");
        let path = self.path.join(&file_name);
        let Some(file) = self.open_file(&file_name, OFlags::RDWR | OFlags::CREATE)? else {
            return Err(Fault::io(&path, "can't be created", Errno::NOENT));
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file, file_name })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Fault::io(&path, "can't be locked", error)),
        }
    }

    /// Replaces the file of `name` with `bytes` as a whole.
    ///
    /// Returns `false`, and changes nothing, if the file of `lock` has been removed from the
    /// directory. Another process may then have locked a new one.
    pub(super) fn replace(&self, name: &Name, bytes: &[u8], lock: &Lock) -> Result<bool, Fault> {
        let temporary = format!("{name}.tmp");
        let replaced = self.write(&temporary, bytes).and_then(|()| {
            if !self.has(lock)? {
                return Ok(false);
            }
            let renamed = renameat(&self.file, &temporary, &self.file, name.as_str());
            renamed.map_err(|error| {
                Fault::io(&self.path.join(name.as_str()), "can't be replaced", error)
            })?;
            Ok(true)
        });
        if !matches!(replaced, Ok(true)) {
            // A failure costs nothing, because the next writer removes the file too.
            let _ = unlinkat(&self.file, &temporary, AtFlags::empty());
        }
        replaced
    }

    /// Writes a new file.
    ///
    /// Only the holder of the lock writes one, so a file of that name was left by a process that
    /// died. It is removed first.
    fn write(&self, file_name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.path.join(file_name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let create = || self.open_at(file_name, flags);
        let created = create().or_else(|error| {
            if error != Errno::EXIST {
                return Err(error);
            }
            unlinkat(&self.file, file_name, AtFlags::empty())?;
            create()
        });
        let mut file =
            File::from(created.map_err(|error| Fault::io(&path, "can't be created", error))?);
        file.write_all(bytes)
            .and_then(|()| file.sync_data())
            .map_err(|error| Fault::io(&path, "can't be written", error))
    }

    /// Returns `true` if `lock` is the file that other processes would lock now.
    fn has(&self, lock: &Lock) -> Result<bool, Fault> {
        let fault = |error| Fault::io(&self.path.join(&lock.file_name), "can't be checked", error);
        let ours = rustix::fs::fstat(&lock.file).map_err(fault)?;
        match statat(&self.file, &lock.file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(theirs) => Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(fault(error)),
        }
    }

    /// Opens a regular file that belongs to this process's user alone; `None` if there is none.
    fn open_file(&self, file_name: &str, flags: OFlags) -> Result<Option<File>, Fault> {
        let path = self.path.join(file_name);
        let file = match self.open_at(file_name, flags) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Fault::io(&path, "can't be opened", error)),
        };
        let metadata = file.metadata().map_err(|error| Fault::io(&path, "has no owner", error))?;
        if !metadata.is_file() {
            return Err(Fault::unusable(&path, "is no regular file; remove it"));
        }
        check_rights(&path, &metadata, "0600")?;
        Ok(Some(file))
    }

    fn open_at(&self, file_name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        // Without `NONBLOCK`, a FIFO in the place of a file would block the thread.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&self.file, file_name, flags, Mode::RUSR | Mode::WUSR)
    }
}

/// The lock of a name, until it is dropped.
pub(super) struct Lock {
    file: File,
    file_name: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough. A process that was forked meanwhile has it open too.
        let _ = self.file.unlock();
    }
}

fn check_rights(path: &Path, metadata: &Metadata, allowed: &str) -> Result<(), Fault> {
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user {
        let reason = format!(
            "belongs to user {owner}, and this process runs as user {user}; all processes must run \
             as the same user"
        );
        return Err(Fault::unusable(path, reason));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let reason = format!(
            "has the mode {mode:04o}, which gives others a right; set it to {allowed} and replace \
             the client's secret if others may have read a token"
        );
        return Err(Fault::unusable(path, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_though_a_forked_process_has_its_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open_or_create(&folder.path().join("store")).unwrap();
        let name = Name::new("name").unwrap();
        let lock = directory.try_lock(&name).unwrap().unwrap();
        // The same open file, as a fork has it.
        let _forked = lock.file.try_clone().unwrap();
        assert!(directory.try_lock(&name).unwrap().is_none());
        drop(lock);
        assert!(directory.try_lock(&name).unwrap().is_some());
    }
}
