//! [`Faulty`]: a store that breaks one rule.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt, Stream, StreamExt, future,
    stream::{self, BoxStream},
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::trial::KEEP;
use crate::{
    clock,
    store::{
        MemoryStore, Name, StoreError, TokenStore,
        token_store::{Notice, Swap, Versioned},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    NeverResponds,
    Fails,
    HasAValueAlready,
    CreatesNothing,
    SaysDoneOnly,
    IgnoresOld,
    HidesTheConflict,
    ConflictWrites,
    NumbersByItself,
    HasSmallNumbers,
    IsTextOnly,
    Cuts,
    Trims,
    ShortensNames,
    ComparesFirst,
    ForgetsEarly,
    IsAlwaysYoung,
    RoundsDown,
    ConflictRestartsAge,
    /// A store without a clock: told as such, told as one with, and one that observes nothing.
    Observes,
    ObservesInSecret,
    ObservesNothing,
    IsTooOld,
    CountsFromCreation,
    SameBytesKeepTheAge,
    StartsWithoutGap,
    NeverWatches,
    IsDeaf,
    Ends,
    ServesOneWatcher,
    LosesTheNewest,
    GoesBack,
    MixesNames,
    IsNoisy,
    StaysLocked,
    Tears,
}

/// A [`MemoryStore`] with a fault.
pub(super) struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// When each revision was read first.
    seen: HashMap<(Name, u64), Instant>,
    /// From when on the age counts.
    since: HashMap<Name, Instant>,
    watchers: HashMap<Name, u32>,
    is_locked: bool,
}

impl Faulty {
    pub(super) fn new(fault: Fault) -> Self {
        Self { inner: MemoryStore::new(), fault, notes: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Returns the name under which the value of `name` is kept.
    fn key(&self, name: &Name) -> Name {
        let cut = if self.is(Fault::ShortensNames) { 64 } else { 128 };
        Name::new(&name.as_str()[..name.as_str().len().min(cut)]).unwrap()
    }

    /// Returns what becomes of a value on the way.
    fn spoilt(&self, value: &[u8]) -> Vec<u8> {
        match self.fault {
            Fault::IsTextOnly => String::from_utf8_lossy(value).into_owned().into_bytes(),
            Fault::Cuts => value[..value.len().min(4096)].to_vec(),
            Fault::Trims => value.trim_ascii_end().to_vec(),
            _ => value.to_vec(),
        }
    }

    async fn read(&self, name: &Name) -> Option<Versioned> {
        let found = self.inner.get(name).await.unwrap();
        if found.is_none() && self.is(Fault::HasAValueAlready) {
            return Some(Versioned { revision: 1, value: Bytes::new(), age: Duration::ZERO });
        }
        let mut found = found?;
        let (now, mut notes) = (clock::now(), self.notes());
        let seen = *notes.seen.entry((name.clone(), found.revision)).or_insert(now);
        match self.fault {
            Fault::ForgetsEarly if found.age > Duration::from_millis(250) => return None,
            Fault::IsAlwaysYoung | Fault::ObservesNothing => found.age = Duration::ZERO,
            Fault::RoundsDown => found.age = Duration::from_secs(found.age.as_secs()),
            Fault::IsTooOld => found.age += Duration::from_secs(1),
            Fault::Observes | Fault::ObservesInSecret => found.age = now - seen,
            Fault::CountsFromCreation | Fault::SameBytesKeepTheAge => {
                found.age = now - notes.since[name];
            }
            _ => {}
        }
        Some(found)
    }

    /// Replaces the value, whatever it is.
    fn overwrite(&self, name: &Name, new: u64, value: &[u8]) {
        overwrite(&self.inner, name, new, value);
    }

    async fn swap(&self, name: &Name, old: u64, new: u64, value: &[u8]) -> Swap {
        let present = self.read(name).await;
        if present.as_ref().map_or(0, |present| present.revision) != old {
            return self.refuse(name, present, new, value);
        }
        match self.fault {
            Fault::CreatesNothing if old == 0 => return Swap::Conflict(present),
            Fault::SaysDoneOnly => return Swap::Done,
            Fault::NumbersByItself => self.overwrite(name, old + 1, value),
            Fault::HasSmallNumbers => self.overwrite(name, new & 0xffff_ffff, value),
            Fault::ComparesFirst => {
                yield_now().await;
                self.overwrite(name, new, value);
            }
            Fault::StaysLocked => {
                while mem::replace(&mut self.notes().is_locked, true) {
                    sleep(Duration::from_millis(1)).await;
                }
                yield_now().await;
                let swap = self.inner.compare_and_set(name, old, new, value, KEEP).await.unwrap();
                self.notes().is_locked = false;
                return swap;
            }
            Fault::Tears => {
                let torn = Torn(Some((self.inner.clone(), name.clone())));
                yield_now().await;
                torn.disarm();
                return self.inner.compare_and_set(name, old, new, value, KEEP).await.unwrap();
            }
            _ => return self.inner.compare_and_set(name, old, new, value, KEEP).await.unwrap(),
        }
        Swap::Done
    }

    fn refuse(&self, name: &Name, present: Option<Versioned>, new: u64, value: &[u8]) -> Swap {
        match (self.fault, &present) {
            (Fault::IgnoresOld, _) => {
                self.overwrite(name, new, value);
                return Swap::Done;
            }
            (Fault::HidesTheConflict, _) => return Swap::Conflict(None),
            (Fault::ConflictWrites, _) => self.overwrite(name, new, value),
            (Fault::ConflictRestartsAge, Some(present)) => {
                self.overwrite(name, present.revision, &present.value);
            }
            _ => {}
        }
        Swap::Conflict(present)
    }
}

fn overwrite(store: &MemoryStore, name: &Name, new: u64, value: &[u8]) {
    let found = store.get(name).now_or_never().unwrap().unwrap();
    let old = found.map_or(0, |found| found.revision);
    let swap = store.compare_and_set(name, old, new, value, KEEP).now_or_never().unwrap();
    assert_eq!(swap.unwrap(), Swap::Done);
}

/// Leaves half a value behind if it is dropped.
struct Torn(Option<(MemoryStore, Name)>);

impl Torn {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Torn {
    fn drop(&mut self) {
        if let Some((store, name)) = &self.0 {
            overwrite(store, name, 1, b"ha");
        }
    }
}

impl TokenStore for Faulty {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        match self.fault {
            Fault::NeverResponds => future::pending().await,
            Fault::Fails => Err(StoreError::denied("HGET")),
            _ => Ok(self.read(&self.key(name)).await),
        }
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        _keep: Duration,
    ) -> Result<Swap, StoreError> {
        let (name, value) = (self.key(name), self.spoilt(value));
        let before = self.inner.get(&name).await?;
        let swap = self.swap(&name, old, new, &value).await;
        let is_same = before.as_ref().is_some_and(|before| before.value == value);
        let restarts = match self.fault {
            Fault::CountsFromCreation => before.is_none(),
            Fault::SameBytesKeepTheAge => !is_same,
            _ => true,
        };
        if swap == Swap::Done && restarts {
            self.notes().since.insert(name, clock::now());
        }
        Ok(swap)
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let inner = self.inner.watch(name).boxed();
        let watchers = {
            let mut notes = self.notes();
            let watchers = notes.watchers.entry(name.clone()).or_default();
            *watchers += 1;
            *watchers
        };
        let watch: BoxStream<'static, Notice> = match self.fault {
            Fault::StartsWithoutGap => inner.skip(1).boxed(),
            Fault::NeverWatches => stream::pending().boxed(),
            Fault::IsDeaf => inner.take(1).chain(stream::pending()).boxed(),
            Fault::Ends => inner.take(1).boxed(),
            Fault::ServesOneWatcher if watchers > 1 => {
                inner.take(1).chain(stream::pending()).boxed()
            }
            Fault::LosesTheNewest => inner.filter(|notice| future::ready(is_early(notice))).boxed(),
            Fault::GoesBack => inner
                .scan(None, |last, notice| {
                    let before = last.replace(notice.clone()).unwrap_or(Notice::Gap);
                    future::ready(Some(stream::iter([notice, before])))
                })
                .flatten()
                .boxed(),
            Fault::MixesNames => {
                let neighbour = Name::new(&format!("{name}-2")).unwrap();
                stream::select(inner, self.inner.watch(&neighbour).skip(1)).boxed()
            }
            Fault::IsNoisy => stream::select(inner, stream::repeat(Notice::Gap)).boxed(),
            _ => inner,
        };
        watch
    }

    fn has_clock(&self) -> bool {
        !matches!(self.fault, Fault::Observes | Fault::ObservesNothing)
    }
}

/// Returns `true` for the first changes, as many as a small buffer holds.
fn is_early(notice: &Notice) -> bool {
    !matches!(notice, Notice::Changed { revision: 17.., .. })
}
