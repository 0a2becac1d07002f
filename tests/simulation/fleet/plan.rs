//! What a seed decides, and what must come of it.

use std::time::Duration;

use fastrand::Rng;
use tower_reauth::{RefreshPolicy, store::StoreDown};

use super::world::ATTEMPT;

/// What goes wrong in one fleet. Each kind alone has stricter bounds than all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    None,
    /// Processes stop and start again, at any instant.
    Crashes,
    /// Processes stand still.
    Pauses,
    /// Notices and the answers of the store are lost, or late.
    Losses,
    /// The store stops, loses its data, or can't be reached.
    Store,
    /// The endpoint is slow, fails, or its answers are lost.
    Endpoint,
    /// Resources refuse a token that is alive, or somebody outside of the fleet asks for one.
    Refusals,
    All,
}

impl Faults {
    /// Each kind by itself.
    pub(super) const KINDS: [Self; 6] =
        [Self::Crashes, Self::Pauses, Self::Losses, Self::Store, Self::Endpoint, Self::Refusals];
}

const FLEETS: [Faults; 9] = [
    Faults::None,
    Faults::Crashes,
    Faults::Pauses,
    Faults::Losses,
    Faults::Store,
    Faults::Endpoint,
    Faults::Refusals,
    Faults::All,
    Faults::All,
];

/// All that a seed decides beside chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) faults: Faults,
    pub(super) processes: usize,
    pub(super) lifetime: Duration,
    pub(super) store_down: StoreDown,
    /// When faults begin, and when they end.
    pub(super) storm: (Duration, Duration),
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let faults = FLEETS[rng.usize(0..FLEETS.len())];
        let processes = match rng.u32(0..100) {
            0..45 => 2,
            45..70 => 3,
            70..95 => 10,
            _ => 100,
        };
        let lifetime = Duration::from_secs(match rng.u32(0..10) {
            0 => rng.u64(120..=300),
            _ => rng.u64(12..60),
        });
        let store_down = if rng.bool() { StoreDown::Alone } else { StoreDown::Fail };
        let start = Duration::from_millis(rng.u64(0..8000));
        let end = start + lifetime.mul_f64(1.0 + 1.5 * rng.f64());
        Self { faults, processes, lifetime, store_down, storm: (start, end) }
    }

    fn lease(&self) -> Duration {
        (self.lifetime / 100).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }

    pub(super) fn policy() -> RefreshPolicy {
        RefreshPolicy::default()
            .attempt_timeout(ATTEMPT)
            .deadline(Duration::from_secs(8))
            .max_backoff(Duration::from_secs(1))
            .cooldown_cap(COOLDOWN)
    }

    pub(super) fn has(&self, faults: Faults) -> bool {
        self.faults == faults || self.faults == Faults::All
    }

    /// How much longer than in a fleet a request may be held: a process that asks alone drains.
    pub(super) fn drain(&self) -> Duration {
        let is_alone = self.store_down == StoreDown::Alone && self.faults != Faults::None;
        Duration::from_secs(if is_alone { 2 } else { 0 })
    }

    /// The time within which all are on the living token once nothing is wrong any longer: a lease
    /// and 2 s. A process that has started lately does not know how long tokens live, so its lease
    /// is one of 3 s. Processes that asked alone, or whose token a stray request has killed, leave
    /// a token that is refused early in use for as long as their cool-down says.
    pub(super) fn recovery(&self) -> Duration {
        let unknown = Duration::from_secs(if self.has(Faults::Crashes) { 3 } else { 0 });
        let is_duel = self.has(Faults::Endpoint)
            || self.has(Faults::Refusals)
            || self.has(Faults::Pauses)
            || self.has(Faults::Store) && self.store_down == StoreDown::Alone;
        let cooldown = if is_duel { COOLDOWN } else { Duration::ZERO };
        self.lease().max(unknown) + Duration::from_secs(2) + cooldown
    }
}

/// The part of a token's lifetime after which it is due at the earliest: 75 % of the usable one.
pub(super) const EARLIEST: f64 = 0.98 * 0.75;

/// The longest pause before a token is replaced that was refused early.
const COOLDOWN: Duration = Duration::from_secs(4);

/// What came of a fleet.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "all of it is printed when a seed is played again")]
pub(super) struct Report {
    pub(super) plan: Plan,
    pub(super) posts: usize,
    /// From the start to the end of the calm.
    pub(super) elapsed: Duration,
    /// What went wrong beside requests for tokens.
    pub(super) faults: u64,
    pub(super) faulty_posts: u64,
    /// 401s for a token that was alive.
    pub(super) refusals: u64,
    pub(super) alone: u64,
    pub(super) answered: u64,
    pub(super) wire: u64,
    pub(super) seen: u64,
    pub(super) errors: u64,
    pub(super) longest_hold: Duration,
    pub(super) longest_delay: Duration,
    /// From the end of the last fault until all were on the living token.
    pub(super) recovery: Duration,
    /// The same in each play of the seed.
    pub(super) trace: u64,
    pub(super) wrong: Vec<String>,
}

impl Report {
    /// Returns everything that was not as it must be.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        let posts = self.posts as u64;
        // One per renewal, each that met a fault or was made alone, and one for every two of the
        // other faults.
        let usable = self.plan.lifetime.mul_f64(EARLIEST);
        let renewals = u64::try_from(self.elapsed.as_nanos() / usable.as_nanos()).unwrap();
        let most = 2 + renewals + self.faulty_posts + self.alone + self.faults / 2 + self.refusals;
        if posts > most {
            wrong.push(format!("{posts} requests for tokens, {most} at most"));
        }
        // The grace and the bound of a hold. Alone, a process drains instead of the grace.
        let drain = if self.alone > 0 { self.plan.drain() } else { Duration::ZERO };
        let is_fine = self.plan.faults == Faults::None;
        let bound = Duration::from_millis(if is_fine { 200 } else { 1100 }) + drain;
        if self.longest_hold > bound {
            wrong.push(format!("a hold of {:?}, {bound:?} at most", self.longest_hold));
        }
        if is_fine && self.wire > 0 {
            wrong.push(format!("{} 401s without a fault", self.wire));
        }
        wrong
    }
}
