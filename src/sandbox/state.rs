//! What the parts of one sandbox share, and the routes over it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    middleware,
    response::Response,
    routing::{get, post},
};
use http::header;

use super::{
    accounts::{self, Accounts},
    auth,
    clients::Clients,
    clock::Clock,
    counters::{SandboxCounters, Tally},
    faults::Faults,
    guard,
    problem::Problem,
    token::{Issued, Signer},
};

pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) signer: Signer,
    pub(super) clients: Clients,
    pub(super) accounts: Accounts,
    pub(super) faults: Faults,
    pub(super) tally: Arc<Tally>,
    pub(super) auth_latency: Duration,
    pub(super) resource_latency: Duration,
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        signer: Signer,
        secrets: HashMap<String, String>,
        auth_latency: Duration,
        resource_latency: Duration,
    ) -> Self {
        Self {
            clock,
            signer,
            clients: Clients::new(secrets),
            accounts: Accounts::default(),
            faults: Faults::default(),
            tally: Arc::default(),
            auth_latency,
            resource_latency,
        }
    }

    pub(super) fn knows(&self, client: &str) -> bool {
        self.clients.knows(client)
    }

    /// Issues a token; the client's token before it is dead from here on.
    pub(super) fn issue(&self, client: &str) -> Result<Issued, jsonwebtoken::errors::Error> {
        let issued = self.signer.sign(client, self.clock.now())?;
        self.put_in_use(client, &issued);
        Ok(issued)
    }

    /// As [`issue`](Self::issue), but what it issues has expired already.
    pub(super) fn issue_expired(
        &self,
        client: &str,
    ) -> Result<Issued, jsonwebtoken::errors::Error> {
        let issued = self.signer.sign_expired(client, self.clock.now())?;
        self.put_in_use(client, &issued);
        Ok(issued)
    }

    fn put_in_use(&self, client: &str, issued: &Issued) {
        self.clients.replace(client, issued.id.clone());
        self.tally.count(|counters| counters.tokens_issued += 1);
    }
}

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let open = Router::new()
        .route("/auth", post(auth::issue_token))
        .route("/_sandbox/counters", get(show_counters))
        .method_not_allowed_fallback(method_not_allowed);
    let guarded = Router::new()
        .route("/accounts", post(accounts::create))
        .route("/accounts/{id}", get(accounts::show))
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
