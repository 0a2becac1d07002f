//! The effect of each fault on a `POST /auth`.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{
    auth_response::{self, AuthOutcome},
    faults::AuthFault,
    problem::Problem,
    token::SignedToken,
};

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");
const PROXY_PAGE: &str = "<html>\r\n<head><title>Error</title></head>\r\n\
    <body><center><h1>Error</h1></center></body>\r\n</html>\r\n";
/// With [`OVERSIZED_CHUNKS`] of them the body has 32 MiB.
const OVERSIZED_CHUNK: &[u8] = &[b'x'; 64 * 1024];
const OVERSIZED_CHUNKS: usize = 512;

/// Returns the outcome of a request whose fault issues nothing, or `None` for any other fault.
pub(super) fn before_issuing(fault: &AuthFault) -> Option<AuthOutcome> {
    match fault {
        AuthFault::Status { status, retry_after } => {
            Some(AuthOutcome::Respond(status_response(*status, *retry_after)))
        }
        AuthFault::Html(status) => Some(AuthOutcome::respond((*status, Html(PROXY_PAGE)))),
        AuthFault::ResetBeforeIssuing => Some(AuthOutcome::Reset),
        AuthFault::Hang => Some(AuthOutcome::Hang),
        AuthFault::Redirect(location) => Some(redirect(location)),
        _ => None,
    }
}

/// Returns the outcome of a request for which `issued` has been issued.
pub(super) fn after_issuing(fault: Option<&AuthFault>, issued: &SignedToken) -> AuthOutcome {
    let SignedToken { token, expires_at, .. } = issued;
    let body = match fault {
        Some(AuthFault::ResetAfterIssuing) => return AuthOutcome::Reset,
        Some(AuthFault::EmptyBody) => return AuthOutcome::respond(StatusCode::CREATED),
        Some(AuthFault::CutBody) => return AuthOutcome::Respond(cut_body(issued)),
        Some(AuthFault::Garbage) => {
            return AuthOutcome::respond((StatusCode::CREATED, [JSON], "{\"accessToken\": ..."));
        }
        Some(AuthFault::Oversized) => return AuthOutcome::Respond(oversized(issued)),
        Some(AuthFault::EmptyToken) => json!({"accessToken": "", "expiresAt": expires_at}),
        Some(AuthFault::MissingToken) => json!({"expiresAt": expires_at}),
        Some(AuthFault::UnsendableToken) => {
            json!({"accessToken": format!("{token}\n"), "expiresAt": expires_at})
        }
        Some(AuthFault::BadExpiry) => {
            json!({"accessToken": token, "expiresAt": "in a short while"})
        }
        Some(AuthFault::NoExpiry) => json!({"accessToken": token}),
        // `Expired` has had its effect on the token, so the response is the documented one.
        _ => return AuthOutcome::Respond(auth_response::token_response(token, expires_at)),
    };
    AuthOutcome::respond((StatusCode::CREATED, Json(body)))
}

fn status_response(status: StatusCode, retry_after: Option<Duration>) -> Response {
    let mut response =
        Problem::new(status, "The sandbox was told to answer so", "fault").into_response();
    if let Some(after) = retry_after {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn redirect(location: &str) -> AuthOutcome {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            AuthOutcome::respond((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]))
        }
        Err(_) => AuthOutcome::respond(Problem::internal()),
    }
}

/// Returns half of the documented response under the `Content-Length` of the whole.
fn cut_body(issued: &SignedToken) -> Response {
    let whole = json!({"accessToken": issued.token, "expiresAt": issued.expires_at}).to_string();
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    // Hyper drops what it has not flushed when a body ends early. The pause between the half and
    // the end lets it flush.
    let end = stream::once(tokio::task::yield_now()).map(|()| Ok(Bytes::new()));
    let body = Body::from_stream(stream::iter([Ok::<_, Infallible>(half)]).chain(end));
    (StatusCode::CREATED, [JSON, (header::CONTENT_LENGTH, &whole.len().to_string())], body)
        .into_response()
}

/// Returns the documented response with one more field, which is large.
fn oversized(issued: &SignedToken) -> Response {
    let start = format!(
        r#"{{"accessToken":"{}","expiresAt":"{}","padding":""#,
        issued.token, issued.expires_at
    );
    let padding = stream::iter((0..OVERSIZED_CHUNKS).map(|_| Bytes::from_static(OVERSIZED_CHUNK)));
    let parts = stream::iter([Bytes::from(start)])
        .chain(padding)
        .chain(stream::iter([Bytes::from_static(b"\"}")]));
    (StatusCode::CREATED, [JSON], Body::from_stream(parts.map(Ok::<_, Infallible>))).into_response()
}
