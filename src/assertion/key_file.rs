//! [`key_file`]: a private key in a file, which may be rotated.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    key::SigningKey,
    signer::{Algorithm, SignerSource},
};
use crate::{
    error::BoxError,
    reader::{self, Read, Reader},
};

/// Creates a source of signers from a file with a private key, as PEM or as JWK.
///
/// The file is read each time something is signed, so a rotated key is used from the next refresh
/// on. It is read on a thread of the source's own, as
/// [`FileCredentials`](crate::credentials::FileCredentials) does. `algorithm` is that of a key in
/// PEM, and a JWK has its own. A JWK has its `kid` too, so key and name are rotated at once.
///
/// # Examples
///
/// ```
/// use tower_reauth::assertion::{self, Algorithm, SignedJwt};
///
/// let key = assertion::key_file("/etc/send/client-key.pem", Algorithm::Es256);
/// let source = SignedJwt::new(key);
/// # let _ = source;
/// ```
pub fn key_file(path: impl Into<PathBuf>, algorithm: Algorithm) -> KeyFile {
    let file = File { path: path.into(), algorithm };
    KeyFile(Arc::new(Inner {
        reader: Reader::new(file, |file: &File| -> Read<Keyed> {
            file.read().map_err(|error| Arc::from(error.to_string()))
        }),
        used: Mutex::new(None),
    }))
}

/// The source that [`key_file`] creates. Clones share its thread.
#[derive(Clone)]
pub struct KeyFile(Arc<Inner>);

struct Inner {
    reader: Reader<File, Keyed>,
    /// The hash of the file that the last signer came from. `None` before the first, and after a
    /// read that failed.
    used: Mutex<Option<[u8; 32]>>,
}

struct File {
    path: PathBuf,
    algorithm: Algorithm,
}

/// A key, and the hash of the file that it came from.
type Keyed = (SigningKey, [u8; 32]);

impl SignerSource for KeyFile {
    type Signer = SigningKey;

    async fn signer(&self) -> Result<SigningKey, BoxError> {
        let read = self.0.reader.read().await;
        *self.0.lock() = read.as_ref().ok().map(|(_, hash)| *hash);
        read.map(|(key, _)| key).map_err(|error| BoxError::from(&*error))
    }

    async fn changed(&self) -> bool {
        let read = self.0.reader.read().await;
        read.is_ok_and(|(_, hash)| *self.0.lock() != Some(hash))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<[u8; 32]>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn read(&self) -> Result<Keyed, BoxError> {
        let text = reader::read(&self.path)?;
        let text = reader::trimmed(&self.path, &text, "the key")?;
        let key = if text.starts_with('{') {
            SigningKey::from_jwk(text)
        } else {
            SigningKey::from_pem(self.algorithm, text)
        };
        let key = key.map_err(|error| named(&self.path, &error))?;
        Ok((key, Sha256::digest(text).into()))
    }
}

fn named(path: &Path, error: &dyn std::error::Error) -> BoxError {
    format!("{}: {error}", path.display()).into()
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let File { path, algorithm } = self.0.reader.from();
        f.debug_struct("KeyFile").field("path", path).field("algorithm", algorithm).finish()
    }
}
