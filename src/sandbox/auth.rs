//! `POST /auth`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    auth_request::{self, Credentials},
    auth_response::Outcome,
    clock, damage,
    faults::AuthFault,
    problem::Problem,
    server::ConnectionReset,
    state::Shared,
};

pub(super) async fn issue_token(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let in_flight = shared.tally.auth_arrives();
    let fault = shared.faults.next();
    let (parts, body) = request.into_parts();
    let asked = auth_request::read_credentials(&parts.headers, body).await;

    // A task of its own: from here on the request is carried out, even when its caller hangs up. That is what
    // makes a lost answer on an exclusive endpoint costly.
    let carried_out =
        tokio::spawn(async move { (carry_out(&shared, fault, asked).await, in_flight) }).await;
    // Held, so that a request that hangs counts as under way until its connection is gone.
    let Ok((outcome, _in_flight)) = carried_out else { return Problem::internal().into_response() };
    match outcome {
        Outcome::Answer(response) => response,
        Outcome::Hang => std::future::pending().await,
        Outcome::Reset => match parts.extensions.get::<ConnectionReset>() {
            Some(connection) => connection.reset().await,
            None => Problem::internal().into_response(),
        },
    }
}

async fn carry_out(
    shared: &Shared,
    fault: Option<AuthFault>,
    asked: Result<Credentials, Problem>,
) -> Outcome {
    clock::wait(shared.auth_latency).await;
    let fault = match fault {
        Some(AuthFault::Delay(more)) => {
            clock::wait(more).await;
            None
        }
        fault => fault,
    };
    if let Some(outcome) = fault.as_ref().and_then(damage::before_issuing) {
        return outcome;
    }

    let client = match asked.and_then(|credentials| check_credentials(shared, credentials)) {
        Ok(client) => client,
        Err(refusal) => {
            shared.tally.count(|counters| counters.auth_refused += 1);
            return Outcome::answer(refusal);
        }
    };
    let issued = match fault {
        Some(AuthFault::Expired) => shared.issue_expired(&client),
        _ => shared.issue(&client),
    };
    match issued {
        Ok(issued) => damage::after_issuing(fault.as_ref(), &issued),
        Err(_) => Outcome::answer(Problem::internal()),
    }
}

fn check_credentials(shared: &Shared, asked: Credentials) -> Result<String, Problem> {
    if shared.clients.accepts(&asked.id, &asked.secret) {
        Ok(asked.id)
    } else {
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "The credentials are wrong",
            "invalid_credentials",
        ))
    }
}
