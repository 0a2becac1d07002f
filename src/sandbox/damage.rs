//! What each fault does to the answer of `POST /auth`.

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
    auth_response::{self, Outcome},
    faults::AuthFault,
    problem::Problem,
    token::Issued,
};

const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");
const PROXY_PAGE: &str = "<html>\r\n<head><title>Error</title></head>\r\n<body><center><h1>Error</h1></center></body>\r\n</html>\r\n";
const OVERSIZED_CHUNK: &[u8] = &[b'x'; 64 * 1024];
const OVERSIZED_CHUNKS: usize = 512;

/// The end of a request whose fault lets nothing be issued; `None` for any other fault.
pub(super) fn before_issuing(fault: &AuthFault) -> Option<Outcome> {
    match fault {
        AuthFault::Status { status, retry_after } => {
            Some(Outcome::Answer(refused(*status, *retry_after)))
        }
        AuthFault::Html(status) => Some(Outcome::answer((*status, Html(PROXY_PAGE)))),
        AuthFault::ResetBeforeIssuing => Some(Outcome::Reset),
        AuthFault::Hang => Some(Outcome::Hang),
        AuthFault::Redirect(location) => Some(redirected(location)),
        _ => None,
    }
}

/// The end of a request for which a token has been issued.
pub(super) fn after_issuing(fault: Option<&AuthFault>, issued: &Issued) -> Outcome {
    let Issued { token, expires_at, .. } = issued;
    let body = match fault {
        Some(AuthFault::ResetAfterIssuing) => return Outcome::Reset,
        Some(AuthFault::EmptyBody) => return Outcome::answer(StatusCode::CREATED),
        Some(AuthFault::CutBody) => return Outcome::Answer(cut_body(issued)),
        Some(AuthFault::Garbage) => {
            return Outcome::answer((StatusCode::CREATED, [JSON], "{\"accessToken\": ..."));
        }
        Some(AuthFault::Oversized) => return Outcome::Answer(oversized(issued)),
        Some(AuthFault::EmptyToken) => json!({"accessToken": "", "expiresAt": expires_at}),
        Some(AuthFault::MissingToken) => json!({"expiresAt": expires_at}),
        Some(AuthFault::UnsendableToken) => {
            json!({"accessToken": format!("{token}\n"), "expiresAt": expires_at})
        }
        Some(AuthFault::BadExpiry) => {
            json!({"accessToken": token, "expiresAt": "in a short while"})
        }
        Some(AuthFault::NoExpiry) => json!({"accessToken": token}),
        // `Expired` is in the token and its date already.
        _ => return Outcome::Answer(auth_response::created(token, expires_at)),
    };
    Outcome::answer((StatusCode::CREATED, Json(body)))
}

fn refused(status: StatusCode, retry_after: Option<Duration>) -> Response {
    let mut response =
        Problem::new(status, "The sandbox was told to answer so", "fault").into_response();
    if let Some(after) = retry_after {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn redirected(location: &str) -> Outcome {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            Outcome::answer((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]))
        }
        Err(_) => Outcome::answer(Problem::internal()),
    }
}

/// Half of the documented answer under a length of the whole.
fn cut_body(issued: &Issued) -> Response {
    let whole = json!({"accessToken": issued.token, "expiresAt": issued.expires_at}).to_string();
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    // Hyper drops what it has not flushed when a body ends early, so let it flush between the half and the end.
    let end = stream::once(tokio::task::yield_now()).map(|()| Ok(Bytes::new()));
    let body = Body::from_stream(stream::iter([Ok::<_, Infallible>(half)]).chain(end));
    (StatusCode::CREATED, [JSON, (header::CONTENT_LENGTH, &whole.len().to_string())], body)
        .into_response()
}

/// The documented answer with one more field, which is large.
fn oversized(issued: &Issued) -> Response {
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
