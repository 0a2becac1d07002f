//! [`Gate`]: the back-off after a refresh that failed. Pure.
//!
//! During back-off callers get the stored error at once, and the endpoint is not contacted.

use std::time::Duration;

use tokio::time::Instant;

use crate::{clock, error::AuthError, refresh::RefreshPolicy};

/// The back-off after a number of failures in a row.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// The error of the last failure.
    pub(crate) error: AuthError,
    /// The end of back-off.
    pub(crate) until: Instant,
    failures: u32,
    /// The moment of the last failure, or of the last check that found the credentials unchanged.
    checked: Instant,
}

/// The least base of back-off after a failure that is not transient. Trying again soon does not
/// mend such a failure.
const REFUSED_BASE: Duration = Duration::from_secs(1);

/// The longest back-off while the store of a fleet can't be used. The endpoint was not asked, and
/// all processes are to be back soon after the store is.
const STORE_DOWN: Duration = Duration::from_secs(1);

/// The pause between two checks of credentials that were refused or could not be had, during
/// back-off.
const CHECK_EVERY: Duration = Duration::from_secs(1);

impl Gate {
    /// Starts back-off after one more failure, for a `random` number in 0..1.
    ///
    /// The pause doubles with each failure in a row, from the policy's `retry_base` up to its
    /// `max_backoff`. Up to half of it is taken off for jitter. It is at least as long as the
    /// endpoint asked for with `Retry-After`, up to the policy's `max_retry_after`.
    pub(crate) fn after(
        previous: Option<&Self>,
        error: AuthError,
        now: Instant,
        policy: &RefreshPolicy,
        random: f64,
    ) -> Self {
        let failures = previous.map_or(0, |gate| gate.failures).saturating_add(1);
        let base = base(&error, policy);
        let most = if error.is_store_down() { STORE_DOWN } else { Duration::MAX };
        let most = policy.max_backoff.min(most).max(base);
        let longest = base.saturating_mul(2_u32.saturating_pow(failures - 1)).min(most);
        let pause = longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        let asked = error.retry_after().unwrap_or_default().min(policy.max_retry_after);
        let pause = pause.max(asked);
        Self { error, until: clock::later(now, pause), failures, checked: now }
    }

    /// Shortens back-off to half of the time that is `left` to the token in use, but not below its
    /// least base. An endpoint that recovers before the token's end is thus asked before it. A
    /// `Retry-After` is respected all the same.
    pub(crate) fn within(mut self, left: Duration, now: Instant, policy: &RefreshPolicy) -> Self {
        if self.error.retry_after().is_none() {
            let most = (left / 2).max(base(&self.error, policy));
            self.until = self.until.min(clock::later(now, most));
        }
        self
    }

    /// Returns whether it is time to check if the credentials have changed, which were refused, or
    /// which the source did not supply.
    pub(crate) fn may_check_credentials(&self, now: Instant) -> bool {
        let may_change = self.error.is_rejected() || self.error.is_credentials();
        may_change && now >= clock::later(self.checked, CHECK_EVERY)
    }

    pub(crate) fn checked(&mut self, now: Instant) {
        self.checked = now;
    }

    pub(crate) fn is_backing_off(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// Returns the least base of back-off after `error`.
fn base(error: &AuthError, policy: &RefreshPolicy) -> Duration {
    if error.is_transient() { policy.retry_base } else { policy.retry_base.max(REFUSED_BASE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Kind;

    fn pauses(error: &AuthError, random: f64) -> Vec<f64> {
        let (policy, now) = (RefreshPolicy::default(), clock::now());
        let mut gate: Option<Gate> = None;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let next = Gate::after(gate.as_ref(), error.clone(), now, &policy, random);
            pauses.push((next.until - now).as_secs_f64());
            gate = Some(next);
        }
        pauses
    }

    #[test]
    fn the_pause_doubles_up_to_its_cap() {
        let transient = AuthError::transient("x");
        assert_eq!(pauses(&transient, 1.0), [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]);
        assert_eq!(pauses(&transient, 0.0)[..3], [0.1, 0.2, 0.4]);
        assert_eq!(
            pauses(&AuthError::rejected("x"), 1.0)[..7],
            [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        );
    }

    #[test]
    fn a_store_that_can_not_be_used_is_asked_about_once_a_second() {
        let error = AuthError::new(Kind::StoreDown, "x");
        assert_eq!(pauses(&error, 1.0), [0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_the_endpoint_asked_for_is_the_least() {
        let asked = Some(Duration::from_secs(120));
        let status = http::StatusCode::TOO_MANY_REQUESTS;
        let error = AuthError::responded(Kind::Transient, "x", status).with_retry_after(asked);
        assert!((pauses(&error, 0.5)[0] - 120.0).abs() < 0.001);
    }

    #[test]
    fn what_the_endpoint_asked_for_is_capped() {
        let day = Some(Duration::from_secs(24 * 3600));
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        let error = AuthError::responded(Kind::Transient, "x", status).with_retry_after(day);
        assert!((pauses(&error, 0.5)[0] - 600.0).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_soon_shortens_the_pause_and_a_retry_after_does_not() {
        let (policy, now) = (RefreshPolicy::default(), clock::now());
        let after = |error: AuthError, left: u64| {
            let previous = Gate { error: error.clone(), until: now, failures: 20, checked: now };
            let gate = Gate::after(Some(&previous), error, now, &policy, 1.0);
            (gate.within(Duration::from_secs(left), now, &policy).until - now).as_millis()
        };
        assert_eq!(after(AuthError::transient("x"), 300), 30_000);
        assert_eq!(after(AuthError::transient("x"), 20), 10_000);
        assert_eq!(after(AuthError::transient("x"), 0), 200);
        assert_eq!(after(AuthError::rejected("x"), 0), 1000);
        let asked = AuthError::transient("x").with_retry_after(Some(Duration::from_secs(60)));
        assert_eq!(after(asked, 20), 60_000);
    }

    proptest! {
        #[test]
        fn the_pause_is_within_half_of_and_the_cap(
            random in -1.0_f64..2.0,
            failures in 1_u32..100,
        ) {
            let (policy, now) = (RefreshPolicy::default(), clock::now());
            let error = AuthError::transient("x");
            let previous = Gate { error: error.clone(), until: now, failures, checked: now };
            let gate = Gate::after(Some(&previous), error, now, &policy, random);
            prop_assert!(gate.until - now <= policy.max_backoff);
            prop_assert!(gate.until - now >= policy.retry_base);
        }
    }
}
