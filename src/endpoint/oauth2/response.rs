//! The response of an OAuth 2 endpoint, read with tolerance (RFC 6749, section 5.1). Pure.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{super::date::parse_rfc3339, fields::ResponseFields};

/// The fields of a response beside the token and its lifetime.
/// [`AccessToken::get`](crate::AccessToken::get) returns it.
///
/// `Debug` shows the scope, the type and the names of the other fields.
///
/// # Examples
///
/// The address of the API, which Salesforce tells with the token:
///
/// ```
/// use tower_reauth::{AccessToken, endpoint::oauth2::Granted};
///
/// fn instance_url(token: &AccessToken) -> Option<&str> {
///     token.get::<Granted>()?.extra("instance_url")
/// }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Granted {
    scope: Option<String>,
    token_type: Option<String>,
    extra: BTreeMap<String, String>,
}

/// A response that holds a token.
pub(super) struct TokenFields {
    pub(super) secret: SecretString,
    pub(super) expires_in: Option<Duration>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) renew_in: Option<Duration>,
    pub(super) granted: Granted,
}

/// The reason why a response holds no token that can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// It has an error code.
    Refused { code: String },
    /// It has a code of the provider's own.
    RefusedByOwn { code: String, is_transient: bool },
    /// It has this instead.
    Found(&'static str),
}

/// The fields that are read, and so not among the others.
const READ: [&str; 7] =
    ["expires_in", "expires_on", "expires_at", "refresh_in", "scope", "token_type", "error"];

/// Reads a response.
pub(super) fn read(body: &Value, fields: &ResponseFields) -> Result<TokenFields, NoToken> {
    if let Some(own) = fields.own_code(body) {
        return Err(NoToken::RefusedByOwn { code: own.code, is_transient: own.is_transient });
    }
    if let Some(code) = fields.code(body) {
        return Err(NoToken::Refused { code: code.to_owned() });
    }
    let Some(object) = body.as_object() else {
        return Err(NoToken::Found("JSON that is no object"));
    };
    let Some(token) = fields.token(body) else {
        return Err(NoToken::Found("no access token"));
    };
    let token_type = object.get("token_type").and_then(Value::as_str);
    if let Some(found) = token_type.and_then(unsendable) {
        return Err(NoToken::Found(found));
    }
    let expires_in = fields.lifetime(body).and_then(seconds);
    // Only where the lifetime itself is not said: some servers have both, by two clocks.
    let expires_at = if expires_in.is_none() { end(object) } else { None };
    Ok(TokenFields {
        secret: token.into(),
        expires_in,
        expires_at,
        renew_in: object.get("refresh_in").and_then(seconds),
        granted: Granted {
            scope: object.get("scope").and_then(Value::as_str).map(str::to_owned),
            token_type: token_type.map(str::to_owned),
            extra: extra(object, token),
        },
    })
}

/// Returns the refresh token of a response that is no refusal, whatever else it holds.
pub(super) fn refresh_token(body: &Value, fields: &ResponseFields) -> Option<SecretString> {
    if fields.own_code(body).is_some() || fields.code(body).is_some() {
        return None;
    }
    let token = body.get("refresh_token")?.as_str()?;
    (!token.is_empty()).then(|| token.into())
}

/// Returns what was found instead of a token that can be sent by itself, or `None` for a type that
/// can.
///
/// Servers that name another type mean `Bearer` by it, as far as is known.
fn unsendable(token_type: &str) -> Option<&'static str> {
    match token_type.to_ascii_lowercase().as_str() {
        "mac" => Some("a token of the type mac, which is not supported"),
        "n_a" => Some("something that is no access token, of the type N_A"),
        "dpop" => Some("a token of the type DPoP, for which no proof was made"),
        _ => None,
    }
}

/// Returns a number of whole seconds, given as a number or in a string. Zero and less count as not
/// said.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = number(value)?.floor();
    if seconds < 1.0 {
        return None;
    }
    // A number that does not fit is a very long time.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Returns the end of the lifetime: `expires_on` of Azure, in seconds since 1970, or `expires_at`,
/// which may be a date of RFC 3339 as well.
fn end(object: &Map<String, Value>) -> Option<SystemTime> {
    let epoch = |value: &Value| UNIX_EPOCH.checked_add(seconds(value)?);
    let date = |value: &Value| epoch(value).or_else(|| parse_rfc3339(value.as_str()?.trim()));
    object.get("expires_on").and_then(epoch).or_else(|| date(object.get("expires_at")?))
}

/// Returns the other fields that are no objects and no arrays. Nothing that may be a secret is
/// among them.
fn extra(object: &Map<String, Value>, token: &str) -> BTreeMap<String, String> {
    let mut extra = BTreeMap::new();
    for (name, value) in object {
        let lower = name.to_ascii_lowercase();
        if READ.contains(&name.as_str()) || lower.ends_with("token") || lower.ends_with("secret") {
            continue;
        }
        let value = match value {
            Value::String(text) if text != token => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => continue,
        };
        extra.insert(name.clone(), value);
    }
    extra
}

impl Granted {
    /// Returns the scope of the token as the server says it (RFC 6749, section 3.3).
    ///
    /// `None` if the response has none, which means the scope that was asked for.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Returns the type of the token as the server spells it.
    pub fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }

    /// Returns another field of the response. A number or a boolean is written as in JSON.
    ///
    /// `None` if there is none of this name at the top level, for a null, an object or an array,
    /// and for a name that ends in `token` or `secret`.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(String::as_str)
    }

    /// Returns which of the scopes in `asked` were not granted.
    pub(super) fn lacks<'a>(&self, asked: &'a [String]) -> Vec<&'a str> {
        let Some(granted) = &self.scope else { return Vec::new() };
        let is_granted = |scope: &&str| granted.split_whitespace().any(|it| it == *scope);
        asked.iter().map(String::as_str).filter(|scope| !is_granted(scope)).collect()
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("scope", &self.scope)
            .field("token_type", &self.token_type)
            .field("extra", &self.extra.keys())
            .finish()
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
