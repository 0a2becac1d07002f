//! The routes of the double.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    middleware,
    response::Response,
    routing::{get, post},
};
use http::header;

use super::{
    auth, counters::SandboxCounters, guard, log, problem::Problem, resources, state::SandboxState,
};

/// Returns the routes over `state`, the guard in front of all that need a token.
///
/// A path that does not exist is behind the guard too, so it is answered 401 without a token and
/// 404 with one.
pub(super) fn router(state: &Arc<SandboxState>) -> Router {
    let open = Router::new()
        .route("/auth", post(auth::issue_token))
        .route("/_sandbox/counters", get(show_counters))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/accounts", post(resources::create))
        .route("/accounts/{id}", get(resources::show))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(state), guard::require_token));
    open.merge(guarded)
        .layer(middleware::map_response_with_state(Arc::clone(state), stamp_date))
        .layer(middleware::from_fn_with_state(Arc::clone(state), log::log_request))
        .with_state(Arc::clone(state))
}

async fn show_counters(State(state): State<Arc<SandboxState>>) -> Json<SandboxCounters> {
    Json(state.tally.snapshot())
}

async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

async fn not_found() -> Problem {
    Problem::not_found()
}

/// Sets the `Date` of every response by the sandbox's clock. The HTTP server's own date, by the
/// real clock, is switched off.
async fn stamp_date(State(state): State<Arc<SandboxState>>, mut response: Response) -> Response {
    response.headers_mut().insert(header::DATE, state.clock.date());
    response
}
