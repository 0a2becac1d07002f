//! The meaning of a status other than 200 and 201, and of `Retry-After`. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::error::{Fate, Kind};

/// Returns the kind of error that a status stands for, and the advice for the reader of its text.
pub(super) fn classify(status: StatusCode) -> (Kind, &'static str) {
    match status.as_u16() {
        300..=399 => (
            Kind::InvalidResponse,
            "redirects are not followed with a secret, so give the final address",
        ),
        400 | 401 | 403 => (Kind::Rejected, "check the client id and the secret"),
        408 | 409 | 425 | 429 | 500..=599 => (Kind::Transient, "try again later"),
        404 | 405 | 410 => (Kind::Permanent, "check the token endpoint's address"),
        _ => (Kind::Permanent, "this status is not part of the contract; check the address"),
    }
}

/// Returns the fate of a request that was answered with `status`.
///
/// A server that failed may have issued a token before, and a proxy in front of it does not know.
/// Their statuses therefore leave the fate unknown.
pub(super) fn fate(status: StatusCode) -> Fate {
    match status.as_u16() {
        408 | 500 | 502 | 504.. => Fate::Unknown,
        200..=299 => Fate::Issued,
        _ => Fate::NotIssued,
    }
}

/// Returns the pause that a `Retry-After` header asks for, in either form of RFC 9110, section
/// 10.2.3. At most [`MAX_RETRY_AFTER`].
///
/// `now` is the endpoint's wall clock, from which a date counts. A date in the past is no pause.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(value.parse().ok()?)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

/// The longest pause that an endpoint can ask for. A longer one is taken for a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_status_is_classed_once() {
        let table: [(&[u16], Kind); 4] = [
            (&[301, 302, 303, 307, 308], Kind::InvalidResponse),
            (&[400, 401, 403], Kind::Rejected),
            (&[408, 409, 425, 429, 500, 502, 503, 504, 599], Kind::Transient),
            (&[204, 206, 404, 405, 410, 415, 418], Kind::Permanent),
        ];
        for (statuses, expected) in table {
            for status in statuses {
                assert_eq!(
                    classify(StatusCode::from_u16(*status).unwrap()).0,
                    expected,
                    "{status}"
                );
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 02:44:00 GMT").unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Tue, 24 Nov 2026 02:45:30 GMT", Some(90)),
            ("Tue, 24 Nov 2026 02:43:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("+5", None),
            ("", None),
            ("99999999999999999999999", None),
            ("9999999999", Some(24 * 3600)),
            ("Tue, 24 Nov 2099 02:45:30 GMT", Some(24 * 3600)),
            ("1.5", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
