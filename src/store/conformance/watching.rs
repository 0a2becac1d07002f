//! Checks of watches.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::{
    error::{ConformanceError, Rule},
    trial::{Checked, PATIENCE, Trial},
};
use crate::store::{
    name::Name,
    token_store::{Notice, TokenStore},
};

/// For how long a watch has to be quiet while nothing changes.
const QUIET: Duration = Duration::from_millis(500);
/// More notices than a connection that is lost and made again yields meanwhile.
const NOISE: usize = 10;

/// A watch, and what may come of it.
pub(super) struct Watch {
    stream: Pin<Box<dyn Stream<Item = Notice> + Send>>,
    /// The revision of the last change that was yielded.
    last: u64,
}

impl Watch {
    /// Opens a watch, and waits until it works.
    pub(super) async fn open<S: TokenStore>(store: &S, name: &Name) -> Checked<Self> {
        let mut watch = Self { stream: Box::pin(store.watch(name)), last: 0 };
        let found = match timeout(PATIENCE, watch.stream.next()).await {
            Ok(Some(Notice::Gap)) => return Ok(watch),
            Ok(Some(Notice::Changed { revision, .. })) => format!("a change to {revision}"),
            Ok(None) => "its end".into(),
            Err(_) => "no notice".into(),
        };
        Err(ConformanceError::new(Rule::GapFirst, found))
    }

    /// Waits for a notice. `None` is the end.
    async fn next(&mut self) -> Checked<Option<Notice>> {
        timeout(PATIENCE, self.stream.next())
            .await
            .map_err(|_| ConformanceError::new(Rule::Notices, "no notice"))
    }

    /// Waits until the watch has told of the last of `written`, which is all that was written under
    /// its name so far.
    pub(super) async fn learns(&mut self, written: &[(u64, Bytes)]) -> Checked {
        let newest = written.last().map_or(0, |(revision, _)| *revision);
        loop {
            match self.next().await? {
                // The caller gets the value.
                Some(Notice::Gap) => return Ok(()),
                Some(Notice::Changed { revision, value }) => {
                    self.take(revision, &value, written)?;
                    if revision == newest {
                        return Ok(());
                    }
                }
                None => return Err(ConformanceError::new(Rule::Notices, "the watch has ended")),
            }
        }
    }

    fn take(&mut self, revision: u64, value: &Bytes, written: &[(u64, Bytes)]) -> Checked {
        let broken = |found| Err(ConformanceError::new(Rule::NoticesTrue, found));
        if !written.iter().any(|(written, bytes)| *written == revision && bytes == value) {
            return broken(format!("revision {revision} with a value that was not written"));
        }
        if revision < self.last {
            return broken(format!("revision {revision} after {}", self.last));
        }
        self.last = revision;
        Ok(())
    }

    /// Waits for a while, in which nothing is new but what the watch has not told yet.
    pub(super) async fn is_quiet(&mut self, written: &[(u64, Bytes)]) -> Checked {
        let listen = async {
            let mut noise = 0;
            while noise < NOISE {
                match self.stream.next().await {
                    Some(Notice::Gap) => noise += 1,
                    Some(Notice::Changed { revision, value }) => {
                        noise += usize::from(revision == self.last);
                        self.take(revision, &value, written)?;
                    }
                    None => {
                        return Err(ConformanceError::new(Rule::Notices, "the watch has ended"));
                    }
                }
            }
            Err(ConformanceError::new(Rule::Quiet, format!("{NOISE} notices in {QUIET:?}")))
        };
        timeout(QUIET, listen).await.unwrap_or(Ok(()))
    }
}

impl<S: TokenStore> Trial<'_, S> {
    pub(super) async fn check_watches(&self) -> Checked {
        let (name, neighbour) = (self.name("watched")?, self.name("watched-2")?);
        // One watches a name without a value, the next one with a value.
        let mut watches = vec![Watch::open(self.other, &name).await?];
        let (mut written, mut beside) = (Vec::new(), Vec::new());
        self.write(&name, &mut written).await?;
        watches.push(Watch::open(self.one, &name).await?);
        watches.push(Watch::open(self.other, &name).await?);
        watches[0].learns(&written).await?;
        for _ in 0..3 {
            self.write(&name, &mut written).await?;
            self.write(&neighbour, &mut beside).await?;
            for watch in &mut watches {
                watch.learns(&written).await?;
            }
        }
        watches.swap_remove(1);
        // More than a buffer holds, while nobody reads.
        for _ in 0..40 {
            self.write(&name, &mut written).await?;
        }
        for watch in &mut watches {
            watch.learns(&written).await?;
        }
        for watch in &mut watches {
            watch.is_quiet(&written).await?;
        }
        self.write(&name, &mut written).await?;
        for watch in &mut watches {
            watch.learns(&written).await?;
        }
        Ok(())
    }

    /// Makes the next change.
    pub(super) async fn write(&self, name: &Name, written: &mut Vec<(u64, Bytes)>) -> Checked {
        let old = written.last().map_or(0, |(revision, _)| *revision);
        let value = Bytes::from(format!("{name} {}", written.len()));
        let store = self.both()[written.len() % 2];
        self.replace(store, name, (old, old + 1), &value).await?;
        written.push((old + 1, value));
        Ok(())
    }
}
