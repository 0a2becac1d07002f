//! How a `POST /auth` ends, and the documented answer.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;

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
