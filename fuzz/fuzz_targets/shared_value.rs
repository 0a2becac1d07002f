//! The value that processes share, which whoever can write the store may have put there.
//!
//! The first eight bytes of an input are the number of this process as an owner of leases. The rest
//! is what the store returns.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tower_reauth::fuzzing::shared_value;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((owner, bytes)) = input.split_first_chunk() else { return Corpus::Reject };
    let (owner, bytes) = (u64::from_le_bytes(*owner), Bytes::copy_from_slice(bytes));
    let Ok(written) = shared_value(&bytes, owner) else { return Corpus::Keep };
    // A value near the bound may be too long for its successors.
    let Some(Some(again)) = written.first().cloned() else { return Corpus::Keep };
    let again = Bytes::from(again);
    let repeated = shared_value(&again, owner).expect("what was written is read");
    // The bytes may differ, because a fraction may be read as its neighbour.
    assert_eq!(repeated.len(), written.len(), "it leads to the same steps");
    let former = head(&again);
    let is_ordered = former["sequence"].as_u64() <= former["fence"].as_u64();
    assert!(is_ordered, "no token is newer than the newest lease");
    for next in written.into_iter().flatten() {
        assert!(next.len() <= 8192, "{} bytes", next.len());
        let next = Bytes::from(next);
        shared_value(&next, owner).expect("what follows a value is one");
        let next = head(&next);
        for number in ["fence", "sequence"] {
            let is_less = next[number].as_u64() < former[number].as_u64();
            assert!(!is_less, "{number} has decreased");
        }
        for (name, member) in former.as_object().into_iter().flatten() {
            let is_known = KNOWN.contains(&name.as_str());
            assert!(is_known || next.get(name) == Some(member), "{name} of a newer version");
        }
    }
    Corpus::Keep
});

const KNOWN: [&str; 10] = [
    "v",
    "fence",
    "lease",
    "sequence",
    "state",
    "takeover",
    "stray",
    "published_ms",
    "gate",
    "cooldown",
];

fn head(value: &[u8]) -> Value {
    let head = value.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(head).expect("the first line is JSON")
}
