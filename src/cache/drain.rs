//! A drain, as the task of the flight that drains asks for it at the [core](super::core). The
//! transitions are in [`hold`](super::hold).

use std::time::Duration;

use tokio::time::Instant;

use super::{
    core::Core,
    hold::{self, DrainPlan},
    lease::{Drained, Generations},
    report, trial,
};
use crate::clock;

impl Core {
    /// Returns how to drain requests for this flight; `None` if no token in use could die.
    pub(super) fn drain_plan(&self, sequence: u64) -> Option<DrainPlan> {
        let (locked, inputs) = self.enter();
        hold::plan(&locked.state, sequence, &inputs)
    }

    /// Returns when this flight has to hold requests at the latest, if the token in use lives.
    pub(super) fn hold_time(&self, sequence: u64) -> Option<Instant> {
        self.drain_plan(sequence).map(|plan| plan.hold)
    }

    /// Returns whether nothing is worth waiting for before the endpoint is asked.
    pub(super) fn is_drain_over(&self) -> bool {
        let now = clock::moment();
        self.lock().state.is_drain_over(&now)
    }

    /// Returns whether this flight need not wait for an idle moment any longer. If no request is
    /// in flight, the flight holds from here on, before the next request can start.
    pub(super) fn hold_if_idle(&self, sequence: u64) -> bool {
        self.transition(|locked, _| {
            // Once no reader can acquire a lease, a moment that is idle stays idle.
            self.slot.withdraw();
            let is_idle = locked.leases.as_ref().is_none_or(Generations::is_idle);
            hold::check_idle(&mut locked.state, sequence, is_idle)
        })
    }

    /// Holds new requests back. Returns futures that resolve when those in flight are done; `None`
    /// if the token died by other means, so that nothing is worth waiting for.
    pub(super) fn hold(&self, sequence: u64) -> Option<Vec<Drained>> {
        let (mut locked, inputs) = self.enter();
        self.slot.withdraw();
        let (drains, effects) = hold::hold(&mut locked.state, sequence, &inputs);
        let deferred = self.settle(&mut locked, effects, None, &inputs);
        let in_flight = locked.leases.as_ref().filter(|_| drains).map(Generations::earlier);
        drop(locked);
        drop(deferred.carry_out(&self.tally, &self.changes));
        in_flight
    }

    /// Takes in the end of a drain, and how long it took if requests were still in flight.
    pub(super) fn end_drain(&self, sequence: u64, timed_out: Option<Duration>) {
        self.transition(|locked, _| ((), report::drained(&mut locked.state, sequence, timed_out)));
    }

    /// Notes that this flight asks the endpoint from here on. Returns `false` if it must not.
    pub(super) fn asking(&self, sequence: u64) -> bool {
        hold::asking(&mut self.lock().state, sequence)
    }

    /// Ends the hold of a flight whose request for a token takes long.
    pub(super) fn time_out_hold(&self, sequence: u64) {
        self.transition(|locked, inputs| ((), hold::time_out(&mut locked.state, sequence, inputs)));
    }

    /// Lets all requests follow the one that went first after the hold of this flight timed out.
    pub(super) fn follow(&self, sequence: u64) {
        self.transition(|locked, _| ((), hold::follow(&mut locked.state, Some(sequence))));
    }

    /// Has those who wait for the flight ask again, if one of them may try a token that was
    /// refused.
    pub(super) fn release_trial(&self) {
        self.transition(|locked, inputs| ((), trial::release_trial(&locked.state, inputs)));
    }

    /// Returns when the next request may try a token that was refused, if there is one.
    pub(super) fn next_trial(&self) -> Option<Instant> {
        let now = clock::moment();
        trial::next_trial(&self.lock().state, &now)
    }

    /// Takes in that an attempt of the flight in progress has failed. Returns whether callers go on
    /// with the token in use if the flight ends with that.
    pub(super) fn attempt_failed(&self) -> bool {
        self.transition(|locked, inputs| trial::attempt_failed(&mut locked.state, inputs))
    }

    /// Returns whether the token in use was refused when its successor had been asked for.
    pub(super) fn is_withheld(&self) -> bool {
        self.lock().state.current.as_ref().is_some_and(|current| current.withheld.is_some())
    }
}
