//! Checks of what a dropped future leaves behind.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use futures_util::StreamExt;

use super::{
    error::{ConformanceError, Rule},
    trial::{Checked, KEEP, Trial, expect, responds, shown},
    watching::Watch,
};
use crate::store::{
    name::Name,
    token_store::{Swap, TokenStore},
};

/// After how many polls a future is dropped, at most.
const POLLS: usize = 6;

impl<S: TokenStore> Trial<'_, S> {
    pub(super) async fn check_dropped_futures(&self) -> Checked {
        let name = self.name("dropped")?;
        let mut watch = Watch::open(self.other, &name).await?;
        let mut written = Vec::new();
        self.write(&name, &mut written).await?;
        for polls in 0..=POLLS {
            // A future that is dropped unpolled, a reading, a watch that opens, a change.
            poll_at_most(polls, self.one.get(&name)).await?;
            let mut opening = Box::pin(self.one.watch(&name));
            poll_at_most(polls, opening.next()).await?;
            drop(opening);
            self.drop_change(&name, polls, &mut written).await.map_err(cancel_unsafe)?;
        }
        watch.learns(&written).await.map_err(cancel_unsafe)
    }

    /// Drops a change after some polls, and makes the next one.
    async fn drop_change(
        &self,
        name: &Name,
        polls: usize,
        written: &mut Vec<(u64, Bytes)>,
    ) -> Checked {
        let (old, value) = written.last().cloned().unwrap_or_default();
        let dropped = Bytes::from(format!("dropped after {polls} polls"));
        let swap = self.one.compare_and_set(name, old, old + 1, &dropped, KEEP);
        let done = poll_at_most(polls, swap).await?;
        // It may be made only now, so that the next change meets it.
        for _ in 0..10 {
            let found = self.get(self.other, name).await?;
            let is_old = expect(found.as_ref(), old, &value).is_ok();
            if expect(found.as_ref(), old + 1, &dropped).is_err() && (done.is_some() || !is_old) {
                return Err(ConformanceError::new(Rule::CancelSafe, shown(found.as_ref())));
            }
            let present = if is_old { old } else { old + 1 };
            let next = Bytes::from(format!("after {polls} polls"));
            if self.swap(self.one, name, (present, old + 2), &next).await? == Swap::Done {
                written.extend([(old + 1, dropped), (old + 2, next)]);
                return Ok(());
            }
        }
        Err(ConformanceError::new(Rule::CancelSafe, "one conflict after the other"))
    }
}

/// Blames the futures that were dropped, if a store does not respond after that or loses its value.
fn cancel_unsafe(error: ConformanceError) -> ConformanceError {
    match error.rule() {
        Rule::NoticesTrue => error,
        _ => ConformanceError::new(Rule::CancelSafe, error.to_string()),
    }
}

/// Polls a future until it is ready, but so many times at most. Then drops it.
async fn poll_at_most<F: Future>(mut polls: usize, future: F) -> Checked<Option<F::Output>> {
    if polls == 0 {
        return Ok(None);
    }
    let mut future = pin!(future);
    let polled = poll_fn(|cx| {
        polls -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    responds("the future to drop", polled).await
}
