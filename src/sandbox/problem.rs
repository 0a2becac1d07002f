//! The documented error body, and the limit of request bodies.

use axum::{
    Extension, Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::log::Reason;

/// In bytes.
const MAX_REQUEST_BODY: usize = 1024 * 1024;

/// An error response with the body `{"message", "errors": [{"message", "type"}]}`.
pub(super) struct Problem {
    status: StatusCode,
    message: &'static str,
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    message: String,
    r#type: &'static str,
}

#[derive(Serialize)]
struct ProblemBody {
    message: &'static str,
    errors: Vec<Detail>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: &'static str, kind: &'static str) -> Self {
        Self::with_details(status, message, kind, [message.to_owned()])
    }

    /// Creates a 400 with one entry in `errors` for each fault of the request.
    pub(super) fn malformed(errors: impl IntoIterator<Item = String>) -> Self {
        Self::with_details(
            StatusCode::BAD_REQUEST,
            "The request is malformed",
            "validation",
            errors,
        )
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Nothing is here", "not_found")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "This method is not allowed here",
            "method_not_allowed",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox has failed", "internal")
    }

    fn with_details(
        status: StatusCode,
        message: &'static str,
        kind: &'static str,
        details: impl IntoIterator<Item = String>,
    ) -> Self {
        let details = details.into_iter().map(|message| Detail { message, r#type: kind }).collect();
        Self { status, message, details }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody { message: self.message, errors: self.details };
        (self.status, Extension(Reason(self.message)), Json(body)).into_response()
    }
}

/// Reads a whole request body. A body beyond the limit of 1 MiB is a 413.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, MAX_REQUEST_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is larger than 1 MiB",
            "too_large",
        )),
        Err(_) => Err(Problem::malformed(["the body broke off".to_owned()])),
    }
}
