//! The pause between two attempts of a refresh: exponential, with full jitter. Pure.

use std::time::Duration;

use crate::refresh::RefreshPolicy;

/// Returns the pause after the `attempt`-th failure in a row (counted from 1), for a `random`
/// number in 0..1. The pause is at least `retry_after`, the one that the endpoint asked for, up to
/// the policy's `max_retry_after`.
pub(crate) fn pause(
    policy: &RefreshPolicy,
    attempt: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let longest = policy.retry_base.saturating_mul(doubled).min(policy.retry_cap);
    let pause = longest.mul_f64(random.clamp(0.0, 1.0));
    pause.max(retry_after.unwrap_or_default().min(policy.max_retry_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_cap_and_jitter_takes_a_part_of_it() {
        let policy = RefreshPolicy::default()
            .retry_base(Duration::from_millis(100))
            .retry_cap(Duration::from_secs(1));
        let longest: Vec<_> = (1..=6).map(|n| pause(&policy, n, None, 1.0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause(&policy, 2, None, 0.25), Duration::from_millis(50));
        assert_eq!(pause(&policy, u32::MAX, None, 1.0), Duration::from_secs(1));
        assert_eq!(pause(&policy, 3, None, 0.0), Duration::ZERO);
    }

    #[test]
    fn what_the_endpoint_asked_for_is_the_least() {
        let policy = RefreshPolicy::default();
        let asked = Duration::from_secs(20);
        assert_eq!(pause(&policy, 1, Some(asked), 0.5), asked);
        let capped = policy.max_retry_after(Duration::from_secs(10));
        assert_eq!(pause(&capped, 1, Some(asked), 0.5), Duration::from_secs(10));
    }
}
