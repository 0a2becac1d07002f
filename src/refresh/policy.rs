//! [`RefreshPolicy`]: when tokens are renewed, and how long and how often the endpoint is asked.

use std::time::Duration;

use crate::{error::ConfigError, token::Windows};

/// The rules of a refresh: when a token is renewed, how long a refresh may take, and how often the
/// endpoint is asked when it fails.
///
/// Moments in a token's lifetime are fractions of its usable lifetime: the whole less the
/// [`expiry_margin`](Self::expiry_margin). So one policy fits tokens of 5 seconds and of 24 hours.
/// With the defaults, a token of 300 seconds, as the Send Payments API issues them,
///
/// - is due for renewal between 221 s and 251 s after it was asked for, when the next call starts
///   the renewal;
/// - is replaced at the first moment without requests in flight, or from 271 s on with new requests
///   held back, if the endpoint is exclusive;
/// - is not sent from 295 s on.
///
/// # How often the endpoint is asked
///
/// - If all is well: once per renewal.
/// - If it fails: a refresh makes attempts with growing pauses until its
///   [`deadline`](Self::deadline). Back-off follows, which grows up to
///   [`max_backoff`](Self::max_backoff). With the defaults, an endpoint that always responds with
///   500, or not at all, gets less than 1,500 requests an hour, whatever the traffic is.
/// - If it refuses the credentials: less than 200 requests an hour.
/// - If it asks for a pause with `Retry-After`: not before that, up to
///   [`max_retry_after`](Self::max_retry_after).
/// - If a resource refuses every token: less than 200 requests an hour for tokens that live for a
///   minute or more, because of [`cooldown_cap`](Self::cooldown_cap). Shorter ones are renewed more
///   often anyway.
///
/// # Errors
///
/// The setters take any value, and never panic. A policy that can't work is a
/// [`ConfigError::InvalidPolicy`] of [`TokenCacheBuilder::build`][build].
///
/// [build]: crate::cache::TokenCacheBuilder::build
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
    pub(crate) first_attempt_timeout: Option<Duration>,
    pub(crate) deadline: Duration,
    pub(crate) retry_base: Duration,
    pub(crate) retry_cap: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) max_retry_after: Duration,
    pub(crate) cooldown_base: Duration,
    pub(crate) cooldown_cap: Duration,
    pub(crate) propagation_delay: Duration,
    pub(crate) windows: Windows,
    pub(crate) hold_timeout: Duration,
    pub(crate) hold: bool,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            first_attempt_timeout: None,
            deadline: Duration::from_secs(30),
            retry_base: Duration::from_millis(200),
            retry_cap: Duration::from_secs(5),
            max_backoff: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(600),
            cooldown_base: Duration::from_secs(1),
            cooldown_cap: Duration::from_secs(30),
            propagation_delay: Duration::from_secs(2),
            windows: Windows::default(),
            hold_timeout: Duration::from_secs(1),
            hold: true,
        }
    }
}

impl RefreshPolicy {
    /// Sets how long one attempt may take, from asking the credentials source to the end of the
    /// response. An attempt that ran out of time is repeated until the
    /// [`deadline`](Self::deadline).
    ///
    /// With 3 seconds, an endpoint that hangs is asked again 3 seconds and a pause after the first
    /// request. Defaults to 10 seconds.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets how long the first attempt may take since a token was issued. All others have
    /// [`attempt_timeout`](Self::attempt_timeout).
    ///
    /// A lost response then costs less time, and an endpoint that always takes long is waited for
    /// at the second attempt. With 3 seconds, a response that is lost delays the token by 3 seconds
    /// and a pause instead of 10. The price is one more request to an endpoint that takes longer.
    /// Defaults to `attempt_timeout`, which is also the most.
    #[must_use]
    pub fn first_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.first_attempt_timeout = Some(timeout);
        self
    }

    /// Returns how long one attempt may take.
    pub(crate) fn attempt_time(&self, is_first: bool) -> Duration {
        let first = self.first_attempt_timeout.filter(|_| is_first);
        first.map_or(self.attempt_timeout, |first| first.min(self.attempt_timeout))
    }

    /// Sets how long a refresh may take, its attempts and the pauses between them together. After
    /// that its callers get the error of the last attempt. A drain comes before the refresh, and is
    /// not a part of it.
    ///
    /// With 8 seconds, and 3 seconds for an attempt, an endpoint that hangs is asked three times.
    /// While there is no token and the endpoint is down, the first requests wait this long. Keep it
    /// below the timeout of those who wait for them. In back-off, requests get the error at once.
    /// Defaults to 30 seconds.
    #[doc(alias = "timeout")]
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the greatest pause after the first failed attempt of a refresh. It doubles with each
    /// further failure, and the pause is a random part of it ("full jitter"). Back-off between
    /// refreshes starts from this as well.
    ///
    /// With 200 milliseconds, the pauses of a refresh are at most 200, 400, 800 milliseconds and so
    /// on. Defaults to 200 milliseconds.
    #[must_use]
    pub fn retry_base(mut self, base: Duration) -> Self {
        self.retry_base = base;
        self
    }

    /// Sets the greatest pause between two attempts of a refresh. Only an endpoint that asks for
    /// more with `Retry-After` (RFC 9110, section 10.2.3) gets a longer one.
    ///
    /// With 5 seconds, pauses that start from 200 milliseconds stop growing at the sixth. Defaults
    /// to 5 seconds.
    #[must_use]
    pub fn retry_cap(mut self, cap: Duration) -> Self {
        self.retry_cap = cap;
        self
    }

    /// Sets the greatest back-off after a refresh that failed. During back-off, callers get the
    /// error of that refresh at once, and the endpoint is not contacted. Only
    /// [`TokenCache::refresh`](crate::TokenCache::refresh) does so, at most once a second.
    ///
    /// Back-off doubles with each failed refresh in a row, from
    /// [`retry_base`](Self::retry_base). After a failure that is not transient it starts from at
    /// least 1 second, even if that is more than this. Up to half of it is taken off for jitter. It
    /// lasts longer if the endpoint asks for that with `Retry-After` (RFC 9110, section 10.2.3), up
    /// to [`max_retry_after`](Self::max_retry_after).
    ///
    /// With 30 seconds, back-off is at most 0.2, 0.4, 0.8 seconds and so on up to 30 seconds.
    /// Defaults to 30 seconds.
    #[must_use]
    pub fn max_backoff(mut self, cap: Duration) -> Self {
        self.max_backoff = cap;
        self
    }

    /// Sets the greatest pause that the endpoint can ask for with `Retry-After` (RFC 9110, section
    /// 10.2.3). A longer one is cut to this, because one mistaken header would otherwise stop all
    /// requests for as long as it says.
    ///
    /// With 10 minutes, a `Retry-After` of 86,400 seconds keeps the endpoint from being asked for
    /// 10 minutes. With zero, `Retry-After` is ignored. Defaults to 10 minutes.
    #[must_use]
    pub fn max_retry_after(mut self, cap: Duration) -> Self {
        self.max_retry_after = cap;
        self
    }

    /// Sets how old a token must be to be replaced after a resource has refused it, if the two
    /// tokens before it were refused early in their lifetime as well. Those two are replaced at
    /// once. The age doubles for each further token in a row. Up to half of it is taken off for
    /// jitter.
    ///
    /// With 1 second, the third token is replaced when it is 1 second old, the fourth at 2 seconds,
    /// the fifth at 4 seconds, all before jitter. Defaults to 1 second.
    #[must_use]
    pub fn cooldown_base(mut self, base: Duration) -> Self {
        self.cooldown_base = base;
        self
    }

    /// Sets the greatest age that a refused token must have to be replaced. If no resource accepts
    /// three tokens in a row, the next one must have this age at once.
    ///
    /// With 30 seconds, a resource that refuses every token costs less than 200 requests to the
    /// endpoint an hour. Defaults to 30 seconds.
    #[must_use]
    pub fn cooldown_cap(mut self, cap: Duration) -> Self {
        self.cooldown_cap = cap;
        self
    }

    /// Sets the fraction of its usable lifetime at which a token is due for renewal.
    ///
    /// With 0.80, a token of 300 seconds is due 236 seconds after it was asked for, before
    /// [`jitter`](Self::jitter). Defaults to 0.80.
    #[must_use]
    pub fn renew_at(mut self, fraction: f64) -> Self {
        self.windows.renew_at = fraction;
        self
    }

    /// Sets the fraction of its usable lifetime by which a token's renewal is due earlier or later
    /// than at [`renew_at`](Self::renew_at), at random and at most. It spreads the renewals of
    /// instances that were started together.
    ///
    /// With 0.05, instances with tokens of 300 seconds renew them within 30 seconds, from 221 to
    /// 251 seconds. Defaults to 0.05.
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.windows.jitter = fraction;
        self
    }

    /// Sets the fraction of its usable lifetime up to which the renewal of a token waits for a
    /// moment without requests in flight. From then on new requests are held back. For
    /// [exclusive](crate::endpoint::Rotation::Exclusive) endpoints only.
    ///
    /// With 0.92, the renewal of a token of 300 seconds waits until 271 seconds. It must be less
    /// than 1, and at least [`renew_at`](Self::renew_at) plus [`jitter`](Self::jitter). Defaults to
    /// 0.92.
    #[must_use]
    pub fn hold_at(mut self, fraction: f64) -> Self {
        self.windows.hold_at = fraction;
        self
    }

    /// Sets how long before the end of its lifetime a token is no longer sent. A margin of more
    /// than a quarter of the lifetime is cut to that, with a warning in the log.
    ///
    /// With 10 seconds, a token of 300 seconds is sent for 290 seconds. Defaults to 2 % of the
    /// lifetime, at most 5 seconds.
    #[must_use]
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.windows.expiry_margin = Some(margin);
        self
    }

    /// Sets how long a renewal waits for the requests in flight while new ones are held back. A
    /// request that has no response by then may get a 401, and is replayed. For
    /// [exclusive](crate::endpoint::Rotation::Exclusive) endpoints only.
    ///
    /// A drain takes at most a twentieth of the token's lifetime: with 2 seconds, it takes up to 2
    /// seconds for a token of 300 seconds, and up to 1 second for one of 20 seconds. Defaults to 2
    /// seconds.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.windows.drain_timeout = timeout;
        self
    }

    /// Renews without holding requests back: they go on with the old token, as for overlapping
    /// endpoints. No request waits for a renewal that is made in time, but those that arrive after
    /// the new token was issued get a 401, and are replayed. For
    /// [exclusive](crate::endpoint::Rotation::Exclusive) endpoints only.
    ///
    /// Use it for comparison, or where a 401 costs nothing. Defaults to holding requests back.
    #[must_use]
    pub fn without_hold(mut self) -> Self {
        self.hold = false;
        self
    }

    /// Sets how long requests are held while an exclusive endpoint is asked for a token. The time
    /// counts from the request to the endpoint on, so a drain comes before it.
    ///
    /// After that the held requests go on with the old token, which may have died by then. One
    /// request that can be replayed goes first. The others follow when a resource accepts the old
    /// token, or after 100 milliseconds. The request to the endpoint goes on too, and its token is
    /// used when it arrives.
    ///
    /// If that request is refused, the others wait for the new token, through all attempts. One
    /// more request tries the old token whenever an attempt has failed. During back-off one a
    /// second does, and all others get the error. The old token serves all again once a resource
    /// has accepted it.
    ///
    /// With 1 second and a drain of 2 seconds, a request is held for at most 3.1 seconds, unless
    /// the token is refused meanwhile. Defaults to 1 second.
    #[must_use]
    pub fn hold_timeout(mut self, timeout: Duration) -> Self {
        self.hold_timeout = timeout;
        self
    }

    /// Sets how long it may take until every resource knows a new token. A replica of the resource
    /// may learn of it late, or its clock may be behind.
    ///
    /// A request that is refused with a younger token is sent again with the same one, up to five
    /// times within 2 seconds, and only then is the token renewed. A request that can't be sent
    /// again gets its 401, and the token stays.
    ///
    /// With 5 seconds, a resource whose clock is 4 seconds behind costs no renewals. With zero, a
    /// young token is treated like any other. A quarter of a token's lifetime is the most. Defaults
    /// to 2 seconds.
    #[must_use]
    pub fn propagation_delay(mut self, delay: Duration) -> Self {
        self.propagation_delay = delay;
        self
    }

    /// Returns the longest that the endpoint is left alone, whoever asks for that.
    pub(crate) fn longest_back_off(&self) -> Duration {
        self.max_backoff.max(self.max_retry_after)
    }

    /// Returns an error that names the first setting that can't work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = if self.attempt_time(true).is_zero() {
            "an attempt needs time; give attempt_timeout and first_attempt_timeout more than zero"
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
            policy().first_attempt_timeout(zero),
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
