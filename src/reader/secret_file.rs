//! [`SecretFile`]: a file whose whole content is one secret.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{Read, Reader, read, trimmed};
use crate::error::BoxError;

/// A secret in a file, read anew each time. Clones share the thread that reads it.
#[derive(Clone)]
pub(crate) struct SecretFile(Arc<Inner>);

struct Inner {
    reader: Reader<File, SecretString>,
    /// The hash of the last secret. `None` before the first, and after a read that failed.
    last: Mutex<Option<[u8; 32]>>,
}

struct File {
    path: PathBuf,
    /// The name of the content, for the error of an empty file.
    what: &'static str,
}

impl SecretFile {
    pub(crate) fn new(path: PathBuf, what: &'static str) -> Self {
        let reader = Reader::new(File { path, what }, |file: &File| -> Read<SecretString> {
            file.read().map_err(|error| Arc::from(error.to_string()))
        });
        Self(Arc::new(Inner { reader, last: Mutex::new(None) }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.reader.from().path
    }

    /// Returns the secret as it is now. The error names the file and shows nothing of its content.
    pub(crate) async fn read(&self) -> Result<SecretString, BoxError> {
        let read = self.0.reader.read().await;
        *self.0.lock() = read.as_ref().ok().map(hash);
        read.map_err(|error| BoxError::from(&*error))
    }

    /// Returns `true` if there is a secret, and it is not the one that was read last.
    pub(crate) async fn has_changed(&self) -> bool {
        let read = self.0.reader.read().await;
        read.is_ok_and(|secret| *self.0.lock() != Some(hash(&secret)))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<[u8; 32]>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn read(&self) -> Result<SecretString, BoxError> {
        let text = read(&self.path)?;
        Ok(SecretString::from(trimmed(&self.path, &text, self.what)?))
    }
}

fn hash(secret: &SecretString) -> [u8; 32] {
    Sha256::digest(secret.expose_secret()).into()
}
