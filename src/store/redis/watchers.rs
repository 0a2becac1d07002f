//! [`Watchers`]: who watches which name, and what each of them has not seen yet.
//!
//! A watcher keeps at most one notice of each kind, so one that is slow costs no memory. Wakers are
//! foreign code, so they run after the lock is released.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    isolate::isolate,
    store::{Name, Notice},
};

/// The number of a connection. 0 is none.
pub(super) type Generation = u64;

#[derive(Default)]
pub(super) struct Watchers {
    channels: Mutex<HashMap<Name, Channel>>,
    /// Tells the link that there is something to subscribe to, or to unsubscribe from.
    changed: Notify,
}

/// The watchers of one name.
#[derive(Default)]
struct Channel {
    /// The connection that is subscribed to it.
    on: Generation,
    inboxes: Vec<Arc<Inbox>>,
}

/// The notices for one watcher.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Unread>);

#[derive(Default)]
struct Unread {
    /// The connection of which this watcher was told with a gap.
    on: Generation,
    gap: bool,
    changed: Option<(u64, Bytes)>,
    waker: Option<Waker>,
}

/// The names to subscribe to, and those to unsubscribe from.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) add: Vec<Name>,
    pub(super) remove: Vec<Name>,
}

impl Watchers {
    pub(super) fn register(&self, name: &Name) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        self.lock().entry(name.clone()).or_default().inboxes.push(Arc::clone(&inbox));
        self.changed.notify_one();
        inbox
    }

    pub(super) fn unregister(&self, name: &Name, inbox: &Arc<Inbox>) {
        if let Some(channel) = self.lock().get_mut(name) {
            channel.inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
        }
        self.changed.notify_one();
    }

    /// Waits until watchers have come or gone since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns what the connection `on` has to do. Forgets names that need nothing.
    pub(super) fn plan(&self, on: Generation) -> Plan {
        let mut plan = Plan::default();
        self.lock().retain(|name, channel| {
            match (channel.inboxes.is_empty(), channel.on == on) {
                (true, false) => return false,
                (true, true) => plan.remove.push(name.clone()),
                (false, false) => plan.add.push(name.clone()),
                (false, true) => {}
            }
            true
        });
        plan
    }

    /// Takes in that the connection `on` has carried out `plan`, and tells the watchers of all its
    /// names that they may have missed something, unless they were told.
    pub(super) fn carried_out(&self, on: Generation, plan: Plan) {
        let mut channels = self.lock();
        for name in plan.remove {
            // Watchers that came meanwhile are planned for again.
            channels.entry(name).or_default().on = 0;
        }
        for name in plan.add {
            channels.entry(name).or_default().on = on;
        }
        let subscribed = channels.values().filter(|channel| channel.on == on);
        let inboxes: Vec<_> = subscribed.flat_map(|channel| channel.inboxes.clone()).collect();
        drop(channels);
        for inbox in inboxes {
            inbox.put(|unread| {
                let is_news = mem::replace(&mut unread.on, on) != on;
                unread.gap |= is_news;
                is_news
            });
        }
    }

    /// Passes a change on to the watchers of `name`. `None` stands for one that can't be read.
    pub(super) fn tell(&self, name: &Name, change: Option<&(u64, Bytes)>) {
        let inboxes =
            self.lock().get(name).map(|channel| channel.inboxes.clone()).unwrap_or_default();
        for inbox in inboxes {
            inbox.put(|unread| {
                match change {
                    Some(change) => unread.changed = Some(change.clone()),
                    None => unread.gap = true,
                }
                true
            });
        }
    }

    /// Wakes all watchers, so that one of them starts another link.
    pub(super) fn wake(&self) {
        let inboxes: Vec<_> =
            self.lock().values().flat_map(|channel| channel.inboxes.clone()).collect();
        for inbox in inboxes {
            inbox.put(|_| true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Notice> {
        let mut unread = self.lock();
        if mem::take(&mut unread.gap) {
            return Poll::Ready(Notice::Gap);
        }
        if let Some((revision, value)) = unread.changed.take() {
            return Poll::Ready(Notice::Changed { revision, value });
        }
        let before = unread.waker.replace(cx.waker().clone());
        drop(unread);
        isolate(|| drop(before));
        Poll::Pending
    }

    /// Changes what is unread, and wakes the watcher if `change` returns `true`.
    fn put(&self, change: impl FnOnce(&mut Unread) -> bool) {
        let mut unread = self.lock();
        let waker = if change(&mut unread) { unread.waker.take() } else { None };
        drop(unread);
        if let Some(waker) = waker {
            isolate(|| waker.wake());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(inbox: &Inbox) -> Option<Notice> {
        match inbox.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(notice) => Some(notice),
            Poll::Pending => None,
        }
    }

    fn carry_out(watchers: &Watchers, on: Generation) -> (usize, usize) {
        let plan = watchers.plan(on);
        let counts = (plan.add.len(), plan.remove.len());
        watchers.carried_out(on, plan);
        counts
    }

    fn change(revision: u64) -> (u64, Bytes) {
        (revision, Bytes::from_static(b"value"))
    }

    #[test]
    fn each_watcher_learns_of_a_gap_once_per_connection() {
        let watchers = Watchers::default();
        let name = Name::new("payments").unwrap();
        let first = watchers.register(&name);
        assert_eq!(next(&first), None);
        assert_eq!(carry_out(&watchers, 1), (1, 0));
        let second = watchers.register(&name);
        assert_eq!(carry_out(&watchers, 1), (0, 0));
        for inbox in [&first, &second] {
            assert_eq!(next(inbox), Some(Notice::Gap));
            assert_eq!(next(inbox), None);
        }
        assert_eq!(carry_out(&watchers, 2), (1, 0));
        assert_eq!(next(&first), Some(Notice::Gap));
    }

    #[test]
    fn of_several_changes_a_watcher_sees_the_newest() {
        let watchers = Watchers::default();
        let (name, other) = (Name::new("a").unwrap(), Name::new("b").unwrap());
        let (inbox, others) = (watchers.register(&name), watchers.register(&other));
        watchers.tell(&name, Some(&change(1)));
        watchers.tell(&name, Some(&change(2)));
        let value = Bytes::from_static(b"value");
        assert_eq!(next(&inbox), Some(Notice::Changed { revision: 2, value }));
        assert_eq!(next(&inbox), None);
        watchers.tell(&name, None);
        assert_eq!(next(&inbox), Some(Notice::Gap));
        assert_eq!(next(&others), None);
    }

    #[test]
    fn the_last_watcher_of_a_name_ends_its_subscription() {
        let watchers = Watchers::default();
        let name = Name::new("payments").unwrap();
        let inbox = watchers.register(&name);
        carry_out(&watchers, 1);
        watchers.unregister(&name, &inbox);
        let plan = watchers.plan(1);
        assert_eq!(plan.remove.len(), 1);
        // Somebody comes back before the server has confirmed.
        let back = watchers.register(&name);
        watchers.carried_out(1, plan);
        assert_eq!(carry_out(&watchers, 1), (1, 0));
        assert_eq!(next(&back), Some(Notice::Gap));
        watchers.unregister(&name, &back);
        assert_eq!(carry_out(&watchers, 1), (0, 1));
        assert_eq!(carry_out(&watchers, 1), (0, 0));
        assert!(watchers.lock().is_empty());
    }
}
