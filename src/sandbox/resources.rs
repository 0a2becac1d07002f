//! The handlers of `POST /accounts` and `GET /accounts/{id}`, two paths that need a token.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{
    accounts::Creation, guard::Caller, idempotency::idempotency_key, problem::Problem,
    state::SandboxState,
};

pub(super) async fn create(
    State(state): State<Arc<SandboxState>>,
    Extension(Caller(owner)): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = match idempotency_key(&headers) {
        Ok(key) => key,
        Err(error) => return Problem::malformed([error]).into_response(),
    };
    let Some(name) = read_name(&body) else {
        return Problem::malformed([
            "the body must be a JSON object with a string as its name".to_owned()
        ])
        .into_response();
    };
    let account = match state.accounts.create(owner, key, name, body, state.clock.now()) {
        Creation::Created(account) => {
            state.tally.count(|counters| counters.accounts_created += 1);
            account
        }
        Creation::Repeated(account) => {
            state.tally.count(|counters| counters.idempotent_replays += 1);
            account
        }
        Creation::Conflict => {
            return Problem::new(
                StatusCode::CONFLICT,
                "The key was used with another body",
                "conflict",
            )
            .into_response();
        }
    };
    (StatusCode::CREATED, Json(account)).into_response()
}

pub(super) async fn show(
    State(state): State<Arc<SandboxState>>,
    Extension(Caller(owner)): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match state.accounts.find(&owner, &id) {
        Some(account) => Json(account).into_response(),
        None => Problem::not_found().into_response(),
    }
}

fn read_name(body: &Bytes) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return None };
    match fields.remove("name") {
        Some(Value::String(name)) => Some(name),
        _ => None,
    }
}
