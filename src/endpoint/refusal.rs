//! The meaning of a response that is no token: of its error code, its status, and its
//! `Retry-After`. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::error::{Fate, Kind};

/// The kind of error, and the advice for the reader of its text.
pub(super) type Class = (Kind, &'static str);

/// Returns what a response without a success means. The code decides where it speaks, else the
/// status.
///
/// `is_json` says that the endpoint itself answered, and not what stands in front of it.
pub(super) fn classify(status: StatusCode, code: Option<&str>, is_json: bool) -> Class {
    // The body of a redirect is a page for people.
    let code = code.filter(|_| !status.is_redirection());
    code.and_then(by_code).unwrap_or_else(|| by_status(status, is_json))
}

/// Returns the class of an error code of OAuth 2 (RFC 6749, section 5.2, and its extensions), or
/// `None` for a code that none of them defines.
pub(super) fn by_code(code: &str) -> Option<Class> {
    Some(match code {
        "temporarily_unavailable" | "server_error" => (Kind::Transient, "try again later"),
        "slow_down" => (Kind::Transient, "it was asked too often; try again later"),
        "invalid_client" => {
            (Kind::Rejected, "check the client id and the secret, and how they are to be sent")
        }
        "invalid_grant" => (
            Kind::Rejected,
            "the grant was not accepted; check its key, its audience and the clock",
        ),
        "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_scope"
        | "invalid_target"
        | "invalid_request"
        | "access_denied"
        | "consent_required"
        | "invalid_dpop_proof" => (
            Kind::Permanent,
            "this client may not ask for that; check the scope, the audience, the resource and \
             the grant",
        ),
        _ => return None,
    })
}

fn by_status(status: StatusCode, is_json: bool) -> Class {
    match status.as_u16() {
        300..=399 => (
            Kind::InvalidResponse,
            "redirects are not followed with a secret, so give the final address",
        ),
        403 if !is_json => (
            Kind::Permanent,
            "something in front of the endpoint, such as a firewall, seems to refuse this client; \
             check the address, and what it lets through",
        ),
        400 | 401 | 403 => (Kind::Rejected, "check the client id and the secret"),
        408 | 409 | 410 | 425 | 429 | 500..=599 => (Kind::Transient, "try again later"),
        404 | 405 => (Kind::Permanent, "check the token endpoint's address"),
        _ => (Kind::Permanent, "this status is not part of the contract; check the address"),
    }
}

/// Returns the fate of a request that was answered so.
///
/// A server that failed may have issued a token before, and a proxy in front of it does not know.
/// Their statuses therefore leave the fate unknown.
pub(super) fn fate(status: StatusCode, code: Option<&str>) -> Fate {
    match status.as_u16() {
        200..=299 | 408 | 500 | 502 | 504.. => Fate::Unknown,
        _ if code == Some("server_error") => Fate::Unknown,
        _ => Fate::NotIssued,
    }
}

/// Returns the pause that a response asks for, by its `Retry-After` header in either form of RFC
/// 9110, section 10.2.3, or by the code `slow_down`. At most [`LONGEST_PAUSE`].
///
/// `now` is the endpoint's wall clock, from which a date counts. A date in the past is no pause. A
/// fraction of a second, which the RFC does not know, is rounded up.
pub(crate) fn retry_after(
    headers: &HeaderMap,
    code: Option<&str>,
    now: SystemTime,
) -> Option<Duration> {
    let header = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = header.and_then(|value| {
        let value = value.trim();
        let pause = whole_seconds(value).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        });
        pause.map(|pause| pause.min(LONGEST_PAUSE))
    });
    asked.max((code == Some("slow_down")).then_some(SLOW_DOWN))
}

/// The longest pause that is read. The policy's cap is shorter, and this only keeps the pause
/// within what can be added to a clock.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The pause that `slow_down` asks for (RFC 8628, section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Reads decimal digits with or without a fraction, rounded up.
fn whole_seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    // Digits that overflow are a very long time.
    let seconds: u64 = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX) };
    let rounded_up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(Duration::from_secs(seconds.saturating_add(rounded_up)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn class(status: u16, code: Option<&str>, is_json: bool) -> Kind {
        classify(StatusCode::from_u16(status).unwrap(), code, is_json).0
    }

    #[test]
    fn every_status_is_classed_once() {
        let table: [(&[u16], Kind); 4] = [
            (&[301, 302, 303, 307, 308], Kind::InvalidResponse),
            (&[400, 401, 403], Kind::Rejected),
            (&[408, 409, 410, 425, 429, 500, 502, 503, 504, 599], Kind::Transient),
            (&[404, 405, 415, 418], Kind::Permanent),
        ];
        for (statuses, expected) in table {
            for status in statuses {
                assert_eq!(class(*status, None, true), expected, "{status}");
                assert_eq!(class(*status, Some("unheard_of"), true), expected, "{status}");
            }
        }
        // A page of a firewall, which does not know the secret.
        assert_eq!(class(403, None, false), Kind::Permanent);
        assert_eq!(class(401, None, false), Kind::Rejected);
    }

    #[test]
    fn a_code_decides_before_the_status() {
        let table: [(&[&str], Kind); 3] = [
            (&["temporarily_unavailable", "server_error", "slow_down"], Kind::Transient),
            (&["invalid_client", "invalid_grant"], Kind::Rejected),
            (
                &[
                    "unauthorized_client",
                    "unsupported_grant_type",
                    "invalid_scope",
                    "invalid_target",
                    "invalid_request",
                    "access_denied",
                    "consent_required",
                    "invalid_dpop_proof",
                ],
                Kind::Permanent,
            ),
        ];
        for (codes, expected) in table {
            for code in codes {
                for status in [200, 400, 401, 403, 404, 418, 429, 500, 503] {
                    assert_eq!(class(status, Some(code), true), expected, "{status} {code}");
                }
                assert_eq!(class(302, Some(code), true), Kind::InvalidResponse);
            }
        }
    }

    #[test]
    fn only_a_wrong_secret_is_blamed_on_the_secret() {
        for status in 300..=599 {
            let status = StatusCode::from_u16(status).unwrap();
            for code in [None, Some("invalid_scope"), Some("server_error"), Some("invalid_client")]
            {
                for is_json in [true, false] {
                    let (kind, advice) = classify(status, code, is_json);
                    let blames = advice.contains("the client id and the secret");
                    assert!(!blames || kind == Kind::Rejected, "{status} {code:?}: {advice}");
                }
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 02:44:00 GMT").unwrap();
        let longest = Some(LONGEST_PAUSE.as_secs());
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Tue, 24 Nov 2026 02:45:30 GMT", Some(90)),
            ("Tue, 24 Nov 2026 02:43:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("+5", None),
            ("", None),
            (".", None),
            ("1.5.5", None),
            ("1.x", None),
            ("2.0", Some(2)),
            ("1.5", Some(2)),
            ("0.000000000001", Some(1)),
            (".5", Some(1)),
            ("7.", Some(7)),
            ("18446744073709551615.1", longest),
            ("99999999999999999999999", longest),
            ("9999999999", longest),
            ("Tue, 24 Nov 2099 02:45:30 GMT", longest),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, None, now), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), None, now), None);
    }

    #[test]
    fn slow_down_asks_for_a_pause_of_its_own() {
        let mut headers = HeaderMap::new();
        let pause = |headers: &HeaderMap| {
            retry_after(headers, Some("slow_down"), SystemTime::UNIX_EPOCH).map(|it| it.as_secs())
        };
        assert_eq!(pause(&headers), Some(5));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        assert_eq!(pause(&headers), Some(5));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        assert_eq!(pause(&headers), Some(60));
    }
}
