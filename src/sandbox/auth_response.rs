//! The outcome of a `POST /auth`, and its documented response.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;

/// The outcome of a `POST /auth` for its caller.
pub(super) enum AuthOutcome {
    /// The caller gets this response.
    Respond(Response),
    /// The caller gets no response while its connection lasts.
    Hang,
    /// The caller's connection is reset.
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

/// Returns the documented response of a success.
pub(super) fn token_response(token: &str, expires_at: &str) -> Response {
    (StatusCode::CREATED, Json(TokenBody { access_token: token, expires_at })).into_response()
}
