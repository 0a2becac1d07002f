//! The lifetime of a token, from all that its response says. Pure.
//!
//! Several clocks may speak of one token, and none of them is known to be right:
//!
//! | clock | lifetime by it |
//! |---|---|
//! | the endpoint, counting | `expires_in` |
//! | the issuer of a JWT | `exp` less `iat`, both of which it wrote |
//! | the response's `Date` | the end less `Date`; a gateway may have stamped it |
//! | this machine | the end less its wall clock, asked only where the others do not tell |
//!
//! A JWT may be older than its response, as one that a server caches or that a file holds. Unless
//! `expires_in` or `Date` tells its age, the local clock does.
//!
//! The end is `expires_at`, else the `exp` of a JWT. The least of these lifetimes counts, because a
//! token that is renewed too soon costs one `POST`, and one that is sent after its end costs 401s.
//! A clock that calls the token dead while another calls it alive is off by an unknown amount. The
//! token is adopted all the same, because the `POST` has killed the one before it, and lives for
//! [`SHORT`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{claims::unverified_claims, issued::IssuedToken};

/// The lifetime of a token of which no clock says how long it lives, and the greatest lifetime of
/// one over which the clocks disagree.
const SHORT: Duration = Duration::from_secs(60);

/// The resolution of dates. Up to this much of a lifetime between two dates may be gone before it
/// starts.
const RESOLUTION: Duration = Duration::from_secs(1);

/// The greatest lifetime. No provider means more, and an absurd one could not be added to a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// In seconds. A JWT whose `iat` is longer ago by the local clock counts as minted before it was
/// handed over. Local clocks that are wrong are seldom wrong by more.
const MINTED_EARLIER: f64 = 300.0;

/// The error for a token that had expired when it was issued, by every clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpiredOnArrival;

/// Returns the lifetime in all. `sent` is the local wall clock at the moment when the request was
/// sent.
pub(crate) fn observed(
    issued: &IssuedToken,
    secret: &str,
    sent: SystemTime,
) -> Result<Duration, ExpiredOnArrival> {
    let (iat, exp) = span(secret);
    // An end at or before 1970 is a default value that somebody forgot to set.
    let end = issued.expires_at.filter(|end| *end > UNIX_EPOCH).map(seconds).or(exp);
    let counted = issued.expires_in;
    let claimed = exp.zip(iat).map(|(exp, iat)| between_dates(exp - iat));
    let dated = end.zip(issued.server_date).map(|(end, date)| between_dates(end - seconds(date)));
    let local = end.map(|end| positive(end - seconds(sent)));

    // Nothing but the local clock tells how much of it is left.
    let is_undated = counted.is_none() && issued.server_date.is_none();
    let claimed = match (iat, exp) {
        (Some(iat), Some(exp)) if is_undated && is_minted_earlier(iat, exp, seconds(sent)) => {
            Some(positive(exp - seconds(sent)))
        }
        _ => claimed,
    };

    let own = [counted, claimed, dated];
    let least = own.into_iter().flatten().filter(|lifetime| !lifetime.is_zero()).min();
    // A JWT whose `exp` is not after its `iat` says nothing. No issuer means that.
    let is_dead = [counted, dated].into_iter().flatten().any(|lifetime| lifetime.is_zero());
    let lifetime =
        match (least, local) {
            (Some(least), _) if is_dead => least.min(SHORT),
            // A `Date` that leaves more to the token may be 1970, of a machine that lost its clock.
            (Some(least), Some(local)) if least > LONGEST && counted.is_none() => {
                if local.is_zero() { SHORT } else { least.min(local) }
            }
            (Some(least), _) => least,
            // The endpoint's own clocks say nothing.
            (None, None) if own == [None; 3] => match issued.assumed_lifetime {
                Some(lifetime) if !lifetime.is_zero() => lifetime,
                _ => SHORT,
            },
            (None, Some(local)) if own == [None; 3] => {
                if local.is_zero() {
                    SHORT
                } else {
                    local
                }
            }
            // The endpoint's own clocks call it dead.
            (None, Some(local)) if !local.is_zero() => local.min(SHORT),
            (None, _) => return Err(ExpiredOnArrival),
        };
    Ok(lifetime.min(LONGEST))
}

/// Returns `true` if a JWT was minted well before `now` and lives still.
fn is_minted_earlier(iat: f64, exp: f64, now: f64) -> bool {
    iat < now - MINTED_EARLIER && now < exp
}

/// Returns the claims `iat` and `exp` of a JWT (RFC 7519, section 4.1), in seconds since the epoch.
fn span(secret: &str) -> (Option<f64>, Option<f64>) {
    // A map, because one claim of another type, or one that is there twice, costs no other.
    let claims: Map<String, Value> = unverified_claims(secret).unwrap_or_default();
    let date = |name| claims.get(name).and_then(Value::as_f64);
    (date("iat"), date("exp"))
}

fn seconds(date: SystemTime) -> f64 {
    date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Returns the lifetime between two dates, less their resolution, but at least half of it.
fn between_dates(seconds: f64) -> Duration {
    let lifetime = positive(seconds);
    lifetime.saturating_sub(RESOLUTION).max(lifetime / 2)
}

/// Returns so many seconds, or zero if they are negative.
fn positive(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
    } else {
        Duration::ZERO
    }
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
            ["opaque", "a.b.c", &jwt(r#"{"sub": "x"}"#), &jwt(r#"{"iat": 7, "exp": "x"}"#)]
        {
            assert_eq!(lifetime(&IssuedToken::new("x"), secret, at(0)), Some(60), "{secret}");
        }
    }

    #[test]
    fn a_token_that_expired_before_it_was_issued_by_every_clock_is_no_token() {
        let issued = || IssuedToken::new("x");
        assert_eq!(lifetime(&issued().expires_at(at(0)).server_date(at(0)), "opaque", at(0)), None);
        assert_eq!(lifetime(&issued().expires_at(at(0)).server_date(at(9)), "opaque", at(0)), None);
        assert_eq!(lifetime(&issued().expires_in(Duration::ZERO), "opaque", at(0)), None);
        let backwards = jwt(r#"{"iat": 1800000300, "exp": 1800000000}"#);
        assert_eq!(lifetime(&issued(), &backwards, at(0)), None);
        assert_eq!(lifetime(&issued().server_date(at(0)), &backwards, at(0)), None);
    }

    #[test]
    fn a_token_over_which_the_clocks_disagree_is_adopted_for_a_short_time() {
        let issued = || IssuedToken::new("x");
        let five_minutes = jwt(r#"{"iat": 1800000000, "exp": 1800000300}"#);
        let ten_seconds = jwt(r#"{"iat": 1800000000, "exp": 1800000010}"#);
        let wrong = at(1_000_000);
        // The dates call it dead, its claims call it alive.
        for (end, date, local) in [(300, 400, 0), (300, 1_000_000, 0), (300, 900, 1_000_000)] {
            let dated = issued().expires_at(at(end)).server_date(at(date));
            assert_eq!(lifetime(&dated, &five_minutes, at(local)), Some(60));
            assert_eq!(lifetime(&dated, &ten_seconds, at(local)), Some(9));
        }
        assert_eq!(lifetime(&issued().server_date(at(900)), &five_minutes, at(0)), Some(60));
        let zero = issued().expires_in(Duration::ZERO);
        assert_eq!(lifetime(&zero, &five_minutes, at(0)), Some(60));
        let zero = issued().expires_in(Duration::ZERO).expires_at(at(300)).server_date(at(0));
        assert_eq!(lifetime(&zero, "opaque", wrong), Some(60));
        // Opaque, and only the local clock calls it past, or only the local clock calls it alive.
        assert_eq!(lifetime(&issued().expires_at(at(0)), "opaque", at(5)), Some(60));
        let gateway_ahead = issued().expires_at(at(300)).server_date(at(900));
        assert_eq!(lifetime(&gateway_ahead, "opaque", at(0)), Some(60));
        assert_eq!(lifetime(&gateway_ahead, "opaque", at(280)), Some(20));
        // A JWT that says no more than its end.
        let end_only = jwt(r#"{"exp": 1800000300}"#);
        assert_eq!(lifetime(&issued(), &end_only, at(0)), Some(300));
        assert_eq!(lifetime(&issued(), &end_only, wrong), Some(60));
        assert_eq!(lifetime(&issued().server_date(at(0)), &end_only, wrong), Some(299));
    }

    #[test]
    fn the_least_lifetime_counts() {
        let issued = || IssuedToken::new("x");
        let five_minutes = jwt(r#"{"iat": 1800000000, "exp": 1800000300}"#);
        let wrong = at(1_000_000);
        for (end, date, expected) in [
            // A `Date` ten minutes behind, and one 200 s ahead.
            (1300, 700, 299),
            (300, 200, 99),
            // An `expiresAt` that is too late, and one that is too soon.
            (5000, 0, 299),
            (100, 0, 99),
        ] {
            let dated = issued().expires_at(at(end)).server_date(at(date));
            assert_eq!(lifetime(&dated, &five_minutes, wrong), Some(expected), "{end} {date}");
        }
        // Issued 200 s ago and given again.
        assert_eq!(lifetime(&issued().server_date(at(200)), &five_minutes, wrong), Some(99));
        let counted = issued().expires_in(Duration::from_secs(1000));
        assert_eq!(lifetime(&counted, &five_minutes, wrong), Some(299));
        // A `Date` of 1970.
        let no_clock = issued().expires_at(at(300)).server_date(UNIX_EPOCH);
        assert_eq!(lifetime(&no_clock, "opaque", at(0)), Some(300));
        assert_eq!(lifetime(&no_clock, "opaque", wrong), Some(60));
        assert_eq!(lifetime(&no_clock, &five_minutes, wrong), Some(299));
    }

    #[test]
    fn an_assumed_lifetime_counts_if_nothing_else_does() {
        let issued = || IssuedToken::new("x").assumed_lifetime(Duration::from_secs(3600));
        assert_eq!(lifetime(&issued(), "opaque", at(0)), Some(3600));
        assert_eq!(lifetime(&issued().server_date(at(0)), "opaque", at(0)), Some(3600));
        assert_eq!(lifetime(&issued().expires_at(at(300)), "opaque", at(0)), Some(300));
        let end_only = jwt(r#"{"exp": 1800000300}"#);
        assert_eq!(lifetime(&issued(), &end_only, at(0)), Some(300));
        let zero = IssuedToken::new("x").assumed_lifetime(Duration::ZERO);
        assert_eq!(lifetime(&zero, "opaque", at(0)), Some(60));
    }

    #[test]
    fn a_jwt_that_was_minted_earlier_lives_as_long_as_is_left() {
        let issued = || IssuedToken::new("x");
        let hour = jwt(r#"{"iat": 1800000000, "exp": 1800003600}"#);
        // A projected service account token, ten minutes before its end.
        assert_eq!(lifetime(&issued(), &hour, at(3000)), Some(600));
        assert_eq!(lifetime(&issued().expires_at(at(3600)), &hour, at(3000)), Some(600));
        // A response that is dated tells by itself, whatever the local clock says.
        for local in [0, 3000, 1_000_000] {
            let dated = issued().server_date(at(3000));
            assert_eq!(lifetime(&dated, &hour, at(local)), Some(599), "{local}");
        }
        let counted = issued().expires_in(Duration::from_secs(600));
        assert_eq!(lifetime(&counted, &hour, at(0)), Some(600));
        // A local clock that is a little off, and one that calls the token dead or not yet born.
        for local in [0, 299, 300, 3600, 1_000_000] {
            assert_eq!(lifetime(&issued(), &hour, at(local)), Some(3599), "{local}");
        }
        assert_eq!(lifetime(&issued(), &hour, at(301)), Some(3299));
    }

    #[test]
    fn one_claim_that_makes_no_sense_costs_no_other() {
        let date = IssuedToken::new("x").expires_at(at(300)).server_date(at(0));
        for claims in [
            r#"{"iat": "now", "exp": 1800000300}"#,
            r#"{"iat": 1800000000000, "exp": 1800000300}"#,
            r#"{"iat": 1800000000, "exp": null}"#,
            r#"{"sub": 1, "sub": 2, "iat": 1800000000, "exp": 1800000300}"#,
        ] {
            assert_eq!(lifetime(&date, &jwt(claims), at(1_000_000)), Some(299), "{claims}");
        }
    }

    #[test]
    fn absurd_lifetimes_are_bounded() {
        let issued = || IssuedToken::new("x");
        let year = LONGEST.as_secs();
        assert_eq!(lifetime(&issued().expires_in(Duration::MAX), "opaque", at(0)), Some(year));
        assert_eq!(lifetime(&issued(), &jwt(r#"{"iat": 0, "exp": 1e300}"#), at(0)), Some(year));
        assert_eq!(lifetime(&issued(), &jwt(r#"{"iat": 0, "exp": 1e15}"#), at(0)), Some(year));
    }
}
