//! The routes of the server: the token endpoint, the metadata, and a resource at every other path.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State as Shared},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use super::{refusal::Refusal, state::State, token};

/// Returns the routes over `state`.
pub(super) fn router(state: &Arc<State>) -> Router {
    let issuer = state.settings.issuer.parse::<Uri>().unwrap_or_default();
    let path = issuer.path().trim_end_matches('/');
    let mut router = Router::new().route("/token", post(token::issue_token));
    // The path is inserted by RFC 8414, section 3.1, and appended by OpenID Connect Discovery.
    for path in [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ] {
        router = router.route(&path, get(show_metadata));
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(show_token)
        .layer(middleware::map_response_with_state(Arc::clone(state), stamp_date))
        .with_state(Arc::clone(state))
}

async fn show_metadata(Shared(state): Shared<Arc<State>>) -> Json<Map<String, Value>> {
    state.count(|counters| counters.metadata_requests += 1);
    Json(state.metadata())
}

async fn method_not_allowed() -> Response {
    Refusal::invalid_request("this method is not allowed here")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .into_response()
}

/// The resource. It says which token it saw (RFC 6750, section 3, for the refusals).
async fn show_token(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    state.count(|counters| counters.resource_requests += 1);
    let Some(secret) = bearer_token(request.headers()) else {
        state.count(|counters| counters.unauthorized_missing += 1);
        return unauthorized("Bearer");
    };
    let seen = state.tokens().accepted(secret, state.clock.now()).cloned();
    let Some(token) = seen else {
        state.count(|counters| counters.unauthorized_token += 1);
        return unauthorized(r#"Bearer error="invalid_token""#);
    };
    state.count(|counters| counters.resource_ok += 1);
    Json(json!({
        "token": token.number,
        "client_id": token.grant.owner,
        "subject": token.grant.subject,
        "scope": token.grant.scope,
        "audience": token.grant.audience,
        "path": request.uri().path(),
    }))
    .into_response()
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn unauthorized(challenge: &'static str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

/// Sets the `Date` by the server's clock, unless a script has set one.
async fn stamp_date(Shared(state): Shared<Arc<State>>, mut response: Response) -> Response {
    response.headers_mut().entry(header::DATE).or_insert_with(|| state.clock.date());
    response
}
