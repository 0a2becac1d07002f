//! [`ServerClock`]: the clock by which assertions are dated.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

use crate::clock;

/// The greatest difference between two clocks that counts as none, in seconds.
const SAME_TIME: i64 = 30;

/// The server's clock as its responses show it.
///
/// Whatever stands in front of the server may have stamped them with a clock of its own, which only
/// a refusal shows. After one, the next assertion is dated by the other clock.
///
/// All is `Relaxed`, because each value stands alone and publishes no other memory.
#[derive(Default)]
pub(super) struct ServerClock {
    /// In whole seconds, how far the server's clock was ahead of this machine's at its last
    /// response.
    ahead: AtomicI64,
    /// An assertion that was dated by the server's clock was refused.
    is_doubted: AtomicBool,
}

impl ServerClock {
    /// Notes the date of a response.
    pub(super) fn note(&self, date: SystemTime) {
        self.ahead.store(seconds_between(clock::wall(), date), Ordering::Relaxed);
    }

    /// Returns the time to date an assertion by. It is the server's where that is known to be
    /// another.
    pub(super) fn now(&self) -> SystemTime {
        let here = clock::wall();
        if self.is_doubted.load(Ordering::Relaxed) { here } else { self.there(here) }
    }

    /// Notes that an assertion with this date was refused. Returns `true` if another clock gives
    /// another date, by which the next one is dated.
    pub(super) fn refused(&self, dated: SystemTime) -> bool {
        let here = clock::wall();
        let there = self.there(here);
        let is_same = |one, other| seconds_between(one, other).abs() <= SAME_TIME;
        if is_same(here, there) {
            return !is_same(dated, here);
        }
        self.is_doubted.store(is_same(dated, there), Ordering::Relaxed);
        true
    }

    /// Returns the server's time if it is `here` at this machine.
    fn there(&self, here: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead.abs() <= SAME_TIME {
            return here;
        }
        let by = Duration::from_secs(ahead.unsigned_abs());
        let there = if ahead > 0 { here.checked_add(by) } else { here.checked_sub(by) };
        there.unwrap_or(here)
    }
}

/// Returns the whole seconds from one time to another, negative if it is earlier.
pub(super) fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let seconds = |it: Duration| i64::try_from(it.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(later) => seconds(later),
        Err(earlier) => -seconds(earlier.duration()),
    }
}
