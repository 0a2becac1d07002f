//! The content of a small file, read into memory that is wiped.

use std::{fs::File, io::Read as _, path::Path};

use zeroize::Zeroizing;

use crate::error::BoxError;

/// In bytes. A secret is far smaller, so a larger file is a mistake in the path.
const MAX_FILE_SIZE: usize = 64 * 1024;

/// Returns the whole content of a file.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, BoxError> {
    let failed = |error: std::io::Error| {
        format!("{} can't be read: {error}; check the path and its permissions", path.display())
    };
    // The capacity for the largest file at once, because a buffer that grows leaves copies of the
    // secret behind that nobody wipes. One byte more shows that a file is too large.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_SIZE + 1));
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_SIZE {
        return Err(format!(
            "{} is larger than {MAX_FILE_SIZE} bytes; check that it is the right file",
            path.display()
        )
        .into());
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format!("{} is not UTF-8; save it as UTF-8", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Returns the content of a file without what an editor adds to it. `what` is the content's name.
pub(crate) fn trimmed<'a>(path: &Path, text: &'a str, what: &str) -> Result<&'a str, BoxError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(format!("{} is empty; write {what} to it", path.display()).into());
    }
    Ok(text)
}
