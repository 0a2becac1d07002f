//! The middleware in front of every path that needs a token.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    clock,
    counters::SandboxCounters,
    log::Reason,
    problem::{self, Problem},
    state::SandboxState,
};

/// The client whose token came with a request.
#[derive(Clone)]
pub(super) struct Caller(pub(super) String);

/// The reason for a 401.
#[derive(Clone, Copy)]
enum Rejection {
    Missing,
    Unknown,
    Expired,
    Replaced,
}

/// Answers 401 to a request without a living token, and passes any other on with its [`Caller`].
pub(super) async fn require_token(
    State(state): State<Arc<SandboxState>>,
    request: Request,
    next: Next,
) -> Response {
    state.tally.count(|counters| counters.resource_requests += 1);
    let (parts, body) = request.into_parts();
    let body = match problem::read_body(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let mut request = Request::from_parts(parts, Body::from(body));

    // In a task of its own, which goes on when the caller hangs up and this future is dropped. A
    // request that has arrived is carried out.
    let processed = tokio::spawn(async move {
        clock::wait(state.resource_latency).await;
        // After the latency, so that a token that is replaced meanwhile is refused.
        match authenticate(&state, request.headers()) {
            Ok(caller) => request.extensions_mut().insert(caller),
            Err(rejection) => {
                state.tally.count(|counters| rejection.count(counters));
                return rejection.into_response();
            }
        };
        let response = next.run(request).await;
        if response.status().is_success() {
            state.tally.count(|counters| counters.resource_ok += 1);
        }
        response
    });
    processed.await.unwrap_or_else(|_| Problem::internal().into_response())
}

/// Returns the client whose token the headers carry, if the token is alive.
fn authenticate(state: &SandboxState, headers: &HeaderMap) -> Result<Caller, Rejection> {
    check_token(state, bearer_token(headers)?)
}

/// Returns `true` if a request with this token would be passed on.
pub(super) fn accepts(state: &SandboxState, token: &str) -> bool {
    check_token(state, token).is_ok()
}

/// Checks the signature first, then the expiry, then if the token is the one in use. A token that
/// has expired and was replaced therefore counts as expired.
fn check_token(state: &SandboxState, token: &str) -> Result<Caller, Rejection> {
    let claims = state.signer.verify(token).ok_or(Rejection::Unknown)?;
    if claims.exp <= state.clock.now() {
        return Err(Rejection::Expired);
    }
    if !state.clients.is_current(&claims.sub, &claims.jti) {
        return Err(Rejection::Replaced);
    }
    Ok(Caller(claims.sub))
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::Missing)?;
    if values.next().is_some() {
        return Err(Rejection::Unknown);
    }
    let value = value.to_str().map_err(|_| Rejection::Unknown)?;
    let (scheme, token) = value.split_once(' ').ok_or(Rejection::Missing)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Rejection::Missing);
    }
    Ok(token)
}

impl Rejection {
    fn count(self, counters: &mut SandboxCounters) {
        let counter = match self {
            Self::Missing => &mut counters.unauthorized_missing,
            Self::Unknown => &mut counters.unauthorized_unknown,
            Self::Expired => &mut counters.unauthorized_expired,
            Self::Replaced => &mut counters.unauthorized_replaced,
        };
        *counter += 1;
    }

    /// Returns the reason for the log.
    fn reason(self) -> Reason {
        Reason(match self {
            Self::Missing => "there is no bearer token",
            Self::Unknown => "the token was not issued by this sandbox",
            Self::Expired => "the token has expired",
            Self::Replaced => "the token was replaced or revoked",
        })
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        // The body never tells a client the reason.
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "A valid token is needed", "unauthorized")
                .into_response();
        // The challenge tells a missing token from a bad one (RFC 6750, section 3.1).
        let challenge = match self {
            Self::Missing => "Bearer",
            _ => r#"Bearer error="invalid_token""#,
        };
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response.extensions_mut().insert(self.reason());
        response
    }
}
