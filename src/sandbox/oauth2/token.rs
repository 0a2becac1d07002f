//! The handler of the token endpoint.

use std::sync::Arc;

use axum::{
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{
    authenticate::{Authenticated, authenticate},
    grant::{self, Granted},
    issuance::Issuance,
    refusal::Refusal,
    request::{TokenRequest, read_body, read_parameters},
    scripted::{Kind, ScriptedResponse},
    state::State,
    tokens::Token,
};
use crate::sandbox::{auth_response::AuthOutcome, clock, server::ConnectionReset, token};

pub(super) async fn issue_token(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    state.count(|counters| counters.token_requests += 1);
    let scripted = state.script().next();
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<ConnectionReset>().cloned();
    let body = read_body(body).await;
    // In a task of its own, which goes on when the caller hangs up and this future is dropped.
    let processed = tokio::spawn(async move { process(&state, scripted, &parts, body).await });
    let outcome = processed.await.unwrap_or_else(|_| AuthOutcome::respond(Refusal::internal()));
    match outcome {
        AuthOutcome::Respond(response) => response,
        AuthOutcome::Hang => std::future::pending().await,
        AuthOutcome::Reset => match connection {
            Some(connection) => connection.reset().await,
            None => Refusal::internal().into_response(),
        },
    }
}

async fn process(
    state: &State,
    scripted: Option<ScriptedResponse>,
    parts: &Parts,
    body: Result<Bytes, Refusal>,
) -> AuthOutcome {
    let scripted = scripted.unwrap_or_else(ScriptedResponse::token);
    clock::wait(state.settings.latency).await;
    clock::wait(scripted.delay).await;
    let mut seen = TokenRequest::default();
    let client = body.and_then(|body| identify(state, parts, &body, &mut seen));
    let response = match &scripted.kind {
        Kind::Hang | Kind::Reset => None,
        Kind::Fields | Kind::Body(_) => Some(scripted.render(Map::new())),
        Kind::Token => {
            let granted = client.and_then(|client| grant::decide(state, client, &seen.parameters));
            Some(match granted.and_then(|granted| issue(state, granted)) {
                Ok(fields) => scripted.render(fields),
                Err(refusal) => {
                    state.count(|counters| counters.token_requests_refused += 1);
                    refusal.into_response()
                }
            })
        }
    };
    seen.status = response.as_ref().map_or(StatusCode::OK, Response::status);
    state.record(seen);
    match response {
        None if scripted.kind == Kind::Hang => AuthOutcome::Hang,
        Some(response) if !scripted.is_lost => AuthOutcome::Respond(response),
        _ => AuthOutcome::Reset,
    }
}

/// Reads the request, and returns the client that sent it. Notes both in `seen`.
fn identify<'a>(
    state: &'a State,
    parts: &Parts,
    body: &[u8],
    seen: &mut TokenRequest,
) -> Result<Option<Authenticated<'a>>, Refusal> {
    seen.parameters = read_parameters(&parts.headers, &parts.uri, body, state.settings.takes_json)?;
    let client = authenticate(state, &parts.headers, &seen.parameters)?;
    seen.client_id = client.map(|(client, _)| client.id.clone());
    seen.method = client.map(|(_, method)| method);
    Ok(client)
}

/// Issues a token, or gives one again, and returns the fields of the response (RFC 6749, section
/// 5.1).
fn issue(state: &State, granted: Granted) -> Result<Map<String, Value>, Refusal> {
    let now = state.clock.now();
    let Granted { grant, refresh_token, issued_token_type } = granted;
    let mut tokens = state.tokens();
    let again = match state.settings.issuance {
        Issuance::Same => tokens.newest(&grant, now).cloned(),
        Issuance::Overlapping | Issuance::Exclusive => None,
    };
    let is_new = again.is_none();
    let token = if let Some(token) = again {
        token
    } else {
        let number = tokens.next_number();
        let expires_at = now.saturating_add(state.settings.token_lifetime.as_secs());
        let mut token = Token { secret: String::new(), number, grant, expires_at };
        token.secret = secret(state, &token, now)?;
        if state.settings.issuance == Issuance::Exclusive {
            tokens.kill_before(&token.grant.owner, number);
        }
        tokens.insert(token.clone());
        token
    };
    drop(tokens);
    if is_new {
        state.count(|counters| counters.tokens_issued += 1);
    }

    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("access_token", token.secret.into());
    set("token_type", "Bearer".into());
    set("expires_in", token.expires_at.saturating_sub(now).into());
    if let Some(scope) = token.grant.scope {
        set("scope", scope.into());
    }
    if let Some(refresh_token) = refresh_token {
        set("refresh_token", refresh_token.into());
    }
    if let Some(kind) = issued_token_type {
        set("issued_token_type", kind.into());
    }
    Ok(fields)
}

/// Returns the secret of a token: random, or a JWT by RFC 9068.
fn secret(state: &State, token: &Token, now: u64) -> Result<String, Refusal> {
    let id = token::random_id();
    if !state.settings.jwt_tokens {
        return Ok(format!("token-{}-{id}", token.number));
    }
    let claims = json!({
        "iss": state.settings.issuer,
        "sub": token.grant.subject,
        "client_id": token.grant.owner,
        "aud": token.grant.audience,
        "scope": token.grant.scope,
        "iat": now,
        "exp": token.expires_at,
        "jti": id,
    });
    let header = Header { typ: Some("at+jwt".into()), ..Header::new(Algorithm::HS256) };
    // Nobody verifies it: the resource knows its tokens. The key protects nothing.
    let key = EncodingKey::from_secret(token::random_id().as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).map_err(|_| Refusal::internal())
}
