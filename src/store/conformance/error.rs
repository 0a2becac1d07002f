//! [`ConformanceError`]: the rule that a store breaks.

use std::{error::Error, fmt};

use crate::store::error::StoreError;

/// A rule that a store breaks, with what was found.
#[derive(Clone, Debug)]
pub struct ConformanceError {
    rule: Rule,
    found: String,
    source: Option<StoreError>,
}

impl ConformanceError {
    pub(super) fn new(rule: Rule, found: impl Into<String>) -> Self {
        Self { rule, found: found.into(), source: None }
    }

    pub(super) fn failed(operation: &str, source: StoreError) -> Self {
        let found = format!("`{operation}` failed");
        Self { rule: Rule::Responds, found, source: Some(source) }
    }

    /// Returns the rule that is broken.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Returns what was found instead.
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl fmt::Display for ConformanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store breaks a rule: {}; found: {}", self.rule, self.found)
    }
}

impl Error for ConformanceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A rule for every [`TokenStore`](crate::store::TokenStore).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Every operation responds within ten seconds, without an error.
    Responds,
    /// A name that was never used has no value.
    StartsEmpty,
    /// A compare-and-set with the right revision replaces the value, or creates it if `old` is 0.
    Replaces,
    /// A compare-and-set with a wrong revision changes nothing, and returns the present value.
    Conflicts,
    /// A value is read with the revision that its change was given.
    Revision,
    /// A value is read byte for byte as it was written. It has 0 bytes to 8 KiB.
    Bytes,
    /// A value belongs to one name of up to 128 characters, and other names have nothing of it.
    NamesApart,
    /// Exactly one is made of several changes of one revision that run at the same time.
    OneWinner,
    /// A value is there for as long as it is to be kept.
    Keeps,
    /// An age is never less than the truth. Without a clock of the store's own, it is never less
    /// than the time since this process saw the revision first.
    AgeNotLess,
    /// An age is at most 100 ms more than the truth, and each change starts it anew.
    AgeNotMore,
    /// The first item of a watch is a gap.
    GapFirst,
    /// Every watch yields each newest change, or a gap, within ten seconds.
    Notices,
    /// A watch yields what was written under its name, and never goes back.
    NoticesTrue,
    /// A watch is quiet while nothing changes.
    Quiet,
    /// A future or stream that is dropped leaves the old value or the new one, and harms nothing
    /// else.
    CancelSafe,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Responds => "every operation responds within ten seconds, without an error",
            Self::StartsEmpty => "a name that was never used has no value",
            Self::Replaces => "a compare-and-set with the right revision replaces the value",
            Self::Conflicts => {
                "a compare-and-set with a wrong revision changes nothing and returns the present \
                 value"
            }
            Self::Revision => "a value is read with the revision that its change was given",
            Self::Bytes => "a value is read byte for byte as it was written",
            Self::NamesApart => "a value belongs to one name",
            Self::OneWinner => "of several changes of one revision exactly one is made",
            Self::Keeps => "a value is there for as long as it is to be kept",
            Self::AgeNotLess => "an age is never less than the truth",
            Self::AgeNotMore => "an age is at most 100 ms more than the truth",
            Self::GapFirst => "the first item of a watch is a gap",
            Self::Notices => "every watch yields each newest change, or a gap, within ten seconds",
            Self::NoticesTrue => "a watch yields what was written under its name, in order",
            Self::Quiet => "a watch is quiet while nothing changes",
            Self::CancelSafe => "a future that is dropped leaves the old value or the new one",
        })
    }
}
