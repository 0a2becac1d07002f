//! [`parse_rfc3339`]: dates as most APIs write them.

use std::time::SystemTime;

/// Parses a `date-time` of RFC 3339 (section 5.6), such as the `expires_at` of GitHub. Returns
/// `None` for anything else, be it another form of ISO 8601, and for a fraction of a second with
/// more than nine digits. A leap second is read as the second before it.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use tower_reauth::endpoint::{IssuedToken, parse_rfc3339};
///
/// let end = parse_rfc3339("2026-11-24T02:44:00Z");
/// assert_eq!(end, Some(UNIX_EPOCH + Duration::from_secs(1_795_488_240)));
/// assert_eq!(parse_rfc3339("tomorrow"), None);
///
/// let token = IssuedToken::new("the-access-token").expires_at(end);
/// # let _ = token;
/// ```
pub fn parse_rfc3339(date: &str) -> Option<SystemTime> {
    // The parser takes other forms as well, such as one without separators.
    if !is_date_time(date.as_bytes()) {
        return None;
    }
    SystemTime::try_from(date.parse::<jiff::Timestamp>().ok()?).ok()
}

/// Returns `true` if digits and separators are where RFC 3339 has them.
fn is_date_time(date: &[u8]) -> bool {
    let Some((date_time, rest)) = date.split_at_checked(19) else { return false };
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|it| it.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let is_offset = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', time @ ..] => has_shape(time, b"00:00") && time < b"24".as_slice(),
        _ => false,
    };
    has_shape(date_time, b"0000-00-00T00:00:00") && is_offset
}

/// Returns `true` if `text` has a digit where `shape` has a zero, and is the same elsewhere.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let is_as = |(found, wanted): (&u8, &u8)| match wanted {
        b'0' => found.is_ascii_digit(),
        wanted => found.eq_ignore_ascii_case(wanted),
    };
    text.len() == shape.len() && text.iter().zip(shape).all(is_as)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_date_of_rfc_3339_is_read_and_nothing_else() {
        let moment = UNIX_EPOCH + Duration::from_secs(1_795_488_240);
        for date in [
            "2026-11-24T02:44:00Z",
            "2026-11-24t02:44:00z",
            "2026-11-24T02:44:00.000Z",
            "2026-11-24T02:44:00+00:00",
            "2026-11-24T02:44:00-00:00",
            "2026-11-24T03:44:00+01:00",
            "2026-11-23T19:14:00.000000000-07:30",
        ] {
            assert_eq!(parse_rfc3339(date), Some(moment), "{date}");
        }
        let nanos = moment + Duration::from_nanos(123_456_789);
        assert_eq!(parse_rfc3339("2026-11-24T02:44:00.123456789Z"), Some(nanos));
        // A leap second is the one before it.
        let last = parse_rfc3339("2016-12-31T23:59:59Z");
        assert_eq!(parse_rfc3339("2016-12-31T23:59:60Z"), last);
        for date in [
            "",
            "2026-11-24",
            "20261124T024400Z",
            "20261124T02:44:00Z",
            "2026-11-24 02:44:00Z",
            "2026-11-24_02:44:00Z",
            "2026-11-24T02:44Z",
            "2026-11-24T02Z",
            "2026-11-24T024400Z",
            "2026-11-24T02:44:00",
            "2026-11-24T02:44:00.Z",
            "2026-11-24T02:44:00,5Z",
            "2026-11-24T02:44:00.5",
            "2026-11-24T02:44:00+01",
            "2026-11-24T02:44:00+0100",
            "2026-11-24T02:44:00+01:00:00",
            "2026-11-24T02:44:00+01[Europe/Berlin]",
            "2026-11-24T02:44:00+01:00[Europe/Berlin]",
            "2026-11-24T02:44:00Z[UTC]",
            "2026-11-24T02:44:00Z ",
            " 2026-11-24T02:44:00Z",
            "-000001-11-24T02:44:00Z",
            "+002026-11-24T02:44:00Z",
            "2026-13-24T02:44:00Z",
            "2026-02-30T02:44:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T02:44:61Z",
            "2026-11-24T02:44:00\u{2212}01:00",
            "\u{ff12}026-11-24T02:44:00Z",
            "2026-11-24T02:44:00+24:00",
            "2026-11-24T02:44:00+01:60",
            "2026-11-24T02:44:00.1234567890Z",
        ] {
            assert_eq!(parse_rfc3339(date), None, "{date}");
        }
    }
}
