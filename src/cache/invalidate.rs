//! What resources say: a 401, and whose fault it is.

use super::{
    slot::Lease,
    state::{Core, CurrentToken, State},
    task::Stage,
};
use crate::{
    clock,
    endpoint::Rotation,
    events::TARGET,
    refresh::cooldown::{Decision, Refused},
    token::AccessToken,
};

impl Core {
    /// A resource refused `token` with a 401. Returns whether it is served no more because of that.
    ///
    /// A token that has been replaced is not looked at: a late 401 for it says nothing about the one in use.
    pub(crate) fn refuse(&self, token: &AccessToken) -> bool {
        self.tally.unauthorized.add();
        let mut state = self.lock();
        // Our own request for its successor kills it.
        let dying = state.flight.as_ref().is_some_and(|flight| {
            self.rotation == Rotation::Exclusive
                && (flight.stage == Stage::Holding || !self.policy.hold)
        });
        let in_use =
            |newest: &&mut CurrentToken| newest.token.is(token) && !newest.refused && !dying;
        let Some(newest) = state.newest.as_mut().filter(in_use) else {
            self.tally.unauthorized_replaced.add();
            return false;
        };
        let suspect = std::mem::take(&mut newest.suspect) && !Lease::is_accepted(&newest.leases);
        if !token.is_usable() || suspect {
            newest.refused = true;
            // That a suspect token is refused explains itself: our own request has killed it.
            let class = if suspect {
                &self.tally.unauthorized_replaced
            } else {
                &self.tally.unauthorized_expired
            };
            class.add();
            // Everybody waits for it, and the endpoint has not asked to be left alone.
            if suspect && state.gate.as_ref().is_some_and(|gate| gate.error.retry_after().is_none())
            {
                state.gate = None;
            }
            self.expedite(&state);
            return true;
        }
        self.tally.unauthorized_foreign.add();
        let (now, times) = (clock::now(), token.times());
        let refused =
            Refused { issued: times.sent, lifetime: times.lifetime, accepted: token.is_accepted() };
        let decision = state.cooldown.refused(refused, now, &self.policy, fastrand::f64());
        if let Decision::Renew { .. } = decision {
            if let Some(newest) = &mut state.newest {
                newest.refused = true;
            }
            self.expedite(&state);
        }
        drop(state);
        self.report_refusal(token.sequence(), decision)
    }

    /// The token is served no more, and a renewal need not look for a quiet moment.
    fn expedite(&self, state: &State) {
        if let Some(flight) = &state.flight {
            flight.expedite.notify_one();
        }
        self.publish(state);
    }

    fn report_refusal(&self, sequence: u64, decision: Decision) -> bool {
        match decision {
            Decision::Renew { shared: false } => {
                tracing::debug!(target: TARGET, sequence, "a resource refused the token");
            }
            Decision::Renew { shared: true } => tracing::warn!(target: TARGET, sequence,
                "a resource refused the token soon after it was issued, as the one before it: the client id seems to \
                 be in use by another process as well",
            ),
            Decision::Wait { breaker, .. } => {
                self.tally.cooled_down.add();
                if breaker {
                    self.tally.breaker_open.add();
                }
                tracing::debug!(target: TARGET, sequence,
                    breaker,
                    "a resource refused the token, too soon to ask for another"
                );
            }
        }
        matches!(decision, Decision::Renew { .. })
    }
}
