//! The request of `POST /auth` by the API reference.

use std::ops::RangeInclusive;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use super::{
    idempotency::idempotency_key,
    problem::{self, Problem},
};

/// In characters.
const CLIENT_ID_LENGTH: RangeInclusive<usize> = 38..=100;

pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: String,
}

/// Reads the credentials from the body, and checks the form of the whole request.
///
/// The error has one entry for each fault of the request. A body that is too large or broke off is
/// refused before that.
pub(super) async fn read_credentials(
    headers: &HeaderMap,
    body: Body,
) -> Result<Credentials, Problem> {
    let body = problem::read_body(body).await?;
    let mut errors = Vec::new();
    if !is_json(headers.get(header::CONTENT_TYPE)) {
        errors.push("content-type must be application/json".to_owned());
    }
    if let Err(error) = idempotency_key(headers) {
        errors.push(error);
    }
    let (id, secret) = read_fields(&body, &mut errors);
    if errors.is_empty() { Ok(Credentials { id, secret }) } else { Err(Problem::malformed(errors)) }
}

fn read_fields(body: &Bytes, errors: &mut Vec<String>) -> (String, String) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        errors.push("the body must be a JSON object".to_owned());
        return (String::new(), String::new());
    };
    let mut take = |name: &str| {
        let value = fields.remove(name).and_then(|value| value.as_str().map(str::to_owned));
        if value.is_none() {
            errors.push(format!("{name} must be a string"));
        }
        value
    };
    let (id, secret) = (take("clientId"), take("clientSecret"));
    if let Some(id) = &id {
        if !CLIENT_ID_LENGTH.contains(&id.chars().count()) {
            errors.push("clientId must have 38 to 100 characters".to_owned());
        }
        if !has_client_id_pattern(id) {
            errors.push("clientId must match [a-z]{4}_ and a lower-case UUID".to_owned());
        }
    }
    (id.unwrap_or_default(), secret.unwrap_or_default())
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Returns `true` if `id` holds a match of the reference's pattern, which is
/// `[a-z]{4}_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`.
///
/// A match anywhere in `id` counts, because the reference gives the pattern without anchors and
/// allows 100 characters for the whole.
fn has_client_id_pattern(id: &str) -> bool {
    const SHAPE: &[u8] = b"aaaa_00000000-0000-0000-0000-000000000000";
    id.as_bytes().windows(SHAPE.len()).any(|window| {
        window.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'a' => byte.is_ascii_lowercase(),
            b'0' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            literal => byte == literal,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_id_pattern_is_the_references() {
        for good in [
            "demo_00000000-0000-4000-8000-000000000001",
            "acme_0a1b2c3d-0000-4000-8000-0123456789ab",
        ] {
            assert!(has_client_id_pattern(good), "{good}");
        }
        for bad in [
            "",
            "5e505642-9024-474d-9434-e5a44f505cc",
            "demo-00000000-0000-4000-8000-000000000001",
            "DEMO_00000000-0000-4000-8000-000000000001",
            "demo_00000000-0000-4000-8000-00000000000g",
            "demo_00000000-0000-4000-8000-00000000000",
        ] {
            assert!(!has_client_id_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn json_is_recognised_with_parameters_and_in_any_case() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_json(Some(&HeaderValue::from_static(value))), expected, "{value}");
        }
        assert!(!is_json(None));
    }
}
