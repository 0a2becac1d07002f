//! [`Record`]: a token as processes hand it to each other, before it is sealed.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A token as processes hand it to each other. It is written as JSON, whose unknown members are
/// ignored.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) secret: SecretString,
    /// The scheme in front of the token, which may be empty.
    #[serde(default)]
    pub(crate) scheme: Option<String>,
    lifetime_ms: u64,
    /// The part of the lifetime that had passed when the token was published.
    spent_ms: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    secret: &'a str,
    scheme: &'a str,
    lifetime_ms: u64,
    spent_ms: u64,
}

impl Record {
    pub(crate) fn new(secret: &str, scheme: &str, lifetime: Duration, spent: Duration) -> Self {
        Self {
            secret: secret.into(),
            scheme: Some(scheme.into()),
            lifetime_ms: milliseconds(lifetime),
            // Never less than the truth.
            spent_ms: milliseconds(spent).saturating_add(1),
        }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime_ms)
    }

    pub(crate) fn spent(&self) -> Duration {
        Duration::from_millis(self.spent_ms)
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let secret = self.secret.expose_secret();
        let written = Written {
            secret,
            scheme: self.scheme.as_deref().unwrap_or_default(),
            lifetime_ms: self.lifetime_ms,
            spent_ms: self.spent_ms,
        };
        // With room for all of it, so that no copy of a part is left behind when it grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * secret.len() + 256));
        let encoded = serde_json::to_writer(&mut *bytes, &written);
        // Strings and numbers can always be written, and a vector takes them.
        debug_assert!(encoded.is_ok(), "{encoded:?}");
        bytes
    }

    /// Reads what [`encode`](Self::encode) has written; `None` if it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let lifetime = Duration::from_millis(299_999);
        let record = Record::new("s\"ecret", "Token", lifetime, Duration::from_micros(12_700));
        let read = Record::decode(&record.encode()).expect("it was just written");
        assert_eq!(read.secret.expose_secret(), "s\"ecret");
        assert_eq!(read.scheme.as_deref(), Some("Token"));
        assert_eq!((read.lifetime(), read.spent().as_millis()), (lifetime, 13));
    }

    #[test]
    fn members_of_a_newer_version_do_no_harm() {
        let newer = br#"{"secret":"s","lifetime_ms":5,"spent_ms":1,"extras":{"a":1}}"#;
        assert!(Record::decode(newer).is_some_and(|record| record.scheme.is_none()));
        assert!(Record::decode(b"{}").is_none());
    }
}
