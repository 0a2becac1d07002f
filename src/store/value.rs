//! [`Value`]: what the processes of one client id share, and how it is written. Pure.
//!
//! The encoding is one line of JSON, a line feed, and the bytes of the sealed token. Members that
//! this version does not know are kept, so that a newer version's survive a change by an older one.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::token_store::MAX_VALUE;

/// The format that this version writes. It reads no newer one.
const FORMAT: u8 = 1;

/// The greatest number of a change. A store may keep its numbers as floating point, and the next
/// ones must find their place.
pub(crate) const GREATEST: u64 = 1 << 53;

/// The random number of one cache in one process.
pub(crate) type Owner = u64;

/// The value that the processes of one client id share. `Debug` does not show the token.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Value {
    pub(crate) head: Head,
    /// The newest token, sealed. Empty if there is none yet.
    pub(crate) token: Bytes,
}

/// Everything but the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(super) v: u8,
    /// The number of the newest lease that was ever granted.
    #[serde(default)]
    pub(crate) fence: u64,
    /// Who may ask for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
    /// The number of the token, which is the fence of the lease that it came under; 0 if there is
    /// none. It is never greater than `fence`.
    #[serde(default)]
    pub(crate) sequence: u64,
    #[serde(default)]
    pub(crate) state: TokenState,
    /// The token came under a lease that took over from another. The request of the former holder
    /// may have killed it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) takeover: bool,
    /// A lease was taken over since the token was published, and has brought none. The request of
    /// the former holder may still come, and kill the next token.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) stray: bool,
    /// How long the token had been published, in milliseconds, at the change that wrote this. Never
    /// less than the truth. The age of the value starts anew with each change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) published_ms: u64,
    /// The endpoint is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gate: Option<SharedGate>,
    #[serde(default)]
    pub(crate) cooldown: SharedCooldown,
    /// Members of a newer version.
    #[serde(flatten)]
    pub(super) others: Map<String, serde_json::Value>,
}

/// The right to ask for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) owner: Owner,
    /// The request for a token kills the one in use, which nobody sends meanwhile.
    #[serde(default)]
    pub(crate) hold: bool,
    /// The lease before it was not given back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) takeover: bool,
}

/// The knowledge of the token after the requests for its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenState {
    /// Nothing speaks against it.
    #[default]
    Alive,
    /// A request for its successor was sent, and whether that killed it is unknown.
    Suspect,
    /// It is known to be dead.
    Dead,
}

/// The back-off of all processes after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedGate {
    /// The kind of the error.
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// How long the endpoint is left alone, from the change that wrote this.
    pub(crate) pause_ms: u64,
    /// The [mark](crate::store::seal) of the credentials that were refused. Without one the gate
    /// counts for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<u64>,
}

/// The count of tokens that were refused early, as [`Cooldown`](crate::refresh::cooldown) keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SharedCooldown {
    #[serde(default)]
    pub(crate) early: u32,
    #[serde(default)]
    pub(crate) never_accepted: u32,
    /// In 0..1.
    #[serde(default)]
    pub(crate) jitter: f64,
}

/// The reason why a value can't be read. Somebody else may be able to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It is not a value of this crate.
    Garbage,
    /// It has the format of a newer version.
    Newer,
}

impl Foreign {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Garbage => {
                "the value under this name is none of this crate's; choose another name"
            }
            Self::Newer => "the value was written by a newer version; update this process",
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self {
            v: FORMAT,
            fence: 0,
            lease: None,
            sequence: 0,
            state: TokenState::Alive,
            takeover: false,
            stray: false,
            published_ms: 0,
            gate: None,
            cooldown: SharedCooldown::default(),
            others: Map::new(),
        }
    }
}

impl Value {
    /// Returns how long the token had been published at the last change.
    pub(crate) fn published(&self) -> Duration {
        Duration::from_millis(self.head.published_ms)
    }

    /// Returns this value as the successor of `former`, which is `age` old by now.
    pub(crate) fn following(mut self, former: &Self, age: Duration) -> Self {
        let is_same = self.head.sequence == former.head.sequence && self.has_token();
        let published =
            if is_same { former.published().saturating_add(age) } else { Duration::ZERO };
        // Never less than the truth.
        let rounded = u64::try_from(published.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.head.published_ms = rounded;
        self
    }

    /// Returns the bytes for a store; `None` if they are longer than a store takes.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self.head).ok()?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.token);
        (bytes.len() <= MAX_VALUE).then_some(bytes)
    }

    /// Reads what [`encode`](Self::encode) has written.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Foreign> {
        if bytes.len() > MAX_VALUE {
            return Err(Foreign::Garbage);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Foreign::Garbage)?;
        let line = bytes.get(..end).unwrap_or_default();
        // The format first, because the rest of a newer one may be anything.
        let Format { v } = serde_json::from_slice(line).map_err(|_| Foreign::Garbage)?;
        if v > u64::from(FORMAT) {
            return Err(Foreign::Newer);
        }
        let head: Head = serde_json::from_slice(line).map_err(|_| Foreign::Garbage)?;
        // A lease is granted under a greater number than that of the token, and the next token has
        // the number of the lease. So no step writes a token that is newer than the newest lease.
        if head.fence > GREATEST || head.sequence > head.fence {
            return Err(Foreign::Garbage);
        }
        Ok(Self { head, token: bytes.slice(end + 1..) })
    }

    /// Returns whether there is a token.
    pub(crate) fn has_token(&self) -> bool {
        self.head.sequence > 0
    }

    /// Returns what is left of the back-off, if this value is `age` old. It ends after `longest`,
    /// whatever the value says.
    pub(crate) fn backing_off(
        &self,
        age: Duration,
        longest: Duration,
    ) -> Option<(&SharedGate, Duration)> {
        let gate = self.head.gate.as_ref()?;
        let left = Duration::from_millis(gate.pause_ms).min(longest).checked_sub(age)?;
        (!left.is_zero()).then_some((gate, left))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("head", &self.head).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Format {
    v: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> Value {
        let head = Head {
            fence: 7,
            lease: Some(Lease { owner: u64::MAX, hold: true, takeover: true }),
            sequence: 5,
            state: TokenState::Suspect,
            takeover: true,
            stray: true,
            gate: Some(SharedGate {
                kind: "timeout".into(),
                status: Some(503),
                pause_ms: 400,
                credentials: Some(1),
            }),
            cooldown: SharedCooldown { early: 2, never_accepted: 1, jitter: 0.25 },
            ..Head::default()
        };
        Value { head, token: Bytes::from_static(b"\x00\n\xff") }
    }

    fn decode(bytes: impl Into<Bytes>) -> Result<Value, Foreign> {
        Value::decode(&bytes.into())
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        for value in [value(), Value::default()] {
            let bytes = value.encode().expect("short enough");
            assert_eq!(decode(bytes), Ok(value));
        }
    }

    #[test]
    fn members_of_a_newer_version_are_kept() {
        let newer = r#"{"v":1,"fence":3,"sequence":2,"zone":{"a":[1]}}"#.to_owned() + "\ntoken";
        let value = decode(newer).expect("it is the same format");
        let again = value.encode().expect("short enough");
        assert!(String::from_utf8_lossy(&again).contains(r#""zone":{"a":[1]}"#));
        assert_eq!((value.head.fence, &*value.token), (3, &b"token"[..]));
    }

    #[test]
    fn what_is_no_value_is_foreign() {
        const HUGE: &str = "{\"v\":1,\"fence\":18446744073709551615}\n";
        const FROM_THE_FUTURE: &str = "{\"v\":1,\"fence\":4,\"sequence\":5}\nx";
        assert_eq!(decode("{\"v\":2,\"lease\":\"another shape\"}\n"), Err(Foreign::Newer));
        let negative = "{\"v\":1,\"fence\":-1}\n";
        let garbage = ["", "\n", "x\n", "{\"v\":1}", negative, "[]\n", HUGE, FROM_THE_FUTURE];
        for garbage in garbage {
            assert_eq!(decode(garbage), Err(Foreign::Garbage), "{garbage:?}");
        }
        assert_eq!(decode(vec![b' '; MAX_VALUE + 1]), Err(Foreign::Garbage));
    }

    #[test]
    fn a_value_that_is_too_long_is_not_written() {
        let token = vec![1; MAX_VALUE].into();
        assert_eq!(Value { token, ..value() }.encode(), None);
    }

    #[test]
    fn back_off_ends_with_its_pause() {
        let left = |age, longest| {
            let [age, longest] = [age, longest].map(Duration::from_millis);
            value().backing_off(age, longest).map(|(_, left)| left.as_millis())
        };
        assert_eq!([0, 399, 400].map(|age| left(age, 9999)), [Some(400), Some(1), None]);
        assert_eq!([0, 99, 100].map(|age| left(age, 100)), [Some(100), Some(1), None]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(bytes);
        }
    }
}
