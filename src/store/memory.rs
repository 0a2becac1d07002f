//! [`MemoryStore`]: a store in the memory of this process.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    error::StoreError,
    name::Name,
    token_store::{MAX_VALUE, Notice, Swap, TokenStore, Versioned},
};
use crate::{
    clock::{self, Moment},
    isolate::isolate,
};

/// How many names may have a value at the same time.
const MAX_NAMES: usize = 1_024;

/// A store in the memory of this process, for several caches in one process and for tests.
///
/// Clones share their values. It holds at most 1,024 names, and forgets a value once its time to
/// be kept is over. One name more is an error. Ages are by Tokio's clock, so a paused test clock
/// governs them, and they go on while the machine sleeps.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tower_reauth::store::{MemoryStore, Name, StoreError, Swap, TokenStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), StoreError> {
/// # let Some(name) = Name::new("payments") else { return Ok(()) };
/// let store = MemoryStore::new();
/// let a_week = Duration::from_secs(7 * 24 * 3600);
/// assert_eq!(store.compare_and_set(&name, 0, 1, b"first", a_week).await?, Swap::Done);
/// // Another cache's view.
/// let found = store.clone().get(&name).await?;
/// assert_eq!(found.map(|found| found.revision), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<HashMap<Name, Slot>>>);

/// A name's value, and those who watch it.
struct Slot {
    entry: Option<Entry>,
    /// Tells that `entry` has changed. A watcher then reads it, so none yields an older one.
    ///
    /// Watchers wake in the order in which they began to wait. A `watch` channel would wake them in
    /// one of chance, so that no simulation of many processes would play the same again.
    changed: broadcast::Sender<()>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { entry: None, changed: broadcast::Sender::new(1) }
    }
}

struct Entry {
    revision: u64,
    value: Bytes,
    changed: Moment,
    keep: Duration,
}

impl Entry {
    fn age(&self) -> Duration {
        let now = clock::moment();
        let awake = now.at.saturating_duration_since(self.changed.at);
        awake + now.slept.saturating_sub(self.changed.slept)
    }
}

impl Slot {
    /// Returns the value, unless its time is over.
    fn present(&self) -> Option<Versioned> {
        let entry = self.entry.as_ref()?;
        let (revision, value, age) = (entry.revision, entry.value.clone(), entry.age());
        (age <= entry.keep).then_some(Versioned { revision, value, age })
    }

    fn is_unused(&self) -> bool {
        self.present().is_none() && self.changed.receiver_count() == 0
    }
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Name, Slot>> {
        // No code under the lock leaves a slot half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self, name: &Name) -> Option<Versioned> {
        self.slots().get(name).and_then(Slot::present)
    }

    /// Replaces the value, or returns the conflict. The second result is whom to tell.
    fn swap(
        &self,
        name: &Name,
        old: u64,
        new: Entry,
    ) -> Result<(Swap, Option<broadcast::Sender<()>>), StoreError> {
        let mut slots = self.slots();
        let present = slots.get(name).and_then(Slot::present);
        if present.as_ref().map_or(0, |present| present.revision) != old {
            return Ok((Swap::Conflict(present), None));
        }
        if present.is_none() && is_full(&mut slots) {
            return Err(StoreError::unavailable(format!("it has {MAX_NAMES} names already")));
        }
        let slot = slots.entry(name.clone()).or_default();
        slot.entry = Some(new);
        Ok((Swap::Done, Some(slot.changed.clone())))
    }
}

/// Returns `true` if no further name can have a value, after all that is over was dropped.
fn is_full(slots: &mut HashMap<Name, Slot>) -> bool {
    if slots.len() < MAX_NAMES {
        return false;
    }
    slots.retain(|_, slot| !slot.is_unused());
    slots.values().filter(|slot| slot.present().is_some()).count() >= MAX_NAMES
}

impl TokenStore for MemoryStore {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        Ok(self.present(name))
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> Result<Swap, StoreError> {
        if value.len() > MAX_VALUE {
            return Err(StoreError::unusable(format!("a value has at most {MAX_VALUE} bytes")));
        }
        let value = Bytes::copy_from_slice(value);
        let entry = Entry { revision: new, value, changed: clock::moment(), keep };
        let (swap, changed) = self.swap(name, old, entry)?;
        if let Some(changed) = changed {
            // This runs the watchers' wakers. There may be nobody to tell.
            isolate(|| drop(changed.send(())));
        }
        Ok(swap)
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let watcher = Watcher {
            store: self.clone(),
            name: name.clone(),
            changed: self.slots().entry(name.clone()).or_default().changed.subscribe(),
            yielded: None,
        };
        stream::unfold(watcher, |mut watcher| async move {
            let notice = watcher.next().await?;
            Some((notice, watcher))
        })
    }

    /// A change wakes the watchers before it returns.
    fn notice(&self) -> Duration {
        Duration::from_millis(1)
    }
}

struct Watcher {
    store: MemoryStore,
    name: Name,
    changed: broadcast::Receiver<()>,
    /// The newest revision that was yielded. `None` before the first notice, which is a gap.
    yielded: Option<u64>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Notice> {
        let Some(yielded) = self.yielded else {
            self.yielded = Some(0);
            return Some(Notice::Gap);
        };
        loop {
            // One that is late has missed that the value had changed before that as well.
            if let Err(RecvError::Closed) = self.changed.recv().await {
                return None;
            }
            // A revision that starts over, after the value was forgotten, is a change as well.
            if let Some(Versioned { revision, value, .. }) = self.store.present(&self.name)
                && revision != yielded
            {
                self.yielded = Some(revision);
                return Some(Notice::Changed { revision, value });
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a key a value shows the token.
        f.debug_struct("MemoryStore").field("names", &self.slots().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_values_and_ages_follow_tokios_clock() {
        let store = MemoryStore::new();
        let swap = store.compare_and_set(&name("a"), 0, 3, b"value", MINUTE).await.unwrap();
        assert_eq!(swap, Swap::Done);
        tokio::time::advance(Duration::from_secs(5)).await;
        let found = store.clone().get(&name("a")).await.unwrap().unwrap();
        assert_eq!((found.revision, &found.value[..]), (3, &b"value"[..]));
        assert_eq!(found.age, Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_ages_while_the_machine_sleeps() {
        let store = MemoryStore::new();
        store.compare_and_set(&name("a"), 0, 1, b"value", MINUTE).await.unwrap();
        clock::tests::sleep(Duration::from_secs(30));
        let found = store.get(&name("a")).await.unwrap().unwrap();
        assert!(found.age >= Duration::from_secs(29), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_forgotten_after_its_time_and_not_before() {
        let store = MemoryStore::new();
        store.compare_and_set(&name("a"), 0, 7, b"value", MINUTE).await.unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(store.get(&name("a")).await.unwrap().is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(store.get(&name("a")).await.unwrap(), None);
        let swap = store.compare_and_set(&name("a"), 7, 8, b"next", MINUTE).await.unwrap();
        assert_eq!(swap, Swap::Conflict(None));
    }

    #[tokio::test(start_paused = true)]
    async fn its_memory_is_bounded() {
        let store = MemoryStore::new();
        for n in 0..MAX_NAMES {
            store.compare_and_set(&name(&format!("n{n}")), 0, 1, b"v", MINUTE).await.unwrap();
        }
        let error = store.compare_and_set(&name("more"), 0, 1, b"v", MINUTE).await.unwrap_err();
        assert!(error.is_transient());
        // Names that are there already can be changed.
        let swap = store.compare_and_set(&name("n0"), 1, 2, b"w", MINUTE).await.unwrap();
        assert_eq!(swap, Swap::Done);

        tokio::time::advance(MINUTE + Duration::from_secs(1)).await;
        let swap = store.compare_and_set(&name("more"), 0, 1, b"v", MINUTE).await.unwrap();
        assert_eq!(swap, Swap::Done);
        assert_eq!(store.slots().len(), 1, "what is over is dropped");

        let large = vec![0; MAX_VALUE + 1];
        let error = store.compare_and_set(&name("large"), 0, 1, &large, MINUTE).await.unwrap_err();
        assert!(!error.is_transient());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_watcher_gets_the_newest_change_only() {
        let store = MemoryStore::new();
        let mut watch = std::pin::pin!(store.watch(&name("a")));
        for n in 0..100 {
            store.compare_and_set(&name("a"), n, n + 1, b"v", MINUTE).await.unwrap();
        }
        assert_eq!(watch.next().now_or_never().flatten(), Some(Notice::Gap));
        let newest = Notice::Changed { revision: 100, value: Bytes::from_static(b"v") };
        assert_eq!(watch.next().now_or_never().flatten(), Some(newest));
        assert_eq!(watch.next().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_is_told_late_does_not_repeat_a_change() {
        let store = MemoryStore::new();
        let mut watch = std::pin::pin!(store.watch(&name("a")));
        assert_eq!(watch.next().await, Some(Notice::Gap));
        let change = |old| {
            let (value, changed) = (Bytes::new(), clock::moment());
            let entry = Entry { revision: old + 1, value, changed, keep: MINUTE };
            store.swap(&name("a"), old, entry).unwrap().1.unwrap()
        };
        // Both are made before the first is told.
        let (first, second) = (change(0), change(1));
        first.send(()).unwrap();
        let newest = Notice::Changed { revision: 2, value: Bytes::new() };
        assert_eq!(watch.next().now_or_never().flatten(), Some(newest));
        second.send(()).unwrap();
        assert_eq!(watch.next().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_wake_in_the_order_in_which_they_wait() {
        let store = MemoryStore::new();
        let woken = Arc::new(Mutex::new(Vec::new()));
        for watcher in 0..40 {
            let (mut watch, woken) = (Box::pin(store.watch(&name("a"))), Arc::clone(&woken));
            tokio::spawn(async move {
                while watch.next().await.is_some() {
                    woken.lock().unwrap().push(watcher);
                }
            });
        }
        let settle = Duration::from_millis(1);
        tokio::time::sleep(settle).await;
        woken.lock().unwrap().clear();
        store.compare_and_set(&name("a"), 0, 1, b"v", MINUTE).await.unwrap();
        tokio::time::sleep(settle).await;
        assert_eq!(*woken.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_value_is_not_shown() {
        let store = MemoryStore::new();
        let swap = store.compare_and_set(&name("a"), 0, 1, b"s3cret", MINUTE).now_or_never();
        assert!(swap.unwrap().is_ok());
        assert_eq!(format!("{store:?}"), "MemoryStore { names: 1 }");
    }
}
