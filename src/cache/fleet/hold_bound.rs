//! The bound of the time for which a flight holds requests.

use std::{future::pending, pin::pin};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::super::{
    core::Core,
    task::{Done, RefreshTask, SILENCE},
};
use crate::clock::{self, Moment};

/// The requests that are held in this flight.
pub(super) struct Holding(pub(super) watch::Sender<Option<Hold>>);

#[derive(Clone, Copy)]
pub(super) struct Hold {
    /// The fence of the lease for which requests are held; 0 if none was heard of yet.
    pub(super) fence: u64,
    /// Another process asks for the token.
    pub(super) for_sibling: bool,
    /// When this process heard of it. Nothing was asked for before that.
    pub(super) since: Moment,
    /// When this process began to hold, which may be later.
    pub(super) began: Instant,
    /// When they are held no longer.
    pub(super) until: Instant,
}

impl Hold {
    /// Takes in that requests are held no longer.
    pub(super) fn record(&self, core: &Core) {
        let tally = &core.tally;
        let longest =
            if self.for_sibling { &tally.longest_sibling_hold } else { &tally.longest_hold };
        longest.record(clock::now().saturating_duration_since(self.began));
    }
}

impl RefreshTask {
    /// Ends each hold of this flight when it has lasted for long enough.
    pub(super) async fn bound_holds(&self, holding: &Holding) -> Done {
        let (core, flight) = (&*self.core, self.start.sequence);
        let mut changes = holding.0.subscribe();
        loop {
            let hold = *changes.borrow_and_update();
            let Some(hold) = hold else {
                changed(&mut changes).await;
                continue;
            };
            if timeout_at(hold.until, changed(&mut changes)).await.is_ok() {
                continue;
            }
            core.time_out_hold(flight);
            hold.record(core);
            if timeout(SILENCE, changed(&mut changes)).await.is_ok() {
                continue;
            }
            core.follow(flight);
            self.with_trials(pin!(changed(&mut changes))).await;
        }
    }
}

async fn changed(changes: &mut watch::Receiver<Option<Hold>>) {
    if changes.changed().await.is_err() {
        pending::<()>().await;
    }
}
