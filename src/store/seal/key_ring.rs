//! [`KeyRing`]: the keys by which tokens are sealed.

use std::{env::VarError, fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
    hmac,
};
use zeroize::{Zeroize, Zeroizing};

use super::{Foreign, KeyId, SEALED, SealError};
use crate::error::ConfigError;

/// The length of a key, in bytes.
const KEY: usize = 32;
/// The length of a key's id, in bytes.
const ID: usize = 4;
/// The length of the tag, in bytes.
const TAG: usize = 16;

/// Keys that seal the tokens in a store, so that whoever reads the store has no token.
///
/// The first key seals, and each opens. All processes need the same keys. A new key takes three
/// steps, each of them at every process before the next one:
///
/// 1. Add the new key behind the old one.
/// 2. Put the new key first.
/// 3. Remove the old one.
///
/// Clones share the keys, which are wiped when the last one is dropped. The cipher is AES-256-GCM.
/// `Debug` shows a key's id, which is the start of its SHA-256.
///
/// # Examples
///
/// ```
/// use tower_reauth::store::KeyRing;
///
/// // 32 random bytes, for example of `openssl rand -base64 32`.
/// # let (new_key, old_key) = ([7; 32], [8; 32]);
/// let ring = KeyRing::new(new_key, [old_key]);
/// assert!(format!("{ring:?}").starts_with("KeyRing"));
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<Vec<Key>>);

struct Key {
    id: KeyId,
    /// In a box, so that the key does not stay where it was moved from.
    secret: Box<Zeroizing<[u8; KEY]>>,
}

impl KeyRing {
    /// Creates a ring from the key that seals and those that open too, 32 random bytes each.
    ///
    /// Wipe the arrays that the keys came from.
    pub fn new(first: [u8; KEY], others: impl IntoIterator<Item = [u8; KEY]>) -> Self {
        let keys = [first].into_iter().chain(others).map(|key| Key::new(Zeroizing::new(key)));
        Self(Arc::new(keys.collect()))
    }

    /// Creates a ring from the environment variable `variable`, which holds one key or several with
    /// commas between them.
    ///
    /// A key is 32 random bytes, as 64 hexadecimal digits or as base64 of either alphabet, with its
    /// padding or without. White space around a key is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InvalidKeys`] if the variable is not set or is not UTF-8, if a key is
    /// none, or if one is there twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{ConfigError, store::KeyRing};
    ///
    /// let error = KeyRing::from_env("NO_SUCH_VARIABLE").unwrap_err();
    /// assert!(matches!(error, ConfigError::InvalidKeys { .. }));
    /// ```
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        let invalid = |reason| ConfigError::InvalidKeys { variable: variable.to_owned(), reason };
        // The error for a value that is not UTF-8 holds the value, so it is no source.
        let text = std::env::var(variable).map_err(|error| match error {
            VarError::NotPresent => invalid("it is not set; set it"),
            VarError::NotUnicode(_) => invalid("it is not UTF-8; set it again"),
        })?;
        Self::parse(&Zeroizing::new(text)).map_err(invalid)
    }

    /// Reads the value of a variable.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut keys: Vec<Key> = Vec::new();
        for part in text.split(',') {
            let key = Key::new(decode(part.trim())?);
            if keys.iter().any(|other| other.id == key.id) {
                return Err("a key is there twice; remove one");
            }
            keys.push(key);
        }
        Ok(Self(Arc::new(keys)))
    }

    /// Seals `token` with the first key.
    pub(super) fn seal(&self, bound_to: &[u8], token: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.0.first().ok_or(SealError)?;
        // A vector that grows leaves the token where it was, so it has its whole length.
        let head = 1 + ID + NONCE_LEN;
        let mut kept = Zeroizing::new(Vec::with_capacity(head + token.len() + TAG));
        kept.push(SEALED);
        kept.extend_from_slice(&key.id.0);
        kept.resize(head, 0);
        kept.extend_from_slice(token);
        let (nonce, tag) = key
            .cipher()
            .and_then(|cipher| {
                cipher.seal_in_place_separate_tag(Aad::from(bound_to), kept.get_mut(head..)?).ok()
            })
            .ok_or(SealError)?;
        kept.extend_from_slice(tag.as_ref());
        let place = kept.get_mut(1 + ID..head).ok_or(SealError)?;
        place.copy_from_slice(nonce.as_ref());
        Ok(std::mem::take(&mut *kept))
    }

    /// Opens what stands behind the format.
    pub(super) fn open(
        &self,
        bound_to: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Foreign> {
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or(Foreign::Cut)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Foreign::Cut)?;
        if rest.len() < TAG {
            return Err(Foreign::Cut);
        }
        // Two keys of one id are as good as impossible, and still no reason to refuse a token.
        let mut keys = self.0.iter().filter(|key| key.id.0 == *id).peekable();
        keys.peek().ok_or(Foreign::UnknownKey(KeyId(*id)))?;
        keys.find_map(|key| key.open(bound_to, *nonce, rest)).ok_or(Foreign::Altered)
    }
}

impl KeyRing {
    /// Returns 64 bits of the HMAC of `marked` by each key, beginning with the one that seals.
    pub(super) fn marks(&self, marked: Vec<u8>) -> impl Iterator<Item = u64> {
        self.0.iter().map(move |key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &**key.secret);
            let tag = hmac::sign(&key, &marked);
            tag.as_ref().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
        })
    }
}

impl Key {
    fn new(mut bytes: Zeroizing<[u8; KEY]>) -> Self {
        let mut secret = Box::new(Zeroizing::new([0; KEY]));
        secret.copy_from_slice(&*bytes);
        bytes.zeroize();
        let hash = digest(&SHA256, &**secret);
        let mut id = [0; ID];
        id.iter_mut().zip(hash.as_ref()).for_each(|(id, hash)| *id = *hash);
        Self { id: KeyId(id), secret }
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &**self.secret).ok()
    }

    fn open(
        &self,
        bound_to: &[u8],
        nonce: [u8; NONCE_LEN],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut token = Zeroizing::new(sealed.to_vec());
        let length =
            self.cipher()?.open_in_place(nonce, Aad::from(bound_to), &mut token).ok()?.len();
        token.truncate(length);
        Some(token)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")?;
        f.debug_list().entries(self.0.iter().map(|key| key.id)).finish()
    }
}

/// Reads a key.
fn decode(text: &str) -> Result<Zeroizing<[u8; KEY]>, &'static str> {
    const NONE: &str = "a key is 32 bytes, as 64 hexadecimal digits or as base64";
    /// Without the padding.
    const IN_BASE64: usize = 43;

    let padless = text.strip_suffix('=').unwrap_or(text);
    let (digits, width, digit): (_, _, fn(u8) -> Option<u16>) = match padless.len() {
        IN_BASE64 => (padless, 6, base64_digit),
        // Hexadecimal digits have no padding.
        _ if text.len() == 2 * KEY => (text, 4, hex_digit),
        _ => return Err(NONE),
    };
    let mut key = Zeroizing::new([0; KEY]);
    let mut bytes = key.iter_mut();
    let (mut bits, mut count) = (0_u16, 0);
    for digit in digits.bytes().map(digit) {
        bits = bits << width | digit.ok_or(NONE)?;
        count += width;
        if count >= 8 {
            count -= 8;
            if let (Some(byte), [_, low]) = (bytes.next(), (bits >> count).to_be_bytes()) {
                *byte = low;
            }
            bits &= (1 << count) - 1;
        }
    }
    // A last digit that says more than the key was cut off or mistyped.
    if bits == 0 { Ok(key) } else { Err(NONE) }
}

fn hex_digit(digit: u8) -> Option<u16> {
    char::from(digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
}

fn base64_digit(digit: u8) -> Option<u16> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}
