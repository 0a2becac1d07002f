//! The meaning of a response that is no token: of its error code, its status, and its
//! `Retry-After`. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::error::{AuthError, BoxError, Fate, Kind};

/// The kind of error, and the advice for the reader of its text.
pub(super) type Class = (Kind, &'static str);

/// The longest error code. The codes of the RFCs have at most 25 characters.
const MAX_CODE_BYTES: usize = 64;

/// Returns `true` for an error code as RFC 6749, section 5.2, defines its characters.
pub(super) fn is_code(code: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
    (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(is_allowed)
}

/// Returns what a response without a success means. The code decides where it speaks, else the
/// status.
///
/// `is_json` says that the endpoint itself answered, and not what stands in front of it.
pub(super) fn classify(status: StatusCode, code: Option<&str>, is_json: bool) -> Class {
    // The body of a redirect is a page for people.
    let code = code.filter(|_| !status.is_redirection());
    // These two say that it is too early, and a code then says at most who was too early.
    let code = code.filter(|_| !matches!(status.as_u16(), 429 | 503));
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
        _ => (Kind::Permanent, "no token endpoint answers with this status; check the address"),
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

impl AuthError {
    /// Creates the error of a response with `status` and the error `code` of its body, if it has
    /// one (RFC 6749, section 5.2).
    ///
    /// The code decides what the error means, else the status, as with the errors of this crate's
    /// own endpoints. So the refresh tries again after `temporarily_unavailable` and after a 503,
    /// and not after `invalid_scope`. A code that the RFC does not allow is left out. The text of
    /// `source` is shown to users and logged, so it must hold no secret.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_reauth::AuthError;
    ///
    /// let status = StatusCode::BAD_REQUEST;
    /// let error = AuthError::answered(status, Some("invalid_scope"), "no such scope");
    /// assert!(error.is_misconfigured() && !error.is_rejected());
    /// assert_eq!((error.status(), error.code()), (Some(status), Some("invalid_scope")));
    /// ```
    pub fn answered(
        status: StatusCode,
        code: Option<&str>,
        source: impl Into<BoxError>,
    ) -> AuthError {
        let code = code.filter(|code| is_code(code) && !status.is_redirection());
        let (kind, advice) = if status.is_success() {
            code.and_then(by_code).unwrap_or((Kind::InvalidResponse, "check its address"))
        } else {
            classify(status, code, true)
        };
        let shown = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let text = format!("the token endpoint answered {status}{shown}; {advice}");
        Self::responded(kind, text, status)
            .with_fate(fate(status, code))
            .with_retry_after((code == Some("slow_down")).then_some(SLOW_DOWN))
            .with_code(code.map(str::to_owned))
            .with_source(source.into())
    }

    /// Returns `true` if the endpoint said by its error [`code`](Self::code) that this client may
    /// not ask for what it asked: a wrong scope, audience, resource or grant.
    ///
    /// The credentials are not at fault. Such an error is [permanent](Self::is_permanent).
    pub fn is_misconfigured(&self) -> bool {
        let class = self.code().and_then(by_code);
        self.is_permanent() && class.is_some_and(|(kind, _)| kind == Kind::Permanent)
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
