//! Stands in front of every path that needs a token.

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
    problem::{self, Problem},
    state::Shared,
};

/// The client whose token came with a request.
#[derive(Clone)]
pub(super) struct Caller(pub(super) String);

/// Why a request is answered 401.
#[derive(Clone, Copy)]
enum Refused {
    Missing,
    Unknown,
    Expired,
    Replaced,
}

pub(super) async fn require_token(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    shared.tally.count(|counters| counters.resource_requests += 1);
    let (parts, body) = request.into_parts();
    let body = match problem::read_body(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let mut request = Request::from_parts(parts, Body::from(body));

    // A task of its own: a request that has arrived is carried out, even when its caller hangs up.
    let carried_out = tokio::spawn(async move {
        clock::wait(shared.resource_latency).await;
        match judge(&shared, request.headers()) {
            Ok(caller) => request.extensions_mut().insert(caller),
            Err(refused) => {
                shared.tally.count(|counters| refused.count(counters));
                return refused.into_response();
            }
        };
        let response = next.run(request).await;
        if response.status().is_success() {
            shared.tally.count(|counters| counters.resource_ok += 1);
        }
        response
    });
    carried_out.await.unwrap_or_else(|_| Problem::internal().into_response())
}

/// Whose token it is, if it is alive.
fn judge(shared: &Shared, headers: &HeaderMap) -> Result<Caller, Refused> {
    judge_token(shared, bearer_token(headers)?)
}

/// Whether a request with this token would be let through.
pub(super) fn accepts(shared: &Shared, token: &str) -> bool {
    judge_token(shared, token).is_ok()
}

fn judge_token(shared: &Shared, token: &str) -> Result<Caller, Refused> {
    let claims = shared.signer.read(token).ok_or(Refused::Unknown)?;
    if claims.exp <= shared.clock.now() {
        return Err(Refused::Expired);
    }
    if !shared.clients.is_current(&claims.sub, &claims.jti) {
        return Err(Refused::Replaced);
    }
    Ok(Caller(claims.sub))
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refused::Missing)?;
    if values.next().is_some() {
        return Err(Refused::Unknown);
    }
    let value = value.to_str().map_err(|_| Refused::Unknown)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refused::Missing)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refused::Missing);
    }
    Ok(token)
}

impl Refused {
    fn count(self, counters: &mut SandboxCounters) {
        let counter = match self {
            Self::Missing => &mut counters.unauthorized_missing,
            Self::Unknown => &mut counters.unauthorized_unknown,
            Self::Expired => &mut counters.unauthorized_expired,
            Self::Replaced => &mut counters.unauthorized_replaced,
        };
        *counter += 1;
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        // One text for every cause: a client must not be able to tell them apart by it.
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "A valid token is needed", "unauthorized")
                .into_response();
        let challenge = match self {
            Self::Missing => "Bearer",
            _ => r#"Bearer error="invalid_token""#,
        };
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}
