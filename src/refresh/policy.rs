//! [`RefreshPolicy`]: when tokens are renewed, and the bounds of a refresh.

use std::time::Duration;

use crate::{error::ConfigError, token::Windows};

/// When a token is renewed, how long a refresh may take, and how often the endpoint is asked when things go wrong.
///
/// Times of a token's lifetime are fractions of its usable lifetime, so that one policy fits tokens of 5 seconds and of 24
/// hours. For the 300 s of the Send Payments API, the defaults mean: a renewal is due between 221 s and 251 s, is
/// made at the first quiet moment, by 271 s at the latest, and the token is not sent from 295 s on.
///
/// # How often the endpoint is asked
///
/// While all is well: once per renewal. While it fails or refuses: a refresh makes attempts with growing pauses until
/// its [`deadline`](Self::deadline), and after it the endpoint is left alone for a pause that grows up to
/// [`max_backoff`](Self::max_backoff). With the defaults that is less than 1,500 requests an hour to an endpoint that always
/// answers 500 or not at all, and less than 200 to one that refuses the credentials, whatever the traffic. A resource
/// that refuses every token costs less than 200 an hour, by [`cooldown_cap`](Self::cooldown_cap), if tokens live for a
/// minute or more; shorter ones are renewed more often anyway.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::RefreshPolicy;
///
/// let policy = RefreshPolicy::default()
///     .attempt_timeout(Duration::from_secs(3))
///     .deadline(Duration::from_secs(8))
///     .drain_timeout(Duration::from_secs(1));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
pub struct RefreshPolicy {
    pub(crate) attempt_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) retry_base: Duration,
    pub(crate) retry_cap: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) cooldown_base: Duration,
    pub(crate) cooldown_cap: Duration,
    pub(crate) windows: Windows,
    pub(crate) hold: bool,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            retry_base: Duration::from_millis(200),
            retry_cap: Duration::from_secs(5),
            max_backoff: Duration::from_secs(30),
            cooldown_base: Duration::from_secs(1),
            cooldown_cap: Duration::from_secs(30),
            windows: Windows::default(),
            hold: true,
        }
    }
}

impl RefreshPolicy {
    /// How long one attempt may take, from asking the credentials source to the end of the answer. Defaults to 10
    /// seconds.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long a refresh may take, its attempts and the pauses between them together. After that its waiters get
    /// the last attempt's error. Defaults to 30 seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The pause after a failed attempt is a random part of this, doubled for each further attempt ("full
    /// jitter"); the pause between refreshes starts from it as well. Defaults to 200 milliseconds.
    #[must_use]
    pub fn retry_base(mut self, base: Duration) -> Self {
        self.retry_base = base;
        self
    }

    /// No pause between two attempts of a refresh is longer, unless the endpoint asks for it with `Retry-After`.
    /// Defaults to 5 seconds.
    #[must_use]
    pub fn retry_cap(mut self, cap: Duration) -> Self {
        self.retry_cap = cap;
        self
    }

    /// After a refresh that failed, calls get its error at once and the endpoint is left alone, for a pause that
    /// doubles with each further failure up to this, or as long as the endpoint asks for with `Retry-After`.
    /// Defaults to 30 seconds.
    #[must_use]
    pub fn max_backoff(mut self, cap: Duration) -> Self {
        self.max_backoff = cap;
        self
    }

    /// A token that a resource refuses early in its lifetime is replaced at once, and the next one in a row too; the third
    /// only when it is as old as this, and so on, doubling. Less up to half of it, for jitter. Defaults to 1 second.
    #[must_use]
    pub fn cooldown_base(mut self, base: Duration) -> Self {
        self.cooldown_base = base;
        self
    }

    /// No token waits longer for being replaced after a resource has refused it. Defaults to 30 seconds.
    #[must_use]
    pub fn cooldown_cap(mut self, cap: Duration) -> Self {
        self.cooldown_cap = cap;
        self
    }

    /// From this fraction of its usable lifetime on, a token's renewal is due. Defaults to 0.80.
    #[must_use]
    pub fn renew_at(mut self, fraction: f64) -> Self {
        self.windows.renew_at = fraction;
        self
    }

    /// The fraction by which [`renew_at`](Self::renew_at) is varied at random, up and down, for each token; it keeps
    /// instances apart that were started together. Defaults to 0.05.
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.windows.jitter = fraction;
        self
    }

    /// For exclusive endpoints: from when its renewal is due up to this fraction of the usable lifetime, a moment without
    /// requests under way is looked for. Then new requests are held back. Defaults to 0.92.
    #[must_use]
    pub fn hold_at(mut self, fraction: f64) -> Self {
        self.windows.hold_at = fraction;
        self
    }

    /// A token is not sent any more when this much of its lifetime is left; a quarter of the lifetime at the most, more is cut
    /// with a warning. Defaults to 2 % of the lifetime, 5 seconds at the most.
    #[must_use]
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.windows.expiry_margin = Some(margin);
        self
    }

    /// For exclusive endpoints: how long a renewal waits for the requests under way, with new ones held back. Those that
    /// are still unanswered then may be answered 401, and are replayed. Never more than a twentieth of the token's lifetime.
    /// Defaults to 2 seconds.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.windows.drain_timeout = timeout;
        self
    }

    /// For exclusive endpoints: renews while requests are sent with the old token, as for overlapping ones. Those that
    /// arrive after the new token was issued are answered 401, and replayed. Nobody waits for a renewal that is made in
    /// time. For comparison, or where a request that was answered 401 costs nothing. Defaults to holding.
    #[must_use]
    pub fn without_hold(mut self) -> Self {
        self.hold = false;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = if self.attempt_timeout.is_zero() {
            "an attempt needs time; give attempt_timeout more than zero"
        } else if self.deadline.is_zero() {
            "a refresh needs time; give deadline more than zero"
        } else if self.retry_base.is_zero() {
            "attempts need a pause; give retry_base more than zero"
        } else if self.retry_cap < self.retry_base || self.max_backoff < self.retry_base {
            "retry_cap and max_backoff must not be shorter than retry_base"
        } else if self.cooldown_base.is_zero() || self.cooldown_cap < self.cooldown_base {
            "cooldown_base must be more than zero, and cooldown_cap not shorter"
        } else if !(self.windows.jitter >= 0.0 && self.windows.renew_at - self.windows.jitter > 0.0)
        {
            "renew_at less jitter must be more than 0, and jitter not negative"
        } else if !(self.windows.renew_at + self.windows.jitter <= self.windows.hold_at
            && self.windows.hold_at < 1.0)
        {
            "renew_at plus jitter must not exceed hold_at, and hold_at must be less than 1"
        } else {
            return Ok(());
        };
        Err(ConfigError::InvalidPolicy(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_work_is_a_typed_error() {
        let zero = Duration::ZERO;
        let policy = RefreshPolicy::default;
        for policy in [
            policy().attempt_timeout(zero),
            policy().deadline(zero),
            policy().retry_base(zero),
            policy().retry_cap(Duration::from_millis(1)),
            policy().max_backoff(Duration::from_millis(1)),
            policy().cooldown_base(zero),
            policy().cooldown_cap(Duration::from_millis(1)),
            policy().renew_at(0.0),
            policy().renew_at(0.95),
            policy().renew_at(f64::NAN),
            policy().jitter(-0.1),
            policy().jitter(f64::INFINITY),
            policy().hold_at(1.0),
            policy().hold_at(f64::NAN),
        ] {
            assert!(matches!(policy.check(), Err(ConfigError::InvalidPolicy(_))), "{policy:?}");
        }
        assert_eq!(policy().check(), Ok(()));
    }
}
