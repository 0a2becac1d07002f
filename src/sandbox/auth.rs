//! `POST /auth`.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::{
    damage,
    faults::AuthFault,
    problem::{self, Problem},
    server::ConnectionReset,
    state::Shared,
};

const CLIENT_ID_LENGTH: RangeInclusive<usize> = 38..=100;
const MAX_IDEMPOTENCY_KEY: usize = 36;

/// How a `POST /auth` ends.
pub(super) enum Outcome {
    Answer(Response),
    Hang,
    Reset,
}

impl Outcome {
    pub(super) fn answer(response: impl IntoResponse) -> Self {
        Self::Answer(response.into_response())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody<'a> {
    access_token: &'a str,
    expires_at: &'a str,
}

/// The documented answer.
pub(super) fn created(token: &str, expires_at: &str) -> Response {
    (StatusCode::CREATED, Json(TokenBody { access_token: token, expires_at })).into_response()
}

pub(super) async fn issue_token(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let in_flight = shared.tally.auth_arrives();
    let fault = shared.faults.next();
    let (parts, body) = request.into_parts();
    let asked = read_credentials(&parts.headers, body).await;

    // A task of its own: from here on the request is carried out, even when its caller hangs up. That is what
    // makes a lost answer on an exclusive endpoint costly.
    let carried_out =
        tokio::spawn(async move { (carry_out(&shared, fault, asked).await, in_flight) }).await;
    // Held, so that a request that hangs counts as under way until its connection is gone.
    let Ok((outcome, _in_flight)) = carried_out else { return Problem::internal().into_response() };
    match outcome {
        Outcome::Answer(response) => response,
        Outcome::Hang => std::future::pending().await,
        Outcome::Reset => match parts.extensions.get::<ConnectionReset>() {
            Some(connection) => connection.reset().await,
            None => Problem::internal().into_response(),
        },
    }
}

struct Credentials {
    id: String,
    secret: String,
}

async fn carry_out(
    shared: &Shared,
    fault: Option<AuthFault>,
    asked: Result<Credentials, Problem>,
) -> Outcome {
    wait(shared.auth_latency).await;
    let fault = match fault {
        Some(AuthFault::Delay(more)) => {
            wait(more).await;
            None
        }
        fault => fault,
    };
    if let Some(outcome) = fault.as_ref().and_then(damage::before_issuing) {
        return outcome;
    }

    let client = match asked.and_then(|credentials| check_credentials(shared, credentials)) {
        Ok(client) => client,
        Err(refusal) => {
            shared.tally.count(|counters| counters.auth_refused += 1);
            return Outcome::answer(refusal);
        }
    };
    let issued = match fault {
        Some(AuthFault::Expired) => shared.issue_expired(&client),
        _ => shared.issue(&client),
    };
    match issued {
        Ok(issued) => damage::after_issuing(fault.as_ref(), &issued),
        Err(_) => Outcome::answer(Problem::internal()),
    }
}

/// Unlike a bare `sleep`, needs no timer for nothing.
pub(super) async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn check_credentials(shared: &Shared, asked: Credentials) -> Result<String, Problem> {
    if shared.clients.accepts(&asked.id, &asked.secret) {
        Ok(asked.id)
    } else {
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "The credentials are wrong",
            "invalid_credentials",
        ))
    }
}

async fn read_credentials(headers: &HeaderMap, body: Body) -> Result<Credentials, Problem> {
    let body = problem::read_body(body).await?;
    let mut wrong = Vec::new();
    if !is_json(headers.get(header::CONTENT_TYPE)) {
        wrong.push("content-type must be application/json".to_owned());
    }
    if let Err(why) = idempotency_key(headers) {
        wrong.push(why);
    }
    let (id, secret) = read_fields(&body, &mut wrong);
    if wrong.is_empty() { Ok(Credentials { id, secret }) } else { Err(Problem::malformed(wrong)) }
}

fn read_fields(body: &Bytes, wrong: &mut Vec<String>) -> (String, String) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        wrong.push("the body must be a JSON object".to_owned());
        return (String::new(), String::new());
    };
    let mut take = |name: &str| {
        let value = fields.remove(name).and_then(|value| value.as_str().map(str::to_owned));
        if value.is_none() {
            wrong.push(format!("{name} must be a string"));
        }
        value
    };
    let (id, secret) = (take("clientId"), take("clientSecret"));
    if let Some(id) = &id {
        if !CLIENT_ID_LENGTH.contains(&id.chars().count()) {
            wrong.push("clientId must have 38 to 100 characters".to_owned());
        }
        if !has_client_id_pattern(id) {
            wrong.push("clientId must match [a-z]{4}_ and a lower-case UUID".to_owned());
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

/// The request's `idempotency` key, if it has one; an empty one counts as none.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all("idempotency").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there must be one idempotency header at most".to_owned());
    }
    if value.len() > MAX_IDEMPOTENCY_KEY {
        return Err("idempotency must have 36 characters at most".to_owned());
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b" -_+=/".contains(byte);
    if !value.as_bytes().iter().all(allowed) {
        return Err("idempotency must match ^[a-zA-Z 0-9-_+=/]*$".to_owned());
    }
    Ok(value.to_str().ok().filter(|key| !key.is_empty()).map(str::to_owned))
}

/// `[a-z]{4}_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, anywhere in `id`: the reference gives
/// it without anchors, and up to 100 characters for the whole.
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
    use crate::sandbox::Sandbox;

    #[test]
    fn the_client_id_pattern_is_the_references() {
        for good in [Sandbox::CLIENT_ID, "acme_0a1b2c3d-0000-4000-8000-0123456789ab"] {
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
