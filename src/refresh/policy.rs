//! [`RefreshPolicy`]: the bounds of one refresh.

use std::time::Duration;

use crate::error::ConfigError;

/// How long a refresh may take, and how it repeats failed attempts.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::RefreshPolicy;
///
/// let policy = RefreshPolicy::default()
///     .attempt_timeout(Duration::from_secs(3))
///     .deadline(Duration::from_secs(8));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
pub struct RefreshPolicy {
    pub(crate) attempt_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) backoff_base: Duration,
    pub(crate) backoff_cap: Duration,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(5),
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
    /// jitter"). Defaults to 200 milliseconds.
    #[must_use]
    pub fn backoff_base(mut self, base: Duration) -> Self {
        self.backoff_base = base;
        self
    }

    /// No pause between two attempts is longer, unless the endpoint asks for it with `Retry-After`. Defaults to 5
    /// seconds.
    #[must_use]
    pub fn backoff_cap(mut self, cap: Duration) -> Self {
        self.backoff_cap = cap;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.attempt_timeout.is_zero() {
            return Err(ConfigError::InvalidPolicy(
                "an attempt needs time; give attempt_timeout more than zero",
            ));
        }
        if self.deadline.is_zero() {
            return Err(ConfigError::InvalidPolicy("a refresh needs time; give deadline more than zero"));
        }
        if self.backoff_base.is_zero() {
            return Err(ConfigError::InvalidPolicy(
                "attempts need a pause; give backoff_base more than zero",
            ));
        }
        if self.backoff_cap < self.backoff_base {
            return Err(ConfigError::InvalidPolicy("backoff_cap must not be shorter than backoff_base"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_work_is_a_typed_error() {
        let zero = Duration::ZERO;
        for policy in [
            RefreshPolicy::default().attempt_timeout(zero),
            RefreshPolicy::default().deadline(zero),
            RefreshPolicy::default().backoff_base(zero),
            RefreshPolicy::default().backoff_cap(Duration::from_millis(1)),
        ] {
            assert!(matches!(policy.check(), Err(ConfigError::InvalidPolicy(_))), "{policy:?}");
        }
        assert_eq!(RefreshPolicy::default().check(), Ok(()));
    }
}
