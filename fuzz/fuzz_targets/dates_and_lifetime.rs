//! The lifetime of a token by all that its answer can say about it, and the windows that follow
//! from it.
//!
//! An input is lines of a name and a value, all optional. Dates are RFC 3339, HTTP's, or `@` and
//! seconds since 1970.
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use libfuzzer_sys::{Corpus, fuzz_target};
use tower_reauth::{RefreshPolicy, endpoint::IssuedToken, fuzzing};

const LONGEST_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Of a token over which the clocks disagree.
const SHORT: Duration = Duration::from_secs(60);

struct Case {
    token: String,
    expires_in: Option<Duration>,
    expires_at: Option<SystemTime>,
    date: Option<SystemTime>,
    sent: SystemTime,
    /// Beside the one that is observed.
    lifetime: Duration,
    policy: RefreshPolicy,
    drain: Duration,
    random: f64,
}

impl Case {
    fn read(input: &str) -> Option<Self> {
        let mut case = Self {
            token: "opaque".into(),
            expires_in: None,
            expires_at: None,
            date: None,
            sent: UNIX_EPOCH,
            lifetime: Duration::ZERO,
            policy: RefreshPolicy::default(),
            drain: Duration::from_secs(2),
            random: 0.5,
        };
        for line in input.lines() {
            let (name, value) = line.split_once(' ')?;
            match name {
                "token" => case.token = value.into(),
                "claims" => case.token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(value)),
                "expires_in" => case.expires_in = Some(seconds(value)?),
                "expires_at" => case.expires_at = Some(moment(value)?),
                "date" => case.date = Some(moment(value)?),
                "sent" => case.sent = moment(value)?,
                "lifetime" => case.lifetime = seconds(value)?,
                "renew_at" => case.policy = case.policy.renew_at(value.parse().ok()?),
                "jitter" => case.policy = case.policy.jitter(value.parse().ok()?),
                "hold_at" => case.policy = case.policy.hold_at(value.parse().ok()?),
                "margin" => case.policy = case.policy.expiry_margin(seconds(value)?),
                "drain" => case.drain = seconds(value)?,
                "random" => {
                    case.random = value.parse().ok().filter(|random: &f64| !random.is_nan())?
                }
                _ => return None,
            }
        }
        case.policy = case.policy.drain_timeout(case.drain);
        Some(case)
    }
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

fn moment(value: &str) -> Option<SystemTime> {
    if let Some(value) = value.strip_prefix("@-") {
        return UNIX_EPOCH.checked_sub(seconds(value)?);
    }
    if let Some(value) = value.strip_prefix('@') {
        return UNIX_EPOCH.checked_add(seconds(value)?);
    }
    fuzzing::parse_date(value).or_else(|| httpdate::parse_http_date(value).ok())
}

fuzz_target!(|input: &str| -> Corpus {
    let Some(case) = Case::read(input) else { return Corpus::Reject };
    let mut issued =
        IssuedToken::new(case.token.as_str()).expires_at(case.expires_at).server_date(case.date);
    if let Some(lifetime) = case.expires_in {
        issued = issued.expires_in(lifetime);
    }
    let lifetime = fuzzing::observed_lifetime(&issued, &case.token, case.sent);
    check_lifetime(&case, lifetime);
    if fuzzing::is_valid(&case.policy) {
        check_windows(&case, lifetime.unwrap_or_default());
        check_windows(&case, case.lifetime);
    }
    Corpus::Keep
});

fn check_lifetime(case: &Case, lifetime: Option<Duration>) {
    assert!(
        lifetime.is_none_or(|lifetime| !lifetime.is_zero() && lifetime <= LONGEST_LIFETIME),
        "{lifetime:?}"
    );
    // No token outlives what the endpoint itself says, unless another clock says more.
    if let (Some(lifetime), Some(said)) = (lifetime, case.expires_in) {
        assert!(lifetime <= said.max(SHORT), "{lifetime:?} of {said:?}");
    }
    if let (Some(end), Some(date)) = (case.expires_at.filter(|end| *end > UNIX_EPOCH), case.date) {
        let said = end.duration_since(date.max(UNIX_EPOCH)).unwrap_or_default();
        assert!(
            lifetime.is_none_or(|lifetime| lifetime <= said.max(SHORT)),
            "{lifetime:?} of {said:?}"
        );
        assert!(said.is_zero() || lifetime.is_some(), "a living token was thrown away: {said:?}");
    }
}

fn check_windows(case: &Case, lifetime: Duration) {
    let [due, hold, unusable, drain] = fuzzing::schedule(lifetime, &case.policy, case.random);
    assert!(
        due <= hold && hold <= unusable && unusable <= lifetime,
        "{due:?} {hold:?} {unusable:?} {lifetime:?} {:?}",
        case.policy
    );
    assert!(unusable >= lifetime / 4 * 3, "{unusable:?} of {lifetime:?}");
    assert!(drain <= lifetime / 20 && drain <= case.drain, "{drain:?} of {lifetime:?}");
}
