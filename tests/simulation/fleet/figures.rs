//! How long everything takes, by chance.

use std::{f64::consts::TAU, time::Duration};

use fastrand::Rng;

/// A lognormal time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// In milliseconds, as the cap.
    pub(super) median: f64,
    /// The standard deviation of the logarithm.
    pub(super) sigma: f64,
    pub(super) cap: f64,
}

impl Spread {
    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos();
        milliseconds((self.median * (self.sigma * normal).exp()).min(self.cap))
    }
}

/// The times of one fleet, and how often something is out of the ordinary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// To a resource, a token endpoint or a store, and the same back.
    pub(super) way: Spread,
    pub(super) work: Spread,
    pub(super) notice: Spread,
    /// The share of requests whose upload takes 0.1 s to 2 s.
    pub(super) slow_uploads: f64,
    /// The share of requests whose token is checked when the work is done.
    pub(super) late_checks: f64,
    /// The share of requests that can't be sent again.
    pub(super) unrepeatable: f64,
    /// How long a request for a token takes in all.
    pub(super) post: Duration,
}

impl Figures {
    /// The figures of the design's table.
    pub(super) const DESIGN: Self = Self {
        way: Spread { median: 5.0, sigma: 0.5, cap: 100.0 },
        // 410 ms at the 99th percentile.
        work: Spread { median: 40.0, sigma: 1.0, cap: 5000.0 },
        notice: Spread { median: 0.3, sigma: 1.0, cap: 100.0 },
        slow_uploads: 0.001,
        late_checks: 0.005,
        unrepeatable: 0.05,
        post: Duration::from_millis(50),
    };

    /// Nothing is out of the ordinary: a notice and the request that it comes too late for take
    /// less time than the grace.
    pub(super) const FINE: Self = Self {
        way: Spread { median: 4.0, sigma: 0.5, cap: 20.0 },
        work: Spread { median: 20.0, sigma: 0.7, cap: 200.0 },
        notice: Spread { median: 0.5, sigma: 1.0, cap: 15.0 },
        slow_uploads: 0.0,
        late_checks: 0.0,
        unrepeatable: 0.05,
        post: Duration::from_millis(50),
    };

    /// Returns how long an upload takes.
    pub(super) fn upload(&self, rng: &mut Rng) -> Duration {
        if rng.f64() < self.slow_uploads {
            return milliseconds(100.0 + 1900.0 * rng.f64());
        }
        self.way.draw(rng)
    }
}

pub(super) fn milliseconds(time: f64) -> Duration {
    Duration::from_secs_f64(time / 1000.0)
}
