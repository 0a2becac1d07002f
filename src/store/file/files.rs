//! [`Files`]: the values of a store, and their comparison and replacement, by calls that block.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    directory::Directory,
    fault::Fault,
    record::{self, Moment},
};
use crate::{
    clock,
    store::{
        name::Name,
        token_store::{Swap, Versioned},
    },
};

/// How often, and with which pause, a thread tries to take a lock before others get their turn. A
/// change holds the lock for about a millisecond.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// Where the files are, and in which boot of the machine this process runs.
pub(super) struct Files {
    path: PathBuf,
    boot: u128,
}

/// The arguments of a compare-and-set.
pub(super) struct Change {
    pub(super) name: Name,
    pub(super) old: u64,
    pub(super) new: u64,
    pub(super) value: Zeroizing<Vec<u8>>,
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
    pub(super) fn swap(&self, change: &Change) -> Result<Option<Swap>, Fault> {
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
