//! [`Member`]: this process' part in the fleet of one client id.

use std::sync::Arc;

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

    /// Takes in a value. `asked` is when the store was asked, if it did not tell of the value by
    /// itself. Returns whether it is newer than all before.
    pub(crate) fn note(&self, revision: u64, value: Value, asked: Option<Moment>) -> bool {
        let seen = Seen::new(revision, value, asked);
        self.seen.send_if_modified(|newest| {
            let is_newer = newest.as_ref().is_none_or(|newest| newest.revision < revision);
            match newest {
                Some(former) if is_newer => *former = seen.after(former),
                Some(same) if same.revision == revision => same.asked = asked.or(same.asked),
                Some(_) => {}
                None => *newest = Some(seen),
            }
            is_newer
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
        Self { revision, value: Arc::new(value), at, before: None, asked }
    }

    /// Returns this as what was seen next after `former`.
    fn after(self, former: &Self) -> Self {
        if self.value.head.fence == former.value.head.fence {
            return Self { before: former.before, asked: self.asked.or(former.asked), ..self };
        }
        Self { before: former.asked, ..self }
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
            assert_eq!(member.note(revision, Value::default(), None), is_news);
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
            member.note(revision, value, asked);
            member.seen().and_then(|seen| seen.before).map(|before| before.at)
        };
        let start = clock::moment();
        let after = |seconds| Moment { at: start.at + Duration::from_secs(seconds), ..start };
        assert_eq!(note(1, 1, Some(after(1))), None, "nothing is known of the time before");
        assert_eq!(note(1, 1, Some(after(2))), None);
        assert_eq!(note(3, 3, None), Some(after(2).at), "a notice, after two answers");
        assert_eq!(note(4, 3, Some(after(4))), Some(after(2).at), "the same fence");
        assert_eq!(note(5, 3, None), Some(after(2).at));
        assert_eq!(note(2, 2, Some(after(5))), Some(after(2).at), "an older one");
        assert_eq!(note(6, 6, None), Some(after(4).at));
        assert_eq!(note(7, 7, None), None, "no answer with the fence before");
    }

    #[test]
    fn the_numbers_of_a_former_client_come_first() {
        let member = member(10);
        assert_eq!((member.shared(9), member.shared(10), member.shared(17)), (0, 0, 7));
        assert_eq!(member.local(7), 17);
    }
}
