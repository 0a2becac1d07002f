//! The only place where time enters. Everything else takes moments as values.

#![expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The monotonic clock. Tokio's own, so that a paused test clock governs everything.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for answers that name a date and no duration.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// `from + by`, or as late as the clock goes.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    from.checked_add(by).or_else(|| from.checked_add(CENTURY)).unwrap_or(from)
}
