//! [`Bounds`]: how long the parts of a renewal take at most, where processes share a token. Pure.

use std::time::Duration;

/// The lifetime of a lease while the lifetime of tokens is not known.
const UNKNOWN: Duration = Duration::from_secs(3);

const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(5);

/// The longest that one operation of the store may take.
const OPERATION: Duration = Duration::from_millis(500);

/// How long a renewal that is not urgent waits after the store has come back, so that the others
/// have reached it too. They try at least once a second.
pub(crate) const REGROUP: Duration = Duration::from_millis(1250);

/// The bounds of one renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How long a lease lasts without a sign of its owner.
    pub(crate) lease: Duration,
    /// How long the holder waits after it has announced a hold, so that all others have heard of
    /// it.
    pub(crate) grace: Duration,
    /// How long one operation of the store may take.
    pub(crate) operation: Duration,
    /// The holder asks for a token only within this time after its lease was confirmed.
    pub(crate) confirmed: Duration,
    /// The pause between two confirmations while the endpoint is asked.
    pub(crate) extend: Duration,
}

impl Bounds {
    /// Returns the bounds for tokens of this `lifetime`, if that is known. `notice` is how long the
    /// store takes to tell of a change, and `lease` the setting of the user.
    pub(crate) fn new(
        lifetime: Option<Duration>,
        notice: Duration,
        lease: Option<Duration>,
    ) -> Self {
        let usual = lifetime
            .map_or(UNKNOWN, |lifetime| (lifetime / 100).clamp(SHORTEST_LEASE, LONGEST_LEASE));
        let lease = lease.unwrap_or(usual);
        Self {
            lease,
            grace: lifetime.map_or(notice, |lifetime| notice.min(lifetime / 20)),
            operation: OPERATION.min(lease / 2),
            confirmed: lease / 2,
            extend: lease / 3,
        }
    }
}

/// Returns how long a process waits after the last sign of a lease before it looks, for a `random`
/// number in 0..1. Many processes that wait are thus spread evenly.
pub(crate) fn look_after(random: f64) -> Duration {
    Duration::from_millis(500).mul_f64(1.0 + random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_follow_from_the_lifetime() {
        let milliseconds = |lifetime: Option<u64>| {
            let lifetime = lifetime.map(Duration::from_secs);
            let bounds = Bounds::new(lifetime, Duration::from_millis(50), None);
            let Bounds { lease, grace, operation, confirmed, extend } = bounds;
            [lease, grace, operation, confirmed, extend].map(|time| time.as_millis())
        };
        assert_eq!(milliseconds(Some(300)), [3000, 50, 500, 1500, 1000]);
        assert_eq!(milliseconds(Some(60)), [1000, 50, 500, 500, 333]);
        assert_eq!(milliseconds(Some(5)), [1000, 50, 500, 500, 333]);
        assert_eq!(milliseconds(Some(24 * 3600)), [5000, 50, 500, 2500, 1666]);
        assert_eq!(milliseconds(None), [3000, 50, 500, 1500, 1000]);
        let slow = Bounds::new(Some(Duration::from_secs(5)), Duration::from_millis(500), None);
        assert_eq!(slow.grace.as_millis(), 250);
    }

    #[test]
    fn a_setting_replaces_the_usual_lease() {
        let lease = Duration::from_millis(600);
        let bounds = Bounds::new(Some(Duration::from_secs(300)), Duration::ZERO, Some(lease));
        assert_eq!((bounds.lease, bounds.operation), (lease, lease / 2));
    }

    #[test]
    fn looks_are_spread_over_half_a_second() {
        assert_eq!(look_after(0.0).as_millis(), 500);
        assert_eq!(look_after(1.0).as_millis(), 1000);
    }
}
