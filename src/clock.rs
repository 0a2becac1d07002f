//! The only place where time enters. Everything else takes moments as values.
//!
//! Tokens live by the monotonic clock, so a wall clock that is wrong, or jumps, does not touch
//! them. On most platforms the monotonic clock stands still while the machine sleeps. Tokens age
//! meanwhile, so there is also the time that the machine has [slept](slept).
//!
//! | platform | how a sleep is noticed |
//! |---|---|
//! | Linux, Android | `CLOCK_BOOTTIME` goes on during a sleep, and `CLOCK_MONOTONIC` does not |
//! | Windows | the monotonic clock itself goes on |
//! | others | the wall clock has gone further than the monotonic one |
//!
//! The last way can't tell a sleep from a wall clock that is set forward.

#![expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

use crate::isolate::isolate;

/// Returns the monotonic clock. It is Tokio's, so that a paused test clock governs everything.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns whether the runtime that this is called on has timers. It panics inside if there are
/// none, because Tokio tells it in no other way. The panic hook reports that.
pub(crate) fn has_timers() -> bool {
    isolate(|| drop(tokio::time::sleep(Duration::ZERO))).is_some()
}

/// A timer that does not panic where Tokio's does.
///
/// Without timers on the runtime where it was made, or after that runtime has shut down, it never
/// ends.
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Sets a timer of the runtime that this is called on. Without a runtime there is none.
    pub(crate) fn at(at: Instant) -> Self {
        if Handle::try_current().is_err() {
            return Self::none();
        }
        Self(isolate(|| Box::pin(sleep_until(at))))
    }

    /// Returns a timer that never ends.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns whether there is a timer that can end.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Polls the timer, on the runtime where it was made.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        let polled = isolate(|| sleep.as_mut().poll(cx));
        if polled.is_none() {
            self.0 = None;
        }
        polled.unwrap_or(Poll::Pending)
    }
}

/// One reading of the monotonic clock, and of the time that the machine has slept by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) slept: Duration,
}

impl Moment {
    /// Returns how long ago `earlier` was, the time included that the machine slept since.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let awake = self.at.saturating_duration_since(earlier.at);
        awake.saturating_add(self.slept.saturating_sub(earlier.slept))
    }
}

/// Reads the monotonic clock and the time that the machine has slept.
pub(crate) fn moment() -> Moment {
    Moment { at: now(), slept: slept() }
}

/// Returns the wall clock, for responses that name a date and no duration.
pub(crate) fn wall() -> SystemTime {
    #[cfg(test)]
    let wall = tests::WALL.get().unwrap_or_else(SystemTime::now);
    #[cfg(not(test))]
    let wall = SystemTime::now();
    wall
}

/// Returns `from + by`. If the clock does not go that far, returns a moment a century after `from`,
/// or `from` itself.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    from.checked_add(by).or_else(|| from.checked_add(CENTURY)).unwrap_or(from)
}

/// Returns `time` as an error shows it, to the millisecond.
pub(crate) fn in_seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Returns `true` if Tokio's clock is paused. A clock that reads the same 100 times is.
pub(crate) fn is_paused() -> bool {
    let now = now();
    (0..100).all(|_| self::now() == now)
}

/// A moment that is cheap to compare with the present.
///
/// `Coarse` is a reading of [`coarse`]. It passes up to twice [`COARSE`] before its time, and never
/// after it. `Exact` is a reading of [`now`], for two cases. A moment that is closer than twice
/// [`COARSE`] would pass at once. Tokio's clock may be paused, which no clock of the machine knows.
#[derive(Debug)]
pub(crate) enum Deadline {
    Coarse(u64),
    Exact(Instant),
}

/// How long the coarse clock may stand still. A tick of the kernel is at most 10 ms.
const COARSE: Duration = Duration::from_millis(10);

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        let (coarse, now) = (coarse(), now());
        let left = at.saturating_duration_since(now);
        // In a model, all that happens is between two ticks of every clock, and the deadline is
        // coarse all the same.
        let is_paused = !cfg!(all(test, tower_reauth_loom)) && is_paused();
        if is_paused || left <= 2 * COARSE {
            return Self::Exact(at);
        }
        Self::Coarse(coarse.saturating_add(nanoseconds(left.saturating_sub(COARSE))))
    }

    /// Returns until when, by [`coarse`], this need not be asked again: until the deadline, but at
    /// most for `within` from now. Returns 0 if the coarse clock can't tell, and `None` once the
    /// deadline has passed.
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

/// Returns the monotonic clock as of the kernel's last tick, in nanoseconds. Every request reads
/// it.
///
/// It takes 7 ns to read, and the clock itself 28 ns. That saves about a fifth of what signing a
/// request costs.
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

/// Returns the monotonic clock in nanoseconds. Every request reads it.
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

/// Returns how long the machine has slept in all, while [`now`] stood still. Only the difference of
/// two values means anything. It stays the same until the machine sleeps again, for
/// [`SHORTEST_SLEEP`] or longer.
pub(crate) fn slept() -> Duration {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let machine = steady(&LAST, machine_slept);
    #[cfg(test)]
    let machine = machine + tests::SLEPT.get();
    machine
}

/// Two clocks can't be read at the same moment. A difference that is smaller than this comes from
/// that, and not from a sleep.
const SHORTEST_SLEEP: Duration = Duration::from_millis(20);

/// Returns the `kept` value, unless `read` returns one that is clearly another. That one is then
/// kept.
fn steady(kept: &AtomicU64, mut read: impl FnMut() -> Duration) -> Duration {
    let known = kept.load(Ordering::Relaxed);
    let is_known = |slept: Duration| slept.abs_diff(Duration::from_nanos(known)) < SHORTEST_SLEEP;
    if is_known(read()) {
        return Duration::from_nanos(known);
    }
    // A thread that is preempted between the two clocks reads too much. The least is the best.
    let least = (0..3).map(|_| read()).min().unwrap_or_default();
    if is_known(least) {
        return Duration::from_nanos(known);
    }
    let least = nanoseconds(least);
    let stored = kept.compare_exchange(known, least, Ordering::Relaxed, Ordering::Relaxed);
    Duration::from_nanos(stored.map_or_else(|newer| newer, |_| least))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn machine_slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // The monotonic clock is read first. Read second, it could be ahead, and the difference would
    // be cut to less than the time slept.
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

/// Returns how long the machine has been up, the time that it has slept included. All processes
/// read the same.
#[cfg(all(feature = "file-store", any(target_os = "linux", target_os = "android")))]
pub(crate) fn uptime() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
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

    /// Makes the machine sleep for `time`, as far as this thread can tell.
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
        for _ in 0..10_000 {
            assert_eq!(slept(), before);
        }
        sleep(Duration::from_secs(3600));
        assert_eq!(slept().abs_diff(before), Duration::from_secs(3600));
    }

    #[test]
    fn a_sleep_is_told_from_two_clocks_that_were_not_read_at_the_same_moment() {
        let last = AtomicU64::new(0);
        let read = |milliseconds: &[u64]| {
            let mut readings = milliseconds.iter().copied().map(Duration::from_millis);
            let slept = steady(&last, || readings.next().expect("enough readings"));
            u64::try_from(slept.as_millis()).expect("it is short")
        };
        assert_eq!(read(&[5]), 0, "noise");
        assert_eq!(read(&[900, 901, 3, 800]), 0, "a thread that was preempted");
        assert_eq!(read(&[990, 2000, 801, 803]), 801, "a sleep");
        assert_eq!(read(&[815]), 801, "noise after it");
        assert_eq!(read(&[830, 831, 832, 833]), 831, "a short sleep after a shorter one");
    }
}
