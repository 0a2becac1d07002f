//! [`Keeper`]: keeps a lease while the endpoint is asked under it.

use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Mutex, Notify},
    time::sleep,
};

use super::super::core::Core;
use crate::{
    fleet::{HeldLease, Turn},
    refresh::attempts::Permit,
};

/// Keeps a lease while the endpoint is asked under it.
///
/// Without a confirmation that is recent enough, nothing is asked under the lease. Another process
/// may have it by then, and its token would die of that.
pub(super) struct Keeper<'a> {
    core: &'a Core,
    turn: &'a Turn<'a>,
    lease: Mutex<&'a mut HeldLease>,
    is_lost: AtomicBool,
    /// Told once the lease is lost.
    lost: Notify,
}

impl<'a> Keeper<'a> {
    pub(super) fn of(lease: &'a mut HeldLease, turn: &'a Turn<'a>, core: &'a Core) -> Self {
        Self {
            core,
            turn,
            lease: Mutex::new(lease),
            is_lost: AtomicBool::new(false),
            lost: Notify::new(),
        }
    }

    /// Confirms the lease again and again, until the lease is lost.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            sleep(self.turn.bounds.extend).await;
            let extended = self.turn.extend(*self.lease.lock().await).await;
            match extended {
                Ok(true) => {}
                Ok(false) => {
                    self.is_lost.store(true, Ordering::Relaxed);
                    self.lost.notify_one();
                    return pending().await;
                }
                Err(error) => self.core.store_failed(&error),
            }
        }
    }
}

/// Confirms a lease, unless that was done lately. Returns whether the lease is known to be this
/// process'.
pub(super) async fn confirm(lease: &mut HeldLease, turn: &Turn<'_>, core: &Core) -> bool {
    turn.confirm(lease).await.unwrap_or_else(|error| {
        core.store_failed(&error);
        false
    })
}

impl Permit for Keeper<'_> {
    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        self.lost.notified().boxed()
    }

    fn confirm(&self) -> BoxFuture<'_, bool> {
        async {
            let mut lease = self.lease.lock().await;
            let is_held = !self.is_lost() && confirm(&mut lease, self.turn, self.core).await;
            self.is_lost.store(!is_held, Ordering::Relaxed);
            is_held
        }
        .boxed()
    }
}
