//! The moments at which a token is renewed, as a function of its observed lifetime. Pure.
//!
//! ```text
//! sent --------------- due ------------------ hold ----------------- unusable --- end
//!   served, no contact   served, renewed in     renewed with new       not sent
//!   with the endpoint    an idle moment         requests held back
//! ```
//!
//! The moments are fractions of the usable lifetime, so they fit a token of 5 seconds and one of 24
//! hours. With the defaults:
//!
//! | lifetime | due | hold | unusable |
//! |---|---|---|---|
//! | 5 s | 3.7 to 4.2 s | 4.5 s | 4.9 s |
//! | 300 s | 221 to 251 s | 271 s | 295 s |
//! | 24 h | 18.0 to 20.4 h | 22.1 h | 5 s before its end |
//!
//! For 300 s that leaves 24 s for a drain and a `POST`, which is enough to repeat one that fails.
//! Instances that were started together are spread over 30 s.

use std::time::Duration;

/// The part of a refresh policy that says when a token is renewed.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) renew_at: f64,
    pub(crate) jitter: f64,
    pub(crate) hold_at: f64,
    pub(crate) expiry_margin: Option<Duration>,
    pub(crate) drain_timeout: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            renew_at: 0.80,
            jitter: 0.05,
            hold_at: 0.92,
            expiry_margin: None,
            drain_timeout: Duration::from_secs(2),
        }
    }
}

/// The moments of one token, counted from when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// From here on, the next caller starts a renewal.
    pub(crate) due: Duration,
    /// From here on, a renewal no longer waits for an idle moment.
    pub(crate) hold: Duration,
    /// From here on, the token is not sent.
    pub(crate) unusable: Duration,
    /// The longest wait for requests in flight.
    pub(crate) drain: Duration,
    /// The policy's margin was more than a quarter of the lifetime, and was cut to that.
    pub(crate) clamped: bool,
}

impl Schedule {
    /// Makes the renewal due after `hint`, as the endpoint wants it. Later than before it is never,
    /// and not in the first quarter of the `lifetime` either, or a wrong hint would have each
    /// request ask for a token.
    pub(crate) fn due_by(&mut self, hint: Duration, lifetime: Duration) {
        self.due = self.due.min(hint.max(lifetime / 4));
    }
}

/// Returns the schedule of a token of this `lifetime`, for a `random` number in 0..1.
pub(crate) fn schedule(lifetime: Duration, windows: &Windows, random: f64) -> Schedule {
    let (margin, clamped) = margin(lifetime, windows);
    let usable = lifetime.saturating_sub(margin);
    let jitter = windows.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
    let hold = usable.mul_f64(windows.hold_at);
    Schedule {
        due: usable.mul_f64((windows.renew_at + jitter).clamp(0.0, windows.hold_at)),
        hold,
        unusable: usable,
        drain: windows.drain_timeout.min(lifetime / 20).min(lifetime.saturating_sub(hold)),
        clamped,
    }
}

/// Returns how long before its end a token is no longer sent, and whether the policy's margin was
/// cut. The request has to arrive and be checked while the token lives. The default margin is 2 %
/// of the lifetime, at most 5 seconds.
fn margin(lifetime: Duration, windows: &Windows) -> (Duration, bool) {
    let most = lifetime / 4;
    match windows.expiry_margin {
        Some(margin) => (margin.min(most), margin > most),
        None => ((lifetime / 50).min(Duration::from_secs(5)), false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(lifetime: f64, random: f64) -> [f64; 4] {
        let schedule = schedule(Duration::from_secs_f64(lifetime), &Windows::default(), random);
        [schedule.due, schedule.hold, schedule.unusable, schedule.drain].map(|at| at.as_secs_f64())
    }

    #[test]
    fn the_windows_of_a_lifetime_of_300_s() {
        let [earliest, hold, unusable, drain] = seconds(300.0, 0.0);
        let [latest, ..] = seconds(300.0, 1.0);
        assert!(
            (221.0..222.0).contains(&earliest) && (250.0..251.0).contains(&latest),
            "{earliest} {latest}"
        );
        assert!((271.0..272.0).contains(&hold), "{hold}");
        assert_eq!((unusable, drain), (295.0, 2.0));
    }

    #[test]
    fn the_endpoint_may_bring_a_renewal_forward() {
        let lifetime = Duration::from_secs(86_400);
        for (hint, expected) in [(43_200, 43_200), (0, 21_600), (86_000, 69_116)] {
            let mut schedule = schedule(lifetime, &Windows::default(), 0.5);
            schedule.due_by(Duration::from_secs(hint), lifetime);
            assert_eq!(schedule.due.as_secs(), expected, "{hint}");
        }
    }

    #[test]
    fn the_windows_are_fractions_so_that_they_fit_any_lifetime() {
        let [due, hold, unusable, drain] = seconds(5.0, 0.5);
        assert_eq!((due, hold, unusable, drain), (3.92, 4.508, 4.9, 0.25));
        let [due, .., unusable, _] = seconds(24.0 * 3600.0, 0.5);
        assert_eq!((due, unusable), (69_116.0, 86_395.0));
    }

    #[test]
    fn a_margin_that_would_eat_the_lifetime_is_cut_and_says_so() {
        let windows =
            Windows { expiry_margin: Some(Duration::from_secs(300)), ..Windows::default() };
        let schedule = schedule(Duration::from_secs(300), &windows, 0.5);
        assert!(schedule.clamped);
        assert_eq!(schedule.unusable, Duration::from_secs(225));
        assert!(schedule.due < schedule.hold && schedule.hold < schedule.unusable);
    }

    proptest! {
        #[test]
        fn the_windows_are_always_in_order(
            lifetime in 1_u64..40_000_000,
            margin in prop::option::of(0_u64..1_000_000),
            renew_at in 0.1_f64..0.9,
            jitter in 0.0_f64..0.1,
            hold_at in 0.9_f64..0.9999,
            random in -1.0_f64..2.0,
        ) {
            let expiry_margin = margin.map(Duration::from_millis);
            let drain_timeout = Windows::default().drain_timeout;
            let windows = Windows { renew_at, jitter, hold_at, expiry_margin, drain_timeout };
            let lifetime = Duration::from_millis(lifetime);
            let schedule = schedule(lifetime, &windows, random);
            let is_tiny = lifetime < Duration::from_micros(10);
            prop_assert!(schedule.due <= schedule.hold);
            prop_assert!(schedule.hold <= schedule.unusable || is_tiny);
            prop_assert!(schedule.unusable <= lifetime);
            prop_assert!(schedule.unusable >= lifetime / 4 * 3);
            prop_assert!(schedule.hold + schedule.drain <= lifetime);
        }
    }
}
