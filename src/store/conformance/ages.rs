//! Checks of ages.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    error::{ConformanceError, Rule},
    trial::{Checked, Trial, expect},
};
use crate::{
    clock,
    store::{
        name::Name,
        token_store::{Swap, TokenStore, Versioned},
    },
};

/// How much more than the truth an age may be.
const MORE: Duration = Duration::from_millis(100);
/// Time for a value to grow old. Much more than `MORE`.
const WAIT: Duration = Duration::from_millis(500);

/// The time that an operation took.
#[derive(Clone, Copy)]
struct Span {
    began: Instant,
    ended: Instant,
}

/// The bounds of an age.
#[derive(Clone, Copy)]
struct Bounds {
    changed: Span,
    /// From when on the age counts at the latest. `None` if this process has not seen the value
    /// yet, and the store has no clock.
    counts: Option<Span>,
}

impl Bounds {
    /// Returns the bounds for a process that has not seen the value yet.
    fn at_first_sight(store: &impl TokenStore, changed: Span) -> Self {
        Self { changed, counts: store.has_clock().then_some(changed) }
    }

    fn check(self, found: &Versioned, read: Span) -> Checked {
        let age = found.age;
        let least = self.counts.map(|since| read.began.saturating_duration_since(since.ended));
        if let Some(least) = least
            && age < least
        {
            let found = format!("{age:?}, and it is {least:?} at least");
            return Err(ConformanceError::new(Rule::AgeNotLess, found));
        }
        let most = read.ended.saturating_duration_since(self.changed.began);
        if age > most + MORE {
            let found = format!("{age:?}, and it is {most:?} at most");
            return Err(ConformanceError::new(Rule::AgeNotMore, found));
        }
        Ok(())
    }
}

impl<S: TokenStore> Trial<'_, S> {
    pub(super) async fn check_ages(&self) -> Checked {
        let name = self.name("age")?;
        let created = timed(self.replace(self.one, &name, (0, 1), b"value")).await?.1;
        let mut bounds = self.both().map(|store| Bounds::at_first_sight(store, created));
        for (store, bounds) in self.both().into_iter().zip(&mut bounds) {
            // With a clock it is the first sight after the wait that has to tell the age.
            if !store.has_clock() {
                bounds.counts = Some(self.check_age(store, &name, 1, *bounds).await?);
            }
        }
        sleep(WAIT).await;
        for (store, bounds) in self.both().into_iter().zip(bounds) {
            self.check_age(store, &name, 1, bounds).await?;
            self.check_conflict(store, &name, bounds).await?;
            self.check_age(store, &name, 1, bounds).await?;
        }
        // With the same bytes, as a lease is extended.
        let changed = timed(self.replace(self.other, &name, (1, 2), b"value")).await?.1;
        for store in self.both() {
            self.check_age(store, &name, 2, Bounds::at_first_sight(store, changed)).await?;
        }
        Ok(())
    }

    /// Reads the value with its age. Returns when.
    async fn check_age(
        &self,
        store: &S,
        name: &Name,
        revision: u64,
        bounds: Bounds,
    ) -> Checked<Span> {
        let (found, read) = timed(self.get(store, name)).await?;
        let Some(found) = found else {
            return Err(ConformanceError::new(Rule::Keeps, "no value after half a second"));
        };
        expect(Some(&found), revision, b"value")?;
        bounds.check(&found, read)?;
        Ok(read)
    }

    /// Makes a change that is refused, which tells the age as well.
    async fn check_conflict(&self, store: &S, name: &Name, bounds: Bounds) -> Checked {
        let (swap, read) = timed(self.swap(store, name, (9, 10), b"refused")).await?;
        let Swap::Conflict(Some(found)) = swap else {
            let found = format!("from 9 to 10 in place of 1: {swap:?}");
            return Err(ConformanceError::new(Rule::Conflicts, found));
        };
        bounds.check(&found, read)
    }
}

/// Runs a step, and returns its result with its time.
async fn timed<T>(step: impl Future<Output = Checked<T>>) -> Checked<(T, Span)> {
    let began = clock::now();
    let result = step.await?;
    Ok((result, Span { began, ended: clock::now() }))
}
