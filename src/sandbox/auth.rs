//! The handler of `POST /auth`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    auth_request::{self, Credentials},
    auth_response::AuthOutcome,
    clock, damage,
    faults::AuthFault,
    log::Reason,
    problem::Problem,
    server::ConnectionReset,
    state::SandboxState,
};

pub(super) async fn issue_token(
    State(state): State<Arc<SandboxState>>,
    request: Request,
) -> Response {
    let in_flight = state.tally.start_auth();
    let fault = state.faults.next();
    let is_fault = fault.is_some();
    let (parts, body) = request.into_parts();
    let credentials = auth_request::read_credentials(&parts.headers, body).await;

    // In a task of its own, which goes on when the caller hangs up and this future is dropped. The
    // caller then has no token, although the one in use is dead. That is what a lost response of an
    // exclusive endpoint costs.
    let processed =
        tokio::spawn(async move { (process(&state, fault, credentials).await, in_flight) }).await;
    // `_in_flight` is held, so that a request that hangs counts as in flight until its connection
    // is closed.
    let Ok((outcome, _in_flight)) = processed else { return Problem::internal().into_response() };
    match outcome {
        AuthOutcome::Respond(mut response) => {
            if is_fault {
                response.extensions_mut().insert(Reason("a fault that was asked for"));
            }
            response
        }
        AuthOutcome::Hang => std::future::pending().await,
        AuthOutcome::Reset => match parts.extensions.get::<ConnectionReset>() {
            Some(connection) => connection.reset().await,
            None => Problem::internal().into_response(),
        },
    }
}

/// Applies the request and the fault that it met.
///
/// A fault that issues nothing ends the request before its credentials are checked.
async fn process(
    state: &SandboxState,
    fault: Option<AuthFault>,
    credentials: Result<Credentials, Problem>,
) -> AuthOutcome {
    clock::wait(state.auth_latency).await;
    let fault = match fault {
        Some(AuthFault::Delay(extra)) => {
            clock::wait(extra).await;
            None
        }
        fault => fault,
    };
    if let Some(outcome) = fault.as_ref().and_then(damage::before_issuing) {
        return outcome;
    }

    let client = match credentials.and_then(|credentials| check_credentials(state, credentials)) {
        Ok(client) => client,
        Err(refusal) => {
            state.tally.count(|counters| counters.auth_refused += 1);
            return AuthOutcome::respond(refusal);
        }
    };
    let issued = match fault {
        Some(AuthFault::Expired) => state.issue_expired(&client),
        _ => state.issue(&client),
    };
    match issued {
        Ok(issued) => damage::after_issuing(fault.as_ref(), &issued),
        Err(_) => AuthOutcome::respond(Problem::internal()),
    }
}

fn check_credentials(state: &SandboxState, credentials: Credentials) -> Result<String, Problem> {
    if state.clients.accepts(&credentials.id, &credentials.secret) {
        Ok(credentials.id)
    } else {
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "The credentials are wrong",
            "invalid_credentials",
        ))
    }
}
