//! The sandbox's wall clock, which can be set wrong, and its latency.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use jiff::Timestamp;

/// The difference between the sandbox's clock and the real time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offset {
    Ahead(Duration),
    Behind(Duration),
}

/// A clock of whole seconds since 1970.
///
/// It stays between 1970 and the year 9999, the last one that fits into a date of 20 characters.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    offset: Offset,
}

impl Clock {
    pub(super) fn new(offset: Offset) -> Self {
        Self { offset }
    }

    pub(super) fn now(self) -> u64 {
        let real = wall_clock();
        let local = match self.offset {
            Offset::Ahead(by) => real.saturating_add(by),
            Offset::Behind(by) => real.saturating_sub(by),
        };
        local.as_secs().min(max_second())
    }

    /// Returns the current time as the value of a `Date` header.
    pub(super) fn date(self) -> HeaderValue {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.now()));
        HeaderValue::try_from(date)
            .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
    }
}

/// Formats `seconds` since 1970 as UTC in exactly 20 characters, such as `2026-11-24T02:44:00Z`.
pub(super) fn rfc3339(seconds: u64) -> String {
    let seconds = seconds.min(max_second());
    i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok())
        .unwrap_or_default()
        .to_string()
}

/// Returns the last second that the clock can show, which is in the year 9999.
pub(super) fn max_second() -> u64 {
    Timestamp::MAX.as_second().unsigned_abs()
}

/// Returns the real time since 1970. Nothing else in the sandbox reads a clock.
#[allow(
    clippy::disallowed_methods,
    reason = "the sandbox stands in for another machine, with its own wall clock"
)]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Waits for `time`. Zero returns at once and needs no timer.
pub(super) async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_20_characters() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_488_240), "2026-11-24T02:44:00Z");
        assert_eq!(rfc3339(u64::MAX).len(), 20);
    }

    #[test]
    fn an_offset_beyond_all_bounds_is_cut_off() {
        assert_eq!(Clock::new(Offset::Behind(Duration::MAX)).now(), 0);
        let far = Clock::new(Offset::Ahead(Duration::MAX));
        assert_eq!(far.now(), max_second());
        assert!(far.date().to_str().unwrap().contains(" 9999 "));
    }
}
