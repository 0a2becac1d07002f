//! The mark of credentials that were refused, as it stands in the shared value.
//!
//! Processes with other credentials are not held back by that refusal, and the mark is how they
//! know. Whoever reads the store must not find the secret by it:
//!
//! - With keys, a mark is 64 bits of HMAC-SHA-256 (RFC 2104). It tells nothing without the key.
//! - Without keys, nothing is at hand that a reader of the store does not have, so each guess of a
//!   secret can be tried on a mark. Then a mark is 8 bits of SHA-256, always the same for one
//!   client and its secret. That is the most that a reader ever learns: it rules out 255 of 256
//!   guesses. A random salt would not stop the guesses, and each new one would tell 8 bits more.
//!
//! Two secrets with the same mark cost the one that is right a pause.

use sha2::{Digest, Sha256};

use super::{super::name::Name, Sealing};
use crate::token::Fingerprint;

impl Sealing {
    /// Returns the mark of the credentials with this fingerprint, under the key that seals.
    pub(crate) fn mark(&self, name: &Name, credentials: &Fingerprint) -> Option<u64> {
        self.marks(name, credentials).next()
    }

    /// Returns whether `mark` is one of the credentials with this fingerprint, by any key. While
    /// keys are replaced, another process may seal with another one.
    pub(crate) fn is_mark(&self, name: &Name, credentials: &Fingerprint, mark: u64) -> bool {
        self.marks(name, credentials).any(|it| it == mark)
    }

    fn marks(&self, name: &Name, credentials: &Fingerprint) -> impl Iterator<Item = u64> {
        let name = name.as_str().as_bytes();
        let marked = [b"tower-reauth/1 mark\0", name, b"\0", credentials].concat();
        let (plain, keyed) = match self {
            Self::Plain => (Sha256::digest(&marked).first().map(|byte| u64::from(*byte)), None),
            Self::Keys(ring) => (None, Some(ring.marks(marked))),
        };
        plain.into_iter().chain(keyed.into_iter().flatten())
    }
}
