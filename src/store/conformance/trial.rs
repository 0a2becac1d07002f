//! [`Trial`]: a run of the test, with the operations that its checks are made of.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use super::error::{ConformanceError, Rule};
use crate::store::{
    name::Name,
    token_store::{Swap, TokenStore, Versioned},
};

/// Within what an operation responds, and a watch tells of a change.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a value is to be kept.
pub(super) const KEEP: Duration = Duration::from_secs(60);

pub(super) type Checked<T = ()> = Result<T, ConformanceError>;

/// A run of the test against two handles to the same values.
pub(super) struct Trial<'a, S> {
    pub(super) one: &'a S,
    pub(super) other: &'a S,
    /// The start of the names of this run.
    prefix: String,
}

impl<'a, S: TokenStore> Trial<'a, S> {
    pub(super) fn new(one: &'a S, other: &'a S) -> Self {
        let run = fastrand::u64(..);
        Self { one, other, prefix: format!("conformance-{run:016x}-") }
    }

    /// Returns a name that no other run has.
    pub(super) fn name(&self, suffix: &str) -> Checked<Name> {
        let text = format!("{}{suffix}", self.prefix);
        Name::new(&text).ok_or_else(|| ConformanceError::new(Rule::NamesApart, text))
    }

    pub(super) fn both(&self) -> [&'a S; 2] {
        [self.one, self.other]
    }

    pub(super) async fn get(&self, store: &S, name: &Name) -> Checked<Option<Versioned>> {
        let got = responds("get", store.get(name)).await?;
        got.map_err(|error| ConformanceError::failed("get", error))
    }

    /// Makes a compare-and-set.
    pub(super) async fn swap(
        &self,
        store: &S,
        name: &Name,
        (old, new): (u64, u64),
        value: &[u8],
    ) -> Checked<Swap> {
        let swap = store.compare_and_set(name, old, new, value, KEEP);
        let swap = responds("compare_and_set", swap).await?;
        swap.map_err(|error| ConformanceError::failed("compare_and_set", error))
    }

    /// Makes a compare-and-set that has to replace the value.
    pub(super) async fn replace(
        &self,
        store: &S,
        name: &Name,
        revisions: (u64, u64),
        value: &[u8],
    ) -> Checked {
        match self.swap(store, name, revisions, value).await? {
            Swap::Done => Ok(()),
            Swap::Conflict(present) => {
                let (old, new) = revisions;
                let found =
                    format!("from {old} to {new}: a conflict with {}", shown(present.as_ref()));
                Err(ConformanceError::new(Rule::Replaces, found))
            }
        }
    }

    /// Reads a value through both handles, and expects this one.
    pub(super) async fn expect(&self, name: &Name, revision: u64, value: &[u8]) -> Checked {
        for store in self.both() {
            let found = self.get(store, name).await?;
            expect(found.as_ref(), revision, value)?;
        }
        Ok(())
    }
}

/// Waits for an operation.
pub(super) async fn responds<T>(operation: &str, future: impl Future<Output = T>) -> Checked<T> {
    timeout(PATIENCE, future).await.map_err(|_| {
        ConformanceError::new(Rule::Responds, format!("`{operation}` has not responded"))
    })
}

/// Compares a value that was read with the one that was written.
pub(super) fn expect(found: Option<&Versioned>, revision: u64, value: &[u8]) -> Checked {
    let Some(found) = found else {
        return Err(ConformanceError::new(Rule::Replaces, format!("no value for {revision}")));
    };
    if found.revision != revision {
        let found = format!("{} in place of {revision}", found.revision);
        return Err(ConformanceError::new(Rule::Revision, found));
    }
    if found.value != value {
        let found = match found.value.iter().zip(value).position(|(found, value)| found != value) {
            Some(at) => format!("another byte at {at} of {}", value.len()),
            None => format!("{} bytes in place of {}", found.value.len(), value.len()),
        };
        return Err(ConformanceError::new(Rule::Bytes, found));
    }
    Ok(())
}

/// Returns a value as an error shows it.
pub(super) fn shown(value: Option<&Versioned>) -> String {
    match value {
        Some(Versioned { revision, value, .. }) => {
            format!("revision {revision} of {} bytes", value.len())
        }
        None => "no value".into(),
    }
}
