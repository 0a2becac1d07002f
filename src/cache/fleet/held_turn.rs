//! [`HeldTurn`]: the lease of this process, and the way to give it back.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::super::core::Core;
use crate::{
    error::{AuthError, Fate, Kind},
    fleet::{Fleet, HeldLease, Member, Order},
    store::value::SharedGate,
};

/// A lease, and the way to give it back.
///
/// Dropped, it is given back by the listener, so that the others need not wait for its end.
pub(in crate::cache) struct HeldTurn {
    pub(super) fleet: Arc<Fleet>,
    pub(super) member: Arc<Member>,
    /// `None` once it has been given back, or is lost.
    pub(super) lease: Option<HeldLease>,
    /// The fate of the request for a token, if the flight dies now.
    pub(super) fate: Fate,
    pub(super) lifetime: Option<Duration>,
}

impl HeldTurn {
    /// Gives the lease back, after the flight has ended with this error.
    pub(in crate::cache) async fn leave(mut self, core: &Core, fate: Fate, error: &AuthError) {
        let Some(lease) = self.lease.take() else { return };
        let turn = self.fleet.turn(&self.member, self.lifetime);
        let mut gate = core.back_off().filter(|_| concerns_others(error)).map(|pause| SharedGate {
            kind: error.kind().name().into(),
            status: error.status().map(|status| status.as_u16()),
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            credentials: None,
        });
        if let Some(gate) = gate.as_mut().filter(|_| error.is_rejected()) {
            // The others wait for the lease meanwhile.
            let identity = timeout(turn.bounds.confirmed, core.identity()).await;
            let identity = identity.ok().and_then(Result::ok).flatten();
            gate.credentials = identity.and_then(|it| self.fleet.mark(&self.member, &it));
        }
        if let Err(error) = turn.leave(&lease, fate, gate).await {
            core.store_failed(&error);
        }
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let order = Order::GiveBack(Arc::clone(&self.member), lease, self.fate);
            self.fleet.orders.give(order);
        }
    }
}

/// Returns whether a failure says something about the endpoint, so that the others leave it alone.
/// The endpoint was not asked if the credentials source of this process failed, or if its resolver
/// did not find the host.
fn concerns_others(error: &AuthError) -> bool {
    let is_own = matches!(error.kind(), Kind::Credentials | Kind::Unresolved);
    !(is_own || error.is_interrupted() || error.is_of_runtime())
}
