//! A `TokenEndpoint` of one's own in less than 40 lines: OAuth 2's client credentials (RFC 6749,
//! section 4.4), whose old tokens live on while a new one is asked for.
//!
//! ```text
//! cargo run -p examples-stacks --example own_endpoint
//! ```
//!
//! It sends signed requests for four seconds to a server on this machine whose tokens live for two,
//! and prints how many were answered 200, how many tokens that took, and that a token is still good
//! after it was replaced.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example, with the clock of the machine"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, CredentialsSource, TokenCache, TokenEndpoint,
    client,
    endpoint::{HttpService, IssuedToken, Rotation, TokenClient},
};

/// The grant `client_credentials`, with the credentials in the form (section 2.3.1).
struct ClientCredentials<S, C> {
    client: TokenClient<S>,
    credentials: C,
    uri: Uri,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl<S: HttpService, C: CredentialsSource> TokenEndpoint for ClientCredentials<S, C> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let credentials = self.credentials.credentials().await.map_err(AuthError::credentials)?;
        let (id, secret) = (encoded(credentials.client_id()), encoded(credentials.expose_secret()));
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let request = Request::post(&self.uri)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.into())
            .map_err(AuthError::permanent)?;
        let answer: Answer = self.client.send(request, &credentials).await?.json()?;
        let token = IssuedToken::new(answer.access_token);
        Ok(match answer.expires_in {
            Some(seconds) => token.expires_in(Duration::from_secs(seconds)),
            None => token,
        })
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    fn uri(&self) -> Option<&Uri> {
        Some(&self.uri)
    }
}

/// As a value in a form (`application/x-www-form-urlencoded`).
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric().then(|| char::from(byte).to_string());
    value.bytes().map(|byte| plain(byte).unwrap_or_else(|| format!("%{byte:02X}"))).collect()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::default();
    let base_url = serve(server.clone()).await?;

    let endpoint = ClientCredentials {
        client: TokenClient::new(client::https()?),
        credentials: Credentials::new("reports", "a secret & more"),
        uri: format!("{base_url}/oauth/token").parse()?,
    };
    let auth = AuthLayer::new(TokenCache::new(endpoint));
    let client = auth.layer(client::https()?);

    let first = auth.cache().token().await?;
    auth.cache().refresh().await?;
    let request = Request::get(format!("{base_url}/report"))
        .header(header::AUTHORIZATION, first.header_value())
        .body(Full::<Bytes>::default())?;
    let replaced = client::https()?.request(request).await?.status();
    println!("with a token that was replaced: {replaced}");

    let (mut sent, mut succeeded) = (0_u32, 0_u32);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let request = Request::get(format!("{base_url}/report")).body(Full::<Bytes>::default())?;
        sent += 1;
        succeeded += u32::from(client.clone().oneshot(request).await?.status() == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let (tokens, refused) =
        (server.tokens.lock().unwrap().len(), auth.cache().counters().unauthorized);
    println!(
        "{sent} requests, {succeeded} answered 200, {refused} met a 401; {tokens} tokens of 2 s \
         were issued"
    );
    let as_promised = replaced == StatusCode::OK && succeeded == sent && (4..=8).contains(&tokens);
    if as_promised { Ok(()) } else { Err("not as promised".into()) }
}

/// An authorization server and its resource in one.
#[derive(Clone, Default)]
struct Server {
    /// When each token was issued.
    tokens: Arc<Mutex<Vec<Instant>>>,
}

async fn serve(server: Server) -> Result<String, BoxError> {
    let app = Router::new()
        .route("/oauth/token", post(issue))
        .route("/report", get(report))
        .with_state(server);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(base_url)
}

async fn issue(
    State(server): State<Server>,
    form: String,
) -> Result<Json<serde_json::Value>, StatusCode> {
    if form
        != "grant_type=client_credentials&client_id=reports&client_secret=a%20secret%20%26%20more"
    {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let mut tokens = server.tokens.lock().unwrap();
    tokens.push(Instant::now());
    let token = format!("token-{}", tokens.len() - 1);
    Ok(Json(serde_json::json!({"access_token": token, "token_type": "Bearer", "expires_in": 2})))
}

async fn report(State(server): State<Server>, headers: HeaderMap) -> StatusCode {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let number = token.and_then(|token| token.strip_prefix("Bearer token-")?.parse::<usize>().ok());
    let issued = number.and_then(|number| server.tokens.lock().unwrap().get(number).copied());
    match issued {
        Some(issued) if issued.elapsed() < Duration::from_secs(2) => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    }
}
