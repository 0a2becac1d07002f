//! [`Sealing`]: how a token is kept in a store, plain or sealed with a key.
//!
//! | bytes | plain | sealed |
//! |---|---|---|
//! | 1 | 0 | 1 |
//! | 4 | | id of the key: the first bytes of its SHA-256 |
//! | 12 | | nonce, random |
//! | rest | the token | the token by AES-256-GCM, then the tag of 16 bytes |
//!
//! The tag also covers the name and the sequence number. So a sealed token can't be moved to
//! another client, or to another place in the order of one client's tokens. One token is sealed per
//! renewal, which is far from the 2^32 random nonces that one key is good for (NIST SP 800-38D,
//! section 8.3).

#[cfg(feature = "seal")]
mod key_ring;
mod mark;
#[cfg(not(feature = "seal"))]
mod no_keys;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroizing;

#[cfg(feature = "seal")]
pub use self::key_ring::KeyRing;
#[cfg(not(feature = "seal"))]
use self::no_keys::KeyRing;
use super::name::Name;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// How this process keeps tokens in a store.
#[cfg_attr(not(feature = "seal"), allow(dead_code, reason = "there are no keys"))]
#[derive(Clone, Debug, Default)]
pub(crate) enum Sealing {
    /// Kept as they are. Whoever can read the store has the token.
    #[default]
    Plain,
    /// Sealed. A plain token is refused: whoever can write the store could hand the fleet theirs.
    Keys(KeyRing),
}

/// The public name of a key: the first bytes of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId([u8; 4]);

/// The reason why a stored token can't be opened.
#[cfg_attr(not(feature = "seal"), allow(dead_code, reason = "there are no keys"))]
///
/// Such a token belongs to a process outside of the fleet. If it were treated as absent, two halves
/// of a fleet, one of them with a mistyped key, would replace each other's token forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("the stored token is cut off")]
    Cut,
    #[error("the stored token has format {0}, which a newer version of this crate writes")]
    Format(u8),
    #[error("the stored token is not sealed, though this process has a key; give all the key")]
    Plain,
    #[error("the stored token is sealed, and this process has no key; give it the others' key")]
    Sealed,
    #[error("the stored token is sealed with the key {0}, which this process does not have")]
    UnknownKey(KeyId),
    #[error("the stored token was altered, or moved from another name or another place")]
    Altered,
}

/// The error of a token that can't be sealed, for want of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token can't be sealed: the system gives no random numbers")]
pub(crate) struct SealError;

impl Sealing {
    /// Returns `token` as it is kept under `name` with this sequence number.
    pub(crate) fn seal(
        &self,
        name: &Name,
        sequence: u64,
        token: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Plain => Ok([&[PLAIN], token].concat()),
            Self::Keys(ring) => ring.seal(&bound_to(name, sequence), token),
        }
    }

    /// Returns the token that `kept` holds.
    pub(crate) fn open(
        &self,
        name: &Name,
        sequence: u64,
        kept: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Foreign> {
        let (format, rest) = kept.split_first().ok_or(Foreign::Cut)?;
        match (self, *format) {
            (Self::Plain, PLAIN) => Ok(Zeroizing::new(rest.to_vec())),
            (Self::Plain, SEALED) => Err(Foreign::Sealed),
            (Self::Keys(_), PLAIN) => Err(Foreign::Plain),
            (Self::Keys(ring), SEALED) => ring.open(&bound_to(name, sequence), rest),
            (_, newer) => Err(Foreign::Format(newer)),
        }
    }
}

/// Returns what the tag covers beside the token.
///
/// No name holds a zero byte, so no two pairs give the same bytes.
fn bound_to(name: &Name, sequence: u64) -> Vec<u8> {
    let (name, sequence) = (name.as_str().as_bytes(), sequence.to_be_bytes());
    [b"tower-reauth/1\0", name, b"\0", &sequence].concat()
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
