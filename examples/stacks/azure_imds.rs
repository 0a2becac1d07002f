//! Signs requests with the managed identity of a machine in Azure. The tokens come from its
//! metadata service (IMDS), which gives the same one until shortly before its end.
//!
//! ```text
//! cargo run -p examples-stacks --example azure_imds
//! ```
//!
//! A server on this machine stands in for IMDS and the API. IMDS is still starting when it is asked
//! first. Its token lives for six seconds, of which two have passed by then. So `expires_in`,
//! which counts from the issuance, would be wrong, and `expires_on` is read. The example sends
//! requests for five seconds, and prints how many were answered 200, by how many tokens, and how
//! often the API refused one.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example, with the clock of the machine"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Json, Router, extract::State, routing};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, TokenCache, TokenEndpoint, client,
    endpoint::{HttpService, IssuedToken, Rotation, TokenClient},
};

/// In Azure the address begins with `http://169.254.169.254/`. The client then needs
/// `TokenClient::allow_plain_http`, which a server on this machine does not.
struct Imds<S> {
    client: TokenClient<S>,
    uri: Uri,
}

#[derive(Deserialize)]
struct ImdsToken {
    access_token: String,
    /// In seconds since 1970.
    expires_on: String,
}

impl<S: HttpService> TokenEndpoint for Imds<S> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let request = Request::get(&self.uri).header("metadata", "true").body(Full::default());
        let request = request.map_err(AuthError::permanent)?;
        let response = self.client.exchange(request, &[]).await?;
        if !response.status().is_success() {
            return Err(response.refusal());
        }
        let token: ImdsToken = response.json()?;
        let seconds = token.expires_on.parse().map_err(AuthError::invalid_response)?;
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Ok(IssuedToken::new(token.access_token).expires_at(end).server_date(response.date()))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let seen = Seen { tokens: vec![SystemTime::now() + Duration::from_secs(4)], ..Seen::default() };
    let seen = Arc::new(Mutex::new(seen));
    let routes = Router::new()
        .route("/metadata/identity/oauth2/token", routing::get(issue))
        .route("/secrets", routing::get(secrets))
        .with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, routes).await });

    let query = "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    let uri = format!("{base_url}/metadata/identity/oauth2/token?{query}").parse()?;
    let imds = Imds { client: TokenClient::new(client::https()?), uri };
    let client = AuthLayer::new(TokenCache::new(imds)).allow_origin(&base_url)?;
    let client = client.layer(client::https()?);

    let (mut sent, mut succeeded) = (0_u32, 0_u32);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let request = Request::get(format!("{base_url}/secrets")).body(Full::<Bytes>::default())?;
        sent += 1;
        succeeded += u32::from(client.clone().oneshot(request).await?.status() == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let seen = seen.lock().unwrap();
    let (tokens, refused) = (seen.tokens.len(), seen.refused);
    println!("{sent} requests, {succeeded} answered 200; {tokens} tokens, {refused} refusals");
    let as_promised = succeeded == sent && (tokens, refused) == (2, 0);
    if !as_promised {
        return Err("not as promised".into());
    }
    println!(
        "As promised: the token of the machine was replaced before its end, and none was refused."
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    is_up: bool,
    /// When each token ends.
    tokens: Vec<SystemTime>,
    refused: u32,
}

async fn issue(
    State(seen): State<Arc<Mutex<Seen>>>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    if headers.get("metadata").is_none_or(|value| value != "true") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let (mut seen, now) = (seen.lock().unwrap(), SystemTime::now());
    if !std::mem::replace(&mut seen.is_up, true) {
        return Err(StatusCode::GONE);
    }
    if seen.tokens.last().is_none_or(|end| *end < now + Duration::from_secs(1)) {
        seen.tokens.push(now + Duration::from_secs(6));
    }
    let end = seen.tokens[seen.tokens.len() - 1].duration_since(UNIX_EPOCH).unwrap();
    Ok(Json(json!({
        "access_token": format!("token-{}", seen.tokens.len() - 1),
        "expires_in": "6",
        "expires_on": end.as_secs().to_string(),
    })))
}

async fn secrets(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap) -> StatusCode {
    let mut seen = seen.lock().unwrap();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let number = token.and_then(|token| token.strip_prefix("Bearer token-")?.parse::<usize>().ok());
    if number.and_then(|it| seen.tokens.get(it)).is_some_and(|end| SystemTime::now() < *end) {
        return StatusCode::OK;
    }
    seen.refused += 1;
    StatusCode::UNAUTHORIZED
}
