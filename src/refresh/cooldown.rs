//! [`Cooldown`]: decides when a token that a resource refused before its expiry is replaced. Pure.
//!
//! A resource that refuses our newest, unexpired token says one of two things. Another process has
//! asked for a token with the same credentials, or the resource refuses every token.
//!
//! The first refusal renews the token at once. So does the second in a row, because processes that
//! start together kill each other's first token. A renewal at each further refusal would be a duel
//! with the other process, or a `POST` per request. From the third refusal in a row on, the token
//! therefore stays in use for a while, which grows. Requests are sent with it meanwhile, and a 401
//! is the caller's.

use std::time::Duration;

use tokio::time::Instant;

use crate::{clock, refresh::RefreshPolicy, store::value::SharedCooldown, token::Times};

/// The number of tokens in a row, none of them ever accepted by a resource, that opens the breaker.
/// The pause is then the longest one at once.
const BREAKER: u32 = 3;

/// The memory of refusals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cooldown {
    /// How many tokens in a row were replaced because they were refused early in their lifetime.
    early: u32,
    /// How many of the last of them, in a row, no resource had ever accepted.
    never_accepted: u32,
    /// In 0..1, and drawn once per renewal. If each 401 drew it again, the shortest of all drawn
    /// pauses would count.
    jitter: f64,
    /// The token in use was refused, and its pause is not over.
    waiting: bool,
    /// The log was told that a pause has cost a request its replay.
    reported: bool,
}

/// The token that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// The moment at which the token was asked for.
    pub(crate) issued: Instant,
    pub(crate) lifetime: Duration,
    /// Some resource has accepted the token before.
    pub(crate) accepted: bool,
}

/// The decision on a token that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Replace the token. `shared` is set for the second token in a row, because another process
    /// seems to use the credentials as well. The third and those after it say nothing new.
    Renew { shared: bool },
    /// Leave the token in use until then. `breaker` is set if the reason is that no token is ever
    /// accepted.
    Wait { until: Instant, breaker: bool },
}

impl Cooldown {
    /// Decides what follows from one refusal, for a `random` number in 0..1. Further refusals of
    /// the same token are measured by the same pause, because only a renewal is counted.
    pub(crate) fn refused(
        &mut self,
        token: Refused,
        now: Instant,
        policy: &RefreshPolicy,
        random: f64,
    ) -> Decision {
        let age = now.saturating_duration_since(token.issued);
        // The token served for long enough to start the count again. No pause is so long, so a
        // resource that refuses every token never gets here.
        if age >= (token.lifetime / 2).max(policy.cooldown_cap.saturating_mul(2)) {
            *self = Self::default();
        }
        let breaker = !token.accepted && self.never_accepted >= BREAKER;
        let pause = if breaker { policy.cooldown_cap } else { self.pause(policy) };
        let until = clock::later(token.issued, pause.mul_f64(0.5 + self.jitter / 2.0));
        self.waiting = now < until;
        if self.waiting {
            return Decision::Wait { until, breaker };
        }
        self.early = self.early.saturating_add(1);
        self.never_accepted =
            if token.accepted { 0 } else { self.never_accepted.saturating_add(1) };
        self.jitter = random.clamp(0.0, 1.0);
        Decision::Renew { shared: self.early == 2 }
    }

    /// Notes that a token was replaced for another reason than a refusal. The count starts again if
    /// no resource had refused the token meanwhile, and it was in use for half its lifetime.
    pub(crate) fn replaced(&mut self, now: Instant, times: &Times) {
        let refused = std::mem::take(&mut self.waiting);
        if !refused && now.saturating_duration_since(times.sent.at) >= times.lifetime / 2 {
            *self = Self::default();
        }
    }

    /// Returns the count, for the processes that share the token.
    pub(crate) fn shared(&self) -> SharedCooldown {
        let Self { early, never_accepted, jitter, .. } = *self;
        SharedCooldown { early, never_accepted, jitter }
    }

    /// Takes over the count of the processes that share the token, so that all of them count as
    /// one.
    pub(crate) fn take(&mut self, shared: SharedCooldown) {
        let SharedCooldown { early, never_accepted, jitter } = shared;
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        *self = Self { early, never_accepted, jitter, ..*self };
    }

    /// Returns whether two renewals in a row were made for refusals of tokens that were young:
    /// another process asks for tokens too, or a resource refuses all of them.
    pub(crate) fn is_duel(&self) -> bool {
        self.early >= 2
    }

    /// Notes that a pause has cost a request its replay. Returns whether that is news, which it is
    /// once until the count starts again.
    pub(crate) fn report(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }

    /// Returns the age that a token must have to be replaced, before jitter: none for the first two
    /// in a row, then `cooldown_base`, doubled for each further one up to `cooldown_cap`.
    fn pause(&self, policy: &RefreshPolicy) -> Duration {
        match self.early.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => policy
                .cooldown_base
                .saturating_mul(2_u32.saturating_pow(doublings))
                .min(policy.cooldown_cap),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(issued: Instant, accepted: bool) -> Refused {
        Refused { issued, lifetime: Duration::from_secs(300), accepted }
    }

    /// Returns when each token is replaced, in seconds, if every request of an hour is refused, at
    /// one request per 20 ms.
    fn renewals(accepted: bool) -> Vec<f64> {
        renewals_of(accepted, 300)
    }

    fn renewals_of(accepted: bool, lifetime: u64) -> Vec<f64> {
        let (policy, start) = (RefreshPolicy::default(), clock::now());
        let (mut cooldown, mut issued, mut renewals) = (Cooldown::default(), start, Vec::new());
        for tick in 0..50 * 3600 {
            let now = start + Duration::from_millis(20) * tick;
            if let Decision::Renew { .. } = cooldown.refused(
                Refused { lifetime: Duration::from_secs(lifetime), ..token(issued, accepted) },
                now,
                &policy,
                1.0,
            ) {
                issued = now;
                renewals.push((now - start).as_secs_f64());
            }
        }
        renewals
    }

    #[test]
    fn two_refusals_are_mended_at_once_and_the_pauses_then_double() {
        let renewals = renewals(true);
        assert_eq!(renewals[..6], [0.0, 0.02, 1.02, 3.02, 7.02, 15.02]);
        assert!(renewals.len() <= 130, "{} renewals in an hour", renewals.len());
    }

    #[test]
    fn tokens_that_are_never_accepted_open_the_breaker() {
        let renewals = renewals(false);
        assert_eq!(renewals[..5], [0.0, 0.02, 1.02, 31.02, 61.02]);
        assert!(renewals.len() <= 125, "{} renewals in an hour", renewals.len());
    }

    #[test]
    fn a_token_that_nobody_refused_until_it_was_replaced_restarts_the_count() {
        let (policy, start) = (RefreshPolicy::default(), clock::now());
        let lifetime = Duration::from_secs(300);
        let schedule = crate::token::schedule::schedule(lifetime, &policy.windows, 0.5);
        let times =
            Times { sent: clock::Moment { at: start, slept: clock::slept() }, lifetime, schedule };
        let shaken = Cooldown { early: 5, never_accepted: 3, ..Cooldown::default() };
        let mut cooldown = shaken;
        cooldown.replaced(start + Duration::from_secs(100), &times);
        assert_eq!(cooldown.early, 5, "too soon to tell");
        cooldown.replaced(start + Duration::from_secs(240), &times);
        assert_eq!((cooldown.early, cooldown.never_accepted), (0, 0));
        // A token that was refused meanwhile does not count as good.
        let mut cooldown = shaken;
        let early = start + Duration::from_secs(1);
        assert!(matches!(
            cooldown.refused(token(start, false), early, &policy, 0.5),
            Decision::Wait { .. }
        ));
        cooldown.replaced(start + Duration::from_secs(240), &times);
        assert_eq!(cooldown.early, 5);
    }

    #[test]
    fn short_lifetimes_do_not_lift_the_bound() {
        for lifetime in [5, 20, 40, 59] {
            for accepted in [true, false] {
                let renewals = renewals_of(accepted, lifetime);
                assert!(
                    renewals.len() <= 200,
                    "{} renewals in an hour of {lifetime} s tokens",
                    renewals.len()
                );
            }
        }
    }

    #[test]
    fn a_token_in_use_for_half_its_lifetime_restarts_the_count() {
        let (policy, start) = (RefreshPolicy::default(), clock::now());
        let mut cooldown = Cooldown { early: 5, never_accepted: 2, ..Cooldown::default() };
        let late = start + Duration::from_secs(151);
        assert_eq!(
            cooldown.refused(token(start, true), late, &policy, 1.0),
            Decision::Renew { shared: false }
        );
        assert_eq!(
            cooldown.refused(token(late, true), late, &policy, 1.0),
            Decision::Renew { shared: true }
        );
        assert_eq!(
            cooldown.refused(token(late, true), late, &policy, 1.0),
            Decision::Wait { until: late + Duration::from_secs(1), breaker: false }
        );
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_cap(
            early in 0_u32..100,
            never_accepted in 0_u32..100,
            age in 0_u64..149,
            random in -1.0_f64..2.0,
        ) {
            let (policy, start) = (RefreshPolicy::default(), clock::now());
            let now = start + Duration::from_secs(age);
            let jitter = random.clamp(0.0, 1.0);
            let mut cooldown =
                Cooldown { early, never_accepted, jitter, ..Cooldown::default() };
            let decision = cooldown.refused(token(start, false), now, &policy, random);
            if let Decision::Wait { until, .. } = decision {
                prop_assert!(until > now && until <= start + policy.cooldown_cap);
            }
        }
    }
}
