//! A token as a store returns it, which whoever can write the store may have put there.
//!
//! The first byte of an input says how many keys this process has, up to two. The rest is what the
//! store returns, and a token that is kept and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use tower_reauth::{fuzzing::Kept, store::Name};

const KEYS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const SEQUENCE: u64 = 7;

static NAME: LazyLock<Name> = LazyLock::new(|| Name::new("payments").expect("a name"));
static OTHER: LazyLock<Name> = LazyLock::new(|| Name::new("payment").expect("a name"));

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((count, rest)) = input.split_first() else { return Corpus::Reject };
    let Some(keys) = KEYS.get(..usize::from(*count)) else { return Corpus::Reject };
    let kept = Kept::with(keys);
    match kept.open(&NAME, SEQUENCE, rest) {
        Ok(token) if keys.is_empty() => assert_eq!(rest, [&[0][..], &token].concat()),
        Ok(_) => is_bound(&kept, rest),
        Err(reason) => assert!(reason.starts_with("the stored token "), "{reason}"),
    }
    let sealed = kept.seal(&NAME, SEQUENCE, rest).expect("there are random numbers");
    assert_eq!(kept.open(&NAME, SEQUENCE, &sealed).as_deref(), Ok(rest));
    if !keys.is_empty() {
        is_bound(&kept, &sealed);
        // Wherever the input says, so that every position has its turn.
        let at = rest
            .iter()
            .fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let mut altered = sealed.clone();
        altered[at % sealed.len()] ^= rest.first().map_or(1, |byte| byte | 1);
        assert!(kept.open(&NAME, SEQUENCE, &altered).is_err(), "an altered token opens");
        assert!(kept.open(&NAME, SEQUENCE, &sealed[..at % sealed.len()]).is_err(), "a cut token");
    }
    Corpus::Keep
});

/// A token that opens does so in its place alone, and with a key alone.
fn is_bound(kept: &Kept, sealed: &[u8]) {
    assert!(kept.open(&OTHER, SEQUENCE, sealed).is_err(), "another name");
    assert!(kept.open(&NAME, SEQUENCE + 1, sealed).is_err(), "another place");
    assert!(Kept::with(&[]).open(&NAME, SEQUENCE, sealed).is_err(), "no key");
    assert!(Kept::with(&[[3; 32]]).open(&NAME, SEQUENCE, sealed).is_err(), "another key");
}
