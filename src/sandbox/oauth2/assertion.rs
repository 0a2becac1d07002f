//! Assertions, checked by RFC 7523, section 3.
//!
//! 1. The signature is by a key of the client or of the trusted issuer, and by the algorithm of the
//!    key. The `kid` chooses the key, if there is one.
//! 2. A client's `iss` and `sub` are its id.
//! 3. `aud` is one string. It is the server's issuer, unless the server was told otherwise.
//! 4. `exp` is there, is ahead, and is not further ahead than the longest lifetime.
//! 5. `iat` and `nbf` are not ahead, not even by a second, and `iat` is not older than the longest
//!    lifetime.
//! 6. `jti` is there, and was not seen before.

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, dangerous::insecure_decode_claims, decode, decode_header,
    jwk::Jwk,
};
use serde_json::{Map, Value};

use super::{
    client::{AuthMethod, OAuth2Client},
    state::State,
};

type Claims = Map<String, Value>;

/// The types of a header that stand for an assertion, in lower case.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];
const WITH_SECRET: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Returns the `iss` of an assertion that nobody has verified, to find its key by.
pub(super) fn unverified_issuer(jwt: &str) -> Option<String> {
    let mut claims = insecure_decode_claims::<Claims>(jwt).ok()?;
    match claims.remove("iss")? {
        Value::String(issuer) => Some(issuer),
        _ => None,
    }
}

/// Checks an assertion by which `client` authenticates itself. The error says what is wrong.
pub(super) fn check_client(
    state: &State,
    client: &OAuth2Client,
    jwt: &str,
) -> Result<AuthMethod, String> {
    let algorithm = algorithm(jwt)?;
    let (method, claims) = if WITH_SECRET.contains(&algorithm) {
        let secret = state.secret(client).ok_or("the client has no secret")?;
        let key = DecodingKey::from_secret(secret.as_bytes());
        (AuthMethod::SecretJwt, verify(jwt, algorithm, &key).ok_or("the signature is wrong")?)
    } else {
        (AuthMethod::PrivateKeyJwt, verify_with(jwt, algorithm, &client.keys)?)
    };
    for name in ["iss", "sub"] {
        if claims.get(name).and_then(Value::as_str) != Some(&client.id) {
            return Err(format!("{name} must be the client id"));
        }
    }
    check_audience(&claims, state, state.settings.token_uri_audience)?;
    check_dates_and_id(&claims, state)?;
    Ok(method)
}

/// Checks an assertion that is a grant, and returns its subject. The error says what is wrong.
pub(super) fn check_grant(state: &State, jwt: &str) -> Result<String, String> {
    let issuer = unverified_issuer(jwt).ok_or("it is no JWT with an iss")?;
    let keys = state.settings.issuers.get(&issuer).ok_or("its iss is not trusted")?;
    let claims = verify_with(jwt, algorithm(jwt)?, keys)?;
    // RFC 7523, section 3, allows the token endpoint too, and for a grant that is usual.
    check_audience(&claims, state, true)?;
    check_dates_and_id(&claims, state)?;
    let subject = claims.get("sub").and_then(Value::as_str).filter(|sub| !sub.is_empty());
    // Google takes the issuer for the subject if there is none.
    Ok(subject.unwrap_or(&issuer).to_owned())
}

fn algorithm(jwt: &str) -> Result<Algorithm, String> {
    let header = decode_header(jwt).map_err(|_| "its header can't be read")?;
    let is_fit = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
    if !header.typ.as_ref().is_none_or(is_fit) {
        return Err("its typ is of something else".into());
    }
    Ok(header.alg)
}

/// Verifies the signature with the key that the header names, or with any of `keys` if it names
/// none.
fn verify_with(jwt: &str, algorithm: Algorithm, keys: &[Jwk]) -> Result<Claims, String> {
    if WITH_SECRET.contains(&algorithm) {
        return Err("its algorithm is not one of a public key".into());
    }
    let kid = decode_header(jwt).ok().and_then(|header| header.kid);
    let named = |key: &&Jwk| kid.is_none() || key.common.key_id == kid;
    let is_for = |key: &&Jwk| {
        key.common.key_algorithm.is_none_or(|alg| alg.to_string() == format!("{algorithm:?}"))
    };
    let mut candidates = keys.iter().filter(named).filter(is_for).peekable();
    candidates.peek().ok_or("no registered key has its kid and algorithm")?;
    candidates
        .filter_map(|key| DecodingKey::try_from(key).ok())
        .find_map(|key| verify(jwt, algorithm, &key))
        .ok_or_else(|| "the signature is wrong".into())
}

/// Returns the claims if the signature holds. The dates are checked elsewhere, by another clock.
fn verify(jwt: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode(jwt, key, &validation).ok().map(|verified| verified.claims)
}

fn check_audience(claims: &Claims, state: &State, or_token_uri: bool) -> Result<(), String> {
    let settings = &state.settings;
    let audience = claims.get("aud").and_then(Value::as_str).ok_or("aud must be one string")?;
    if audience == settings.issuer || (or_token_uri && audience == settings.token_uri) {
        return Ok(());
    }
    Err(format!("aud must be the issuer, {}", settings.issuer))
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far from 2^52")]
fn check_dates_and_id(claims: &Claims, state: &State) -> Result<(), String> {
    let now = state.clock.now() as f64;
    let longest = state.settings.assertion_lifetime.as_secs_f64();
    let date = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("{name} must be a number")),
    };
    let exp = date("exp")?.ok_or("exp is missing")?;
    if exp <= now {
        return Err("it has expired".into());
    }
    if exp - now > longest {
        return Err("exp is too far ahead".into());
    }
    for name in ["iat", "nbf"] {
        if date(name)?.is_some_and(|date| date > now) {
            return Err(format!("{name} is ahead of the server's clock"));
        }
    }
    if date("iat")?.is_some_and(|iat| now - iat > longest) {
        return Err("it is too old".into());
    }
    let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty());
    let jti = jti.ok_or("jti is missing")?;
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if !state.is_first_use(issuer, jti) {
        return Err("its jti was seen before".into());
    }
    Ok(())
}
