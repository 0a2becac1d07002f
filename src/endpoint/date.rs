//! [`parse_rfc3339`]: dates as most APIs write them.

use std::time::SystemTime;

/// Parses a date of RFC 3339 (section 5.6), such as the `expires_at` of GitHub. Returns `None` for
/// anything else.
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
    SystemTime::try_from(date.parse::<jiff::Timestamp>().ok()?).ok()
}
