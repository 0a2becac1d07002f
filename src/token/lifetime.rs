//! The lifetime of a token, from all that its response says. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::{claims::unverified_claims, issued::IssuedToken};

/// The lifetime of a token whose response says nothing about it. Short, because a token that is
/// renewed too soon costs one `POST`, and one that is sent for too long costs 401s.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

/// The resolution of dates. Up to this much of a lifetime between two dates may be gone before it
/// starts.
const RESOLUTION: Duration = Duration::from_secs(1);

/// The greatest lifetime. No provider means more, and an absurd one could not be added to a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The error for a token that had expired when it was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpiredOnArrival;

/// The two claims that say how long a JWT lives (RFC 7519, section 4.1), in seconds since the
/// epoch.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    iat: f64,
    exp: f64,
}

impl Span {
    fn lifetime_from(&self, from: f64) -> Duration {
        let lifetime = self.exp - from;
        if lifetime > 0.0 {
            Duration::try_from_secs_f64(lifetime).unwrap_or(LONGEST)
        } else {
            Duration::ZERO
        }
    }
}

fn seconds(date: SystemTime) -> f64 {
    date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Returns the lifetime in all. `sent` is the local wall clock at the moment when the request was
/// sent.
pub(crate) fn observed(
    issued: &IssuedToken,
    secret: &str,
    sent: SystemTime,
) -> Result<Duration, ExpiredOnArrival> {
    if let Some(lifetime) = issued.expires_in {
        return some_lifetime(lifetime);
    }
    let dated = issued
        .expires_at
        .zip(issued.server_date)
        .map(|(end, date)| end.duration_since(date).unwrap_or_default());
    // An end that is not after the response's own date is either true or nonsense (the year 1). The
    // claims of a JWT decide which.
    if let Some(lifetime) = dated.filter(|lifetime| !lifetime.is_zero()) {
        return between_dates(lifetime);
    }
    if let Some(span) = unverified_claims::<Span>(secret) {
        let now = issued.server_date.filter(|_| dated.is_some()).map(seconds);
        return between_dates(span.lifetime_from(now.unwrap_or(span.iat)));
    }
    if dated.is_some() {
        return Err(ExpiredOnArrival);
    }
    match issued.expires_at {
        Some(end) => some_lifetime(end.duration_since(sent.max(UNIX_EPOCH)).unwrap_or_default()),
        None => Ok(UNKNOWN_LIFETIME),
    }
}

fn some_lifetime(lifetime: Duration) -> Result<Duration, ExpiredOnArrival> {
    if lifetime.is_zero() { Err(ExpiredOnArrival) } else { Ok(lifetime.min(LONGEST)) }
}

/// Takes the resolution off a lifetime between two dates, but at most half of it.
fn between_dates(lifetime: Duration) -> Result<Duration, ExpiredOnArrival> {
    some_lifetime(lifetime.saturating_sub(RESOLUTION).max(lifetime / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// Makes a JWT with these claims and a false signature.
    fn jwt(claims: &str) -> String {
        format!("{}.{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded(claims), encoded("x"))
    }

    fn encoded(text: &str) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::new();
        for chunk in text.as_bytes().chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for index in 0..=chunk.len() {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * index)) as usize & 63]));
            }
        }
        out
    }

    fn lifetime(issued: &IssuedToken, secret: &str, sent: SystemTime) -> Option<u64> {
        observed(issued, secret, sent).ok().map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn the_responses_own_clocks_come_before_the_local_one() {
        let wrong_clock = at(1_000_000);
        let five_minutes = jwt(r#"{"iat": 1800000000, "exp": 1800000300}"#);
        let issued = || IssuedToken::new("x");
        let dated = issued().expires_at(at(300)).server_date(at(0));
        assert_eq!(lifetime(&dated, "opaque", wrong_clock), Some(299));
        let relative =
            issued().expires_in(Duration::from_secs(120)).expires_at(at(300)).server_date(at(0));
        assert_eq!(lifetime(&relative, "opaque", wrong_clock), Some(120));
        assert_eq!(lifetime(&issued(), &five_minutes, wrong_clock), Some(299));
        // An `expiresAt` that can't be meant, with a JWT that says more.
        let year_one = UNIX_EPOCH - Duration::from_secs(62_135_596_800);
        let nonsense = issued().expires_at(year_one).server_date(at(0));
        assert_eq!(lifetime(&nonsense, &five_minutes, wrong_clock), Some(299));
        assert_eq!(lifetime(&issued().expires_at(at(900)), &five_minutes, wrong_clock), Some(299));
        assert_eq!(lifetime(&issued().expires_at(at(300)), "opaque", at(0)), Some(300));
    }

    #[test]
    fn without_any_date_the_lifetime_is_short_and_not_zero() {
        for secret in
            ["opaque", "a.b.c", &jwt(r#"{"sub": "x"}"#), &jwt(r#"{"iat": "x", "exp": 7}"#)]
        {
            assert_eq!(lifetime(&IssuedToken::new("x"), secret, at(0)), Some(60), "{secret}");
        }
    }

    #[test]
    fn a_token_that_expired_before_it_was_issued_is_no_token() {
        let issued = || IssuedToken::new("x");
        assert_eq!(lifetime(&issued().expires_at(at(0)).server_date(at(0)), "opaque", at(0)), None);
        assert_eq!(lifetime(&issued().expires_at(at(0)).server_date(at(9)), "opaque", at(0)), None);
        assert_eq!(lifetime(&issued().expires_in(Duration::ZERO), "opaque", at(0)), None);
        assert_eq!(
            lifetime(&issued(), &jwt(r#"{"iat": 1800000300, "exp": 1800000000}"#), at(0)),
            None
        );
        assert_eq!(lifetime(&issued().expires_at(at(0)), "opaque", at(5)), None);
        let spent = jwt(r#"{"iat": 1800000000, "exp": 1800000300}"#);
        assert_eq!(
            lifetime(&issued().expires_at(at(300)).server_date(at(400)), &spent, at(0)),
            None
        );
    }

    #[test]
    fn absurd_lifetimes_are_bounded() {
        let issued = || IssuedToken::new("x");
        let year = LONGEST.as_secs();
        assert_eq!(lifetime(&issued().expires_in(Duration::MAX), "opaque", at(0)), Some(year));
        assert_eq!(lifetime(&issued(), &jwt(r#"{"iat": 0, "exp": 1e300}"#), at(0)), Some(year - 1));
        assert_eq!(lifetime(&issued(), &jwt(r#"{"iat": 0, "exp": 1e15}"#), at(0)), Some(year));
    }
}
