//! [`Member`]: this process' part in the fleet of one client id.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::{self, Moment},
    store::{Name, value::Value},
};

/// This process' part in the fleet of one client id, for as long as the client id stays the same.
pub(crate) struct Member {
    pub(crate) name: Name,
    /// The difference of this cache's sequence numbers to those of the fleet. It is zero, unless
    /// the cache had tokens of another client id before.
    offset: u64,
    seen: watch::Sender<Option<Seen>>,
}

/// The newest shared value that this process has seen.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) revision: u64,
    pub(crate) value: Arc<Value>,
    /// When this process saw it first.
    pub(crate) at: Moment,
}

/// Tells of newer values than those that were seen before.
pub(crate) struct News(watch::Receiver<Option<Seen>>);

impl Member {
    pub(super) fn new(name: Name, offset: u64) -> Self {
        Self { name, offset, seen: watch::Sender::new(None) }
    }

    /// Returns the number that the fleet has for the token that is `sequence` here; 0 if the fleet
    /// has none.
    pub(crate) fn shared(&self, sequence: u64) -> u64 {
        sequence.saturating_sub(self.offset)
    }

    /// Returns the number of the fleet's token `sequence` in this cache.
    pub(crate) fn local(&self, sequence: u64) -> u64 {
        sequence.saturating_add(self.offset)
    }

    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen.borrow().clone()
    }

    /// Returns for how long this process knew the value with this revision at that moment.
    pub(super) fn known_for(&self, revision: u64, at: &Moment) -> Duration {
        let seen = self.seen.borrow();
        let seen = seen.as_ref().filter(|seen| seen.revision == revision);
        seen.map_or(Duration::ZERO, |seen| at.since(&seen.at))
    }

    /// Takes in a value. Returns whether it is newer than all before.
    pub(crate) fn note(&self, revision: u64, value: Value) -> bool {
        let at = clock::moment();
        self.seen.send_if_modified(|seen| {
            let is_newer = seen.as_ref().is_none_or(|seen| seen.revision < revision);
            if is_newer {
                *seen = Some(Seen { revision, value: Arc::new(value), at });
            }
            is_newer
        })
    }

    /// Takes in the value that the store gave when it was asked then. It stands in for all that was
    /// seen before, greater revisions too: a store may have lost the last changes.
    pub(crate) fn found(&self, revision: u64, value: Value, asked: &Moment) {
        let at = clock::moment();
        self.seen.send_if_modified(|seen| {
            let is_news = seen.as_ref().is_none_or(|seen| {
                seen.revision < revision || seen.revision > revision && seen.at.at < asked.at
            });
            if is_news {
                *seen = Some(Seen { revision, value: Arc::new(value), at });
            }
            is_news
        });
    }

    /// Wakes all who wait for news, because some may have been missed.
    pub(crate) fn mind_the_gap(&self) {
        self.seen.send_modify(|_| {});
    }

    /// Subscribes to news from now on.
    pub(crate) fn news(&self) -> News {
        News(self.seen.subscribe())
    }
}

impl News {
    /// Waits for news.
    pub(crate) async fn next(&mut self) {
        // The sender is the member, which the caller holds.
        let _ = self.0.changed().await;
    }

    /// Returns the newest value. What came before this call is no news any longer.
    pub(crate) fn take(&mut self) -> Option<Seen> {
        self.0.borrow_and_update().clone()
    }

    /// Returns whether there are news.
    #[cfg(test)]
    fn has_some(&mut self) -> bool {
        use futures_util::FutureExt;

        self.next().now_or_never().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(offset: u64) -> Member {
        Member::new(Name::new("payments").expect("allowed"), offset)
    }

    #[test]
    fn only_a_newer_value_is_news() {
        let member = member(0);
        let mut news = member.news();
        for (revision, is_news) in [(5, true), (5, false), (4, false), (6, true)] {
            assert_eq!(member.note(revision, Value::default()), is_news);
            assert_eq!(news.has_some(), is_news);
        }
        member.mind_the_gap();
        assert!(news.has_some());
        assert_eq!(news.take().map(|seen| seen.revision), Some(6));
    }

    #[test]
    fn the_numbers_of_a_former_client_come_first() {
        let member = member(10);
        assert_eq!((member.shared(9), member.shared(10), member.shared(17)), (0, 0, 7));
        assert_eq!(member.local(7), 17);
    }
}
