//! [`Orders`]: what the listener does for requests and flights, which can't wait for the store.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::{member::Member, turn::HeldLease};
use crate::{error::Fate, token::AccessToken};

/// Something to do at the store.
pub(crate) enum Order {
    /// Ask for the newest value, because a resource refused the token in use.
    Ask,
    /// Give back a lease whose flight has gone.
    GiveBack(Arc<Member>, HeldLease, Fate),
    /// Publish a token that was asked for without a lease, or that could not be published.
    Offer(Arc<Member>, AccessToken),
}

/// The orders that are open. It is bounded, because there is one flight at a time and one question.
#[derive(Default)]
pub(crate) struct Orders {
    open: Mutex<Vec<Order>>,
    news: Notify,
}

/// The most orders that are kept. The oldest ones go first.
const MOST: usize = 8;

impl Orders {
    pub(crate) fn give(&self, order: Order) {
        let mut open = self.lock();
        let surplus = (open.len() >= MOST).then(|| open.remove(0));
        open.push(order);
        drop(open);
        drop(surplus);
        self.news.notify_one();
    }

    /// Waits for orders, and returns them.
    ///
    /// # Cancel safety
    ///
    /// No order is lost if the future is dropped.
    pub(crate) async fn next(&self) -> Vec<Order> {
        loop {
            let open = mem::take(&mut *self.lock());
            if !open.is_empty() {
                return open;
            }
            self.news.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Order>> {
        // Every change under this lock is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
