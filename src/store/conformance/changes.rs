//! Checks of what a change does.

use futures_util::future::join_all;

use super::{
    error::{ConformanceError, Rule},
    trial::{Checked, Trial, expect, shown},
};
use crate::store::{
    name::Name,
    token_store::{MAX_VALUE, Swap, TokenStore, Versioned},
};

/// The largest revision.
const LAST: u64 = (1 << 53) - 1;
/// How many changes run at the same time.
const RIVALS: u64 = 8;

impl<S: TokenStore> Trial<'_, S> {
    pub(super) async fn check_creation(&self) -> Checked {
        let name = self.name("creation")?;
        for store in self.both() {
            if let found @ Some(_) = self.get(store, &name).await? {
                return Err(ConformanceError::new(Rule::StartsEmpty, shown(found.as_ref())));
            }
        }
        // The caller chooses the numbers, and they need not be in a row.
        let revisions = [0, 1, 2, 10, 11, 1_795_676_400_000, 1_795_676_400_001, LAST - 1, LAST];
        for (step, pair) in revisions.windows(2).enumerate() {
            let [old, new] = *pair else { continue };
            let value = format!("change {step}");
            let store = self.both()[step % 2];
            self.replace(store, &name, (old, new), value.as_bytes()).await?;
            self.expect(&name, new, value.as_bytes()).await?;
        }
        Ok(())
    }

    pub(super) async fn check_conflicts(&self) -> Checked {
        let name = self.name("conflicts")?;
        for old in [1, 41] {
            self.conflict(&name, (old, 42), None).await?;
        }
        self.replace(self.one, &name, (0, 40), b"first").await?;
        self.replace(self.other, &name, (40, 50), b"second").await?;
        // None was expected, an older one, one that never was, the one to come.
        for old in [0, 40, 49, 51] {
            self.conflict(&name, (old, 60), Some((50, b"second"))).await?;
        }
        // A refused change has not spoilt the next one.
        self.replace(self.one, &name, (50, 60), b"third").await?;
        self.expect(&name, 60, b"third").await
    }

    /// Makes changes that have to be refused, through both handles.
    async fn conflict(
        &self,
        name: &Name,
        revisions: (u64, u64),
        expected: Option<(u64, &[u8])>,
    ) -> Checked {
        let broken = |found: String| {
            let (old, new) = revisions;
            ConformanceError::new(Rule::Conflicts, format!("from {old} to {new}: {found}"))
        };
        let same = |found: &Option<Versioned>| match (found, expected) {
            (Some(found), Some((revision, value))) => expect(Some(found), revision, value).is_ok(),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        for store in self.both() {
            match self.swap(store, name, revisions, b"refused").await? {
                Swap::Done => return Err(broken("it was made".into())),
                Swap::Conflict(found) if same(&found) => {}
                Swap::Conflict(found) => return Err(broken(shown(found.as_ref()))),
            }
            let found = self.get(store, name).await?;
            if !same(&found) {
                return Err(broken(format!("it left {}", shown(found.as_ref()))));
            }
        }
        Ok(())
    }

    pub(super) async fn check_bytes(&self) -> Checked {
        let name = self.name("bytes")?;
        let every_byte: Vec<u8> = (0..=u8::MAX).collect();
        let longest: Vec<u8> = (0..MAX_VALUE).map(|_| fastrand::u8(..)).collect();
        let values: [&[u8]; 6] = [b"\0", b" \r\n", b"", &every_byte, &longest, b"short again"];
        for (old, value) in (0..).zip(values) {
            self.replace(self.one, &name, (old, old + 1), value).await?;
            self.expect(&name, old + 1, value).await?;
        }
        Ok(())
    }

    pub(super) async fn check_names(&self) -> Checked {
        // The names are as long as can be, and differ in the last character alone.
        let length = 128 - self.name("")?.as_str().len();
        let mut names = Vec::new();
        for last in ["a", "b", "-", "_", "0"] {
            names.push(self.name(&format!("{last:-<length$}"))?);
            names.push(self.name(&format!("{last:->length$}"))?);
        }
        names.dedup();
        let broken = |found: Option<Versioned>| {
            Err(ConformanceError::new(Rule::NamesApart, shown(found.as_ref())))
        };
        for (revision, name) in (1..).zip(&names) {
            if let found @ Some(_) = self.get(self.one, name).await? {
                return broken(found);
            }
            self.replace(self.one, name, (0, revision), name.as_str().as_bytes()).await?;
        }
        for (revision, name) in (1..).zip(&names) {
            let found = self.get(self.other, name).await?;
            if expect(found.as_ref(), revision, name.as_str().as_bytes()).is_err() {
                return broken(found);
            }
        }
        Ok(())
    }

    pub(super) async fn check_one_winner(&self) -> Checked {
        let name = self.name("winner")?;
        let mut present = 0;
        for _ in 0..10 {
            present = self.race(&name, present).await?;
        }
        Ok(())
    }

    /// Makes several changes of one revision at the same time. Returns the revision of the one
    /// that was made.
    async fn race(&self, name: &Name, old: u64) -> Checked<u64> {
        let rivals = (1..=RIVALS).map(|n| async move {
            let (store, new) = (self.both()[usize::from(n % 2 == 0)], old + n);
            Ok((new, self.swap(store, name, (old, new), &new.to_be_bytes()).await?))
        });
        let results = join_all(rivals).await.into_iter().collect::<Checked<Vec<_>>>()?;
        let broken = |found: String| Err(ConformanceError::new(Rule::OneWinner, found));
        let winners: Vec<u64> =
            results.iter().filter(|(_, swap)| *swap == Swap::Done).map(|(new, _)| *new).collect();
        let [winner] = winners[..] else {
            return broken(format!("{} of {RIVALS} changes were made", winners.len()));
        };
        for (_, swap) in &results {
            if let Swap::Conflict(found) = swap
                && found.as_ref().map(|found| found.revision) != Some(winner)
            {
                return broken(format!(
                    "a conflict with {}, and {winner} won",
                    shown(found.as_ref())
                ));
            }
        }
        let found = self.get(self.other, name).await?;
        if expect(found.as_ref(), winner, &winner.to_be_bytes()).is_err() {
            return broken(format!("{} after {winner} won", shown(found.as_ref())));
        }
        Ok(winner)
    }
}
