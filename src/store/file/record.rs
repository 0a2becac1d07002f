//! [`Record`]: what a file holds, as bytes.
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 7 | `reauth/1` |
//! | 8 to 15 | the FNV-1a hash of all that follows |
//! | 16 to 23 | the revision |
//! | 24 to 39 | the id of the boot that the change was made in |
//! | 40 to 47 | the time of the change in nanoseconds since that boot |
//! | 48 to the end | the value |
//!
//! Numbers are big-endian. A file is replaced as a whole, so no process leaves half of one. The
//! hash guards against a foreign file, and against one that a failing disk has cut.

use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::store::token_store::Versioned;

const MAGIC: &[u8; 8] = b"reauth/1";
const HEADER: usize = 48;

/// The largest value, in bytes.
pub(super) const MAX_VALUE: usize = 8 * 1024;

/// The largest file, in bytes.
pub(super) const MAX_RECORD: usize = HEADER + MAX_VALUE;

/// A moment that all processes of a machine agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The random number that the kernel chose when it started.
    pub(super) boot: u128,
    /// The time since then, the machine's sleep included.
    pub(super) uptime: Duration,
}

/// Returns the bytes of a file. They are wiped when dropped, since the token may be in them.
pub(super) fn encode(revision: u64, changed: Moment, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let uptime = u64::try_from(changed.uptime.as_nanos()).unwrap_or(u64::MAX);
    // All of it at once, because a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER + value.len()));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes.extend_from_slice(&changed.boot.to_be_bytes());
    bytes.extend_from_slice(&uptime.to_be_bytes());
    bytes.extend_from_slice(value);
    let hash = hash(&bytes[16..]);
    bytes[8..16].copy_from_slice(&hash.to_be_bytes());
    bytes
}

/// Returns the value in `bytes`. Returns `None` if they are no file of this store, or if nobody can
/// tell how old the value is: it is of another boot, or of a moment that is still to come.
pub(super) fn decode(bytes: Zeroizing<Vec<u8>>, now: Moment) -> Option<Versioned> {
    let (header, value) = bytes.split_first_chunk::<HEADER>()?;
    if value.len() > MAX_VALUE
        || !header.starts_with(MAGIC)
        || number(&header[8..16])? != hash(&bytes[16..])
    {
        return None;
    }
    let revision = number(&header[16..24])?;
    let boot = u128::from_be_bytes(header[24..40].try_into().ok()?);
    if boot != now.boot {
        return None;
    }
    let age = now.uptime.checked_sub(Duration::from_nanos(number(&header[40..48])?))?;
    let value = Bytes::from_owner(bytes).slice(HEADER..);
    Some(Versioned { revision, value, age })
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Returns the 64-bit FNV-1a hash of `bytes`, by draft-eastlake-fnv.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: Moment = Moment { boot: 7 << 100, uptime: Duration::from_secs(1000) };

    fn later(seconds: u64) -> Moment {
        Moment { uptime: CHANGED.uptime + Duration::from_secs(seconds), ..CHANGED }
    }

    fn decoded(bytes: &[u8], now: Moment) -> Option<Versioned> {
        decode(Zeroizing::new(bytes.to_vec()), now)
    }

    #[test]
    fn a_value_comes_back_with_its_revision_and_its_age() {
        for value in [&b""[..], b"value", &[0xff; MAX_VALUE]] {
            let bytes = encode((1 << 53) - 1, CHANGED, value);
            let versioned = decoded(&bytes, later(3)).unwrap();
            assert_eq!(versioned.revision, (1 << 53) - 1);
            assert_eq!(versioned.value, value);
            assert_eq!(versioned.age, Duration::from_secs(3));
        }
    }

    #[test]
    fn a_value_of_another_boot_or_of_a_time_to_come_is_absent() {
        let bytes = encode(1, CHANGED, b"value");
        assert!(decoded(&bytes, later(0)).is_some());
        assert_eq!(decoded(&bytes, Moment { boot: 8 << 100, ..later(3) }), None);
        let before = Moment { uptime: Duration::from_nanos(999_999_999_999), ..CHANGED };
        assert_eq!(decoded(&bytes, before), None);
    }

    #[test]
    fn a_file_that_was_cut_or_damaged_is_absent() {
        let bytes = encode(1, CHANGED, b"value");
        for length in 0..bytes.len() {
            assert_eq!(decoded(&bytes[..length], later(3)), None, "cut to {length}");
        }
        for position in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            assert_eq!(decoded(&damaged, later(3)), None, "damaged at {position}");
        }
        assert_eq!(decoded(&[&bytes[..], b"x"].concat(), later(3)), None);
        assert_eq!(decoded(&[0; 100], later(3)), None);
        assert_eq!(decoded(&encode(1, CHANGED, &[0; MAX_VALUE + 1]), later(3)), None);
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let bytes = encode(0x0102, CHANGED, b"v");
        let expected = [
            &b"reauth/1"[..],
            &0x3ec1_2516_9889_90a9_u64.to_be_bytes(),
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &(7_u128 << 100).to_be_bytes(),
            &1_000_000_000_000_u64.to_be_bytes(),
            b"v",
        ]
        .concat();
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8, "a test vector of the draft");
        assert_eq!(*bytes, expected);
    }
}
