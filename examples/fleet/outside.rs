//! What the sandbox counted, and the rights of the store.

use std::{fs, io, path::Path};

use tower_reauth::sandbox::SandboxCounters;

pub(crate) fn on_the_wire(counters: &SandboxCounters) -> u64 {
    counters.unauthorized_missing
        + counters.unauthorized_unknown
        + counters.unauthorized_expired
        + counters.unauthorized_replaced
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn set_mode(path: &Path, _mode: u32) -> io::Result<()> {
    // There is no such store.
    fs::metadata(path).map(drop)
}
