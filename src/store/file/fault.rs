//! [`Fault`]: why a file or the directory can't be used.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{error::ConfigError, store::error::StoreError};

/// An operation that failed at a path.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    path: PathBuf,
    /// The fault as the rest of a sentence about the path, and what to do about it.
    reason: String,
    source: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It may work later: a full disk, too many open files.
    Unavailable,
    /// A right is missing.
    Denied,
    /// Somebody has to change something.
    Unusable,
}

impl Fault {
    /// Creates a fault that somebody has to repair.
    pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        Self { kind: Kind::Unusable, path: path.into(), reason: reason.into(), source: None }
    }

    /// Creates the fault of a call that failed. `action` is the rest of a sentence about the path.
    pub(super) fn io(path: &Path, action: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let (kind, advice) = judge(&error);
        let reason = format!("{action}: {error}{advice}");
        Self { kind, path: path.into(), reason, source: Some(error) }
    }

    /// Returns the fault as the error of a builder.
    pub(super) fn into_config(self) -> ConfigError {
        ConfigError::FileStore { path: self.path, reason: self.reason }
    }
}

fn judge(error: &io::Error) -> (Kind, &'static str) {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => (Kind::Denied, "; give this process's user access"),
        Some(Errno::ROFS) => (Kind::Denied, "; choose a directory that can be written"),
        Some(Errno::LOOP) => (Kind::Unusable, "; it may be a symlink, and none is followed"),
        Some(Errno::NOTDIR) => (Kind::Unusable, "; choose a directory, and no symlink to one"),
        Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => {
            (Kind::Unusable, "; choose a directory of a local file system")
        }
        Some(Errno::ISDIR | Errno::NXIO) => (Kind::Unusable, "; remove what is there"),
        Some(Errno::NOSPC | Errno::DQUOT) => (Kind::Unavailable, "; make room"),
        _ => (Kind::Unavailable, ""),
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let message = format!("{} {}", fault.path.display(), fault.reason);
        let error = match fault.kind {
            Kind::Unavailable => Self::unavailable(message),
            Kind::Denied => Self::denied(message),
            Kind::Unusable => Self::unusable(message),
        };
        match fault.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_transient_and_a_missing_right_is_denied() {
        let fault = |errno| StoreError::from(Fault::io(Path::new("/a/b"), "can't be read", errno));
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::IO] {
            assert!(fault(errno).is_transient(), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
            assert!(fault(errno).is_denied(), "{errno}");
        }
        for errno in [Errno::LOOP, Errno::NOTDIR, Errno::ISDIR, Errno::NOSYS, Errno::NOLCK] {
            assert!(!fault(errno).is_transient() && !fault(errno).is_denied(), "{errno}");
        }
        assert!(fault(Errno::NOSPC).to_string().contains("/a/b can't be read: No space left"));
    }
}
