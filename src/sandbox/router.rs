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

use super::{auth, counters::SandboxCounters, guard, problem::Problem, resources, state::Shared};

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let open = Router::new()
        .route("/auth", post(auth::issue_token))
        .route("/_sandbox/counters", get(show_counters))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/accounts", post(resources::create))
        .route("/accounts/{id}", get(resources::show))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(shared), guard::require_token));
    open.merge(guarded)
        .layer(middleware::map_response_with_state(Arc::clone(shared), stamp_date))
        .with_state(Arc::clone(shared))
}

async fn show_counters(State(shared): State<Arc<Shared>>) -> Json<SandboxCounters> {
    Json(shared.tally.snapshot())
}

async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

async fn not_found() -> Problem {
    Problem::not_found()
}

/// Before the HTTP server can: its date would come from the real clock.
async fn stamp_date(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    response.headers_mut().insert(header::DATE, shared.clock.date());
    response
}
