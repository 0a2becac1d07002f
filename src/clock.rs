//! The only place where time enters. Everything else takes moments as values.
//!
//! Tokens live by the monotonic clock, so a wall clock that is wrong, or jumps, is nothing to them. But on most
//! platforms that clock stands still while the machine sleeps, and tokens don't; so beside it there is the time that
//! the machine has [slept](slept).
//!
//! | platform | how a sleep is noticed |
//! |---|---|
//! | Linux, Android | exactly: `CLOCK_BOOTTIME` goes on during a sleep, `CLOCK_MONOTONIC` does not |
//! | Windows | the monotonic clock itself goes on |
//! | others | the wall clock has gone further than the monotonic one; a clock that is set forward looks the same |

#![expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The monotonic clock. Tokio's own, so that a paused test clock governs everything.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for answers that name a date and no duration.
pub(crate) fn wall() -> SystemTime {
    #[cfg(test)]
    let wall = tests::WALL.get().unwrap_or_else(SystemTime::now);
    #[cfg(not(test))]
    let wall = SystemTime::now();
    wall
}

/// `from + by`, or as late as the clock goes.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    from.checked_add(by).or_else(|| from.checked_add(CENTURY)).unwrap_or(from)
}

/// A moment by [`coarse`], which passes up to twice [`COARSE`] before its time, never after it; unless that would be all
/// that it does, or Tokio's clock was paused when it was made, which no clock of the machine knows of.
#[derive(Debug)]
pub(crate) enum Deadline {
    Coarse(u64),
    Exact(Instant),
}

/// How long the coarse clock may stand still: a tick of the kernel is 10 ms at the most.
const COARSE: Duration = Duration::from_millis(10);

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        let (coarse, now) = (coarse(), now());
        let left = at.saturating_duration_since(now);
        // The clock of a model stands still as well, and all that happens there is between two ticks of any.
        let is_paused = !cfg!(all(test, tower_reauth_loom)) && (0..100).all(|_| self::now() == now);
        if is_paused || left <= 2 * COARSE {
            return Self::Exact(at);
        }
        Self::Coarse(coarse.saturating_add(nanoseconds(left.saturating_sub(COARSE))))
    }

    /// Until when, by [`coarse`], nobody has to ask again: this deadline, or `within` from now, if that is sooner. If that
    /// can't be said, it is 0; `None` once this has passed.
    pub(crate) fn ask_again(&self, within: Duration) -> Option<u64> {
        match self {
            Self::Coarse(at) => {
                let now = coarse();
                (now < *at).then(|| now.saturating_add(nanoseconds(within)).min(*at))
            }
            Self::Exact(at) => (now() < *at).then_some(0),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What every request reads, in nanoseconds: the monotonic clock as of the kernel's last tick, in a quarter of the time that the
/// clock itself takes (7 instead of 28 ns, which is a fifth of what signing a request costs).
#[cfg(all(any(target_os = "linux", target_os = "android"), not(all(test, tower_reauth_loom))))]
#[inline]
pub(crate) fn coarse() -> u64 {
    use rustix::time::{ClockId, clock_gettime};

    let now = clock_gettime(ClockId::MonotonicCoarse);
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec))
    else {
        return u64::MAX;
    };
    seconds * 1_000_000_000 + nanoseconds
}

/// What every request reads, in nanoseconds.
#[cfg(not(any(target_os = "linux", target_os = "android", all(test, tower_reauth_loom))))]
pub(crate) fn coarse() -> u64 {
    use std::{sync::LazyLock, time::Instant};

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanoseconds(START.elapsed())
}

#[cfg(all(test, tower_reauth_loom))]
pub(crate) fn coarse() -> u64 {
    1_000_000_000
}

/// For how long the machine has slept in all, while [`now`] stood still; only differences mean anything.
pub(crate) fn slept() -> Duration {
    #[cfg(test)]
    let machine = machine_slept() + tests::SLEPT.get();
    #[cfg(not(test))]
    let machine = machine_slept();
    machine
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn machine_slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // Read first, the monotonic one is never ahead of what it was when the other was read.
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

#[cfg(target_os = "windows")]
fn machine_slept() -> Duration {
    Duration::ZERO
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "windows")))]
fn machine_slept() -> Duration {
    use std::{sync::LazyLock, time::Instant};

    static START: LazyLock<(SystemTime, Instant)> =
        LazyLock::new(|| (SystemTime::now(), Instant::now()));
    let (wall, monotonic) = *START;
    SystemTime::now().duration_since(wall).unwrap_or_default().saturating_sub(monotonic.elapsed())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(crate) static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
        pub(crate) static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// The machine sleeps for so long, as far as this thread can tell.
    pub(crate) fn sleep(time: Duration) {
        SLEPT.set(SLEPT.get() + time);
    }

    #[test]
    fn a_deadline_never_passes_after_its_time() {
        for left in [0, 1, 5, 19, 21, 30, 60].map(Duration::from_millis) {
            let at = now() + left;
            let deadline = Deadline::new(at);
            loop {
                let asked = now();
                if deadline.ask_again(COARSE).is_none() {
                    break;
                }
                assert!(asked < at, "{left:?}: not passed {:?} after its time", asked - at);
            }
        }
    }

    #[test]
    fn a_deadline_close_to_its_time_is_exact() {
        let at = now() + COARSE;
        let deadline = Deadline::new(at);
        while deadline.ask_again(COARSE).is_some() {}
        assert!(now() >= at);
    }

    #[test]
    fn a_machine_that_is_awake_does_not_sleep() {
        let before = slept();
        let after = slept();
        assert!(after.abs_diff(before) < Duration::from_millis(100), "{before:?} {after:?}");
        sleep(Duration::from_secs(3600));
        assert!(slept().saturating_sub(before) >= Duration::from_secs(3599));
    }
}
