//! How a `POST /auth` ends, and the documented answer.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;

/// How a `POST /auth` ends.
pub(super) enum AuthOutcome {
    Respond(Response),
    Hang,
    Reset,
}

impl AuthOutcome {
    pub(super) fn respond(response: impl IntoResponse) -> Self {
        Self::Respond(response.into_response())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody<'a> {
    access_token: &'a str,
    expires_at: &'a str,
}

/// The documented answer.
pub(super) fn token_response(token: &str, expires_at: &str) -> Response {
    (StatusCode::CREATED, Json(TokenBody { access_token: token, expires_at })).into_response()
}
