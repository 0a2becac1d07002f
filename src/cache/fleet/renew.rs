//! A flight that asks the endpoint for all processes.

use std::{
    future::pending,
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::{
    super::{complete::Arrival, flight::interrupted, task::Refreshed},
    held_turn::HeldTurn,
    keeper::{self, Keeper},
    turn::SharedFlight,
};
use crate::{
    clock,
    error::Fate,
    events::TARGET,
    fleet::{HeldLease, Order},
    isolate::isolate,
    refresh::attempts::{Permit, RefreshResult},
    token::AccessToken,
};

impl SharedFlight<'_> {
    /// Asks the endpoint for all. Returns `None` if the lease was lost, so that the flight has to
    /// enter again.
    pub(super) async fn renew(&self, lease: HeldLease) -> Option<Refreshed> {
        let (task, core) = (self.task, &*self.task.core);
        let (fence, holds) = (lease.fence, lease.holds);
        let takeover = lease.takeover;
        if takeover {
            core.tally.store_takeovers.add();
        }
        isolate(|| tracing::info!(target: TARGET, fence, takeover, "took the lease of the fleet"));
        let mut held = HeldTurn {
            fleet: Arc::clone(self.fleet),
            member: Arc::clone(&self.member),
            lease: Some(lease),
            fate: Fate::NotIssued,
            lifetime: core.lifetime(),
        };
        let fallback = if holds { self.hold_own(fence).await } else { None };
        let lease = held.lease.as_mut()?;
        if !keeper::confirm(lease, &self.turn, core).await {
            held.lease = None;
            return None;
        }
        if !core.asking(task.start.sequence) {
            return Some(Refreshed::failed(interrupted(false)));
        }
        task.asked.store(true, Ordering::Relaxed);
        held.fate = Fate::Unknown;
        let Some(result) = self.ask_under(lease, fallback).await else {
            // Another process may ask for a token by now, and this one waits for that.
            held.lease = None;
            return None;
        };
        self.publish(result, held).await
    }

    /// Makes attempts for as long as the lease is confirmed. Returns `None` if they brought nothing
    /// before it was lost.
    async fn ask_under(
        &self,
        lease: &mut HeldLease,
        fallback: Option<AccessToken>,
    ) -> Option<RefreshResult> {
        let sequence = self.member.local(lease.fence);
        let keeper = Keeper::of(lease, &self.turn, &self.task.core);
        let attempts = self.task.attempts(sequence, fallback, Some(&keeper));
        let result = match select(pin!(attempts.run()), pin!(keeper.keep())).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => match never {},
        };
        match &result.result {
            Err(error) if keeper.is_lost() => {
                self.lose(result.fate, Some(error.clone()));
                None
            }
            _ => Some(result),
        }
    }

    /// Holds the requests of this process for its own renewal, and waits until all others have
    /// heard of it. Returns the token that is held back.
    async fn hold_own(&self, fence: u64) -> Option<AccessToken> {
        let (task, core) = (self.task, &*self.task.core);
        let plan = core.drain_plan(task.start.sequence)?;
        core.hold(task.start.sequence)?;
        self.hold(fence, clock::moment());
        let _ = timeout(self.turn.bounds.grace, task.or_over(pending())).await;
        Some(plan.token)
    }

    /// Hands a token to the others. Returns `None` if a newer lease was granted, so that the token
    /// is not for them.
    async fn publish(&self, result: RefreshResult, mut held: HeldTurn) -> Option<Refreshed> {
        let core = &*self.task.core;
        let Ok(token) = &result.result else {
            return Some(Refreshed { lease: Some(held), ..Refreshed::by(result, None) });
        };
        let lease = held.lease.as_ref()?;
        if let Some(identity) = &result.issued_to {
            let member = self.fleet.join(Some(identity), core.uri.as_ref(), token.sequence());
            if member.is_some_and(|member| !Arc::ptr_eq(&member, &self.member)) {
                // The credentials are another client's by now. The lease is given back unused.
                held.fate = Fate::NotIssued;
                return Some(Refreshed::by(result, None));
            }
        }
        let arrival = Arrival { takeover: lease.stray, ..Arrival::default() };
        let published = match self.fleet.seal(&self.member, lease.fence, token) {
            Ok(sealed) => self.turn.publish(lease, &sealed, core.next_cooldown()).await,
            Err(error) => Err(error),
        };
        held.lease = None;
        match published {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.lose(Fate::Unknown, None);
                core.tally.store_fenced.add();
                isolate(|| {
                    tracing::warn!(
                        target: TARGET,
                        "another process took over before the token came, so the token is dropped",
                    );
                });
                return None;
            }
            Err(error) => {
                core.store_failed(&error);
                let order = Order::Offer(Arc::clone(&self.member), token.clone());
                self.fleet.orders.give(order);
            }
        }
        Some(Refreshed { arrival, ..Refreshed::by(result, None) })
    }
}
