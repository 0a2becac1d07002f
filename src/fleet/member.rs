//! [`Member`]: this process' part in the fleet of one client id.

use std::{cmp::Ordering, sync::Arc, time::Duration};

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
    /// A moment before its fence was given: the last one at which the store was asked and had an
    /// older fence. Nobody asked for a token under this fence before that.
    pub(crate) before: Option<Moment>,
    /// The last moment at which the store was asked and had this fence.
    asked: Option<Moment>,
    /// The greatest revision that this process has seen. The store may have lost it.
    greatest: u64,
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

    /// Returns the greatest revision that this process has seen; 0 if there is none.
    pub(super) fn greatest(&self) -> u64 {
        self.seen.borrow().as_ref().map_or(0, |seen| seen.greatest)
    }

    /// Returns for how long this process knew the value with this revision at that moment.
    pub(super) fn known_for(&self, revision: u64, at: &Moment) -> Duration {
        let seen = self.seen.borrow();
        let seen = seen.as_ref().filter(|seen| seen.revision == revision);
        seen.map_or(Duration::ZERO, |seen| at.since(&seen.at))
    }

    /// Takes in a value that the store told of. Returns whether it is newer than all before.
    pub(crate) fn note(&self, revision: u64, value: Value) -> bool {
        let seen = Seen::new(revision, value, None);
        self.take_in(seen, |former| former.revision < revision)
    }

    /// Takes in the value that the store gave when it was asked then. It stands in for all that was
    /// seen before, greater revisions too: a store may have lost the last changes.
    pub(crate) fn found(&self, revision: u64, value: Value, asked: Moment) {
        let seen = Seen::new(revision, value, Some(asked));
        self.take_in(seen, |former| {
            former.revision < revision || former.revision > revision && former.at.at < asked.at
        });
    }

    fn take_in(&self, seen: Seen, is_news: impl FnOnce(&Seen) -> bool) -> bool {
        self.seen.send_if_modified(|newest| {
            let Some(former) = newest else {
                *newest = Some(seen);
                return true;
            };
            let is_news = is_news(former);
            if is_news {
                *former = seen.after(former);
            } else if former.revision == seen.revision {
                former.asked = seen.asked.or(former.asked);
            }
            is_news
        })
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

impl Seen {
    pub(crate) fn new(revision: u64, value: Value, asked: Option<Moment>) -> Self {
        let at = clock::moment();
        Self { revision, value: Arc::new(value), at, before: None, asked, greatest: revision }
    }

    /// Returns this as what was seen next after `former`.
    fn after(mut self, former: &Self) -> Self {
        self.greatest = self.greatest.max(former.greatest);
        match self.value.head.fence.cmp(&former.value.head.fence) {
            Ordering::Greater => self.before = former.asked,
            Ordering::Equal => {
                self.before = former.before;
                self.asked = self.asked.or(former.asked);
            }
            // The store has lost changes. This fence may have been given at any time.
            Ordering::Less => {}
        }
        self
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
    use std::time::Duration;

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
    fn a_fence_is_younger_than_the_last_answer_with_an_older_one() {
        let member = member(0);
        let note = |revision, fence, asked: Option<Moment>| {
            let mut value = Value::default();
            value.head.fence = fence;
            match asked {
                Some(asked) => member.found(revision, value, asked),
                None => drop(member.note(revision, value)),
            }
            member.seen().and_then(|seen| seen.before).map(|before| before.at)
        };
        let start = clock::moment();
        let after = |seconds| Moment { at: start.at + Duration::from_secs(seconds), ..start };
        assert_eq!(note(1, 1, Some(after(1))), None, "nothing is known of the time before");
        assert_eq!(note(1, 1, Some(after(2))), None);
        assert_eq!(note(3, 3, None), Some(after(2).at), "a notice, after two answers");
        assert_eq!(note(4, 3, Some(after(4))), Some(after(2).at), "the same fence");
        assert_eq!(note(5, 3, None), Some(after(2).at));
        assert_eq!(note(2, 2, None), Some(after(2).at), "an older one");
        assert_eq!(note(6, 6, None), Some(after(4).at));
        assert_eq!(note(7, 7, None), None, "no answer with the fence before");
        assert_eq!(note(7, 7, Some(after(7))), None);
        assert_eq!(note(2, 2, Some(after(8))), None, "a store that went back to an older fence");
        assert_eq!(note(8, 8, None), Some(after(8).at));
    }

    #[test]
    fn the_numbers_of_a_former_client_come_first() {
        let member = member(10);
        assert_eq!((member.shared(9), member.shared(10), member.shared(17)), (0, 0, 7));
        assert_eq!(member.local(7), 17);
    }
}
