//! The value of `Retry-After`, which is the whole input, at several moments of the endpoint's
//! clock.
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::{Corpus, fuzz_target};
use tokio::time::Instant;
use tower_reauth::fuzzing;

/// 1970, 2026, 2100, and the year 9999, where HTTP's dates end. In order.
const MOMENTS: [u64; 4] = [0, 1_795_488_240, 4_102_444_800, 253_402_300_799];

/// No pause is longer. The policy's cap is shorter.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pauses(value: HeaderValue) -> [Option<Duration>; 4] {
    let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
    MOMENTS.map(|now| fuzzing::retry_after(&headers, moment(now)))
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(value) = HeaderValue::from_bytes(input) else { return Corpus::Reject };
    let pauses = pauses(value);
    if !input.iter().any(u8::is_ascii_digit) || !input.is_ascii() {
        assert_eq!(pauses, [None; 4], "read from nothing");
    }
    let Some(first) = pauses[0] else {
        assert_eq!(pauses, [None; 4], "readable at some moments only");
        return Corpus::Keep;
    };
    assert!(first <= YEAR);
    let now = Instant::now();
    assert!(fuzzing::later(now, first) >= now);
    let text = std::str::from_utf8(input).expect("ASCII, as seen above").trim();
    if let Ok(date) = httpdate::parse_http_date(text) {
        let expected =
            MOMENTS.map(|now| Some(date.duration_since(moment(now)).unwrap_or_default().min(YEAR)));
        assert_eq!(pauses, expected);
        let again =
            HeaderValue::try_from(httpdate::fmt_http_date(date)).expect("a date is a header value");
        assert_eq!(self::pauses(again), expected, "another date in the usual form");
    } else {
        // Seconds, whatever the clock says.
        assert_eq!(pauses, [Some(first); 4]);
        let again = HeaderValue::from(first.as_secs());
        assert_eq!(self::pauses(again), [Some(first); 4], "other seconds in the usual form");
    }
    Corpus::Keep
});
