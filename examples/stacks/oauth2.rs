//! Signs the requests to an API with the tokens of OAuth 2's client credentials (RFC 6749, section
//! 4.4).
//!
//! ```text
//! cargo run -p examples-stacks --example oauth2
//! ```
//!
//! An authorization server and an API run on two ports of this machine. Tokens live for two
//! seconds. The example sends signed requests for four seconds. It prints how many were answered
//! 200, how many tokens that took, what the server granted, and that the token does not go to the
//! authorization server.

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
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, Error, client,
    endpoint::{OAuth2, oauth2::Granted},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::default();
    let login = serve(Router::new().route("/oauth/token", post(issue)), &server).await?;
    let api = serve(Router::new().route("/orders", get(orders)), &server).await?;

    let credentials = Credentials::new("shop/1 a", "a secret & more");
    let endpoint =
        OAuth2::client_credentials(format!("{login}/oauth/token"), client::https()?, credentials)
            .scope("orders.read orders.write")
            .audience("https://api.example.com")
            .for_api(&api)
            .build()?;
    let auth = AuthLayer::oauth2(endpoint);
    let client = auth.layer(client::https()?);

    let (mut sent, mut succeeded) = (0_u32, 0_u32);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let request = Request::get(format!("{api}/orders")).body(Full::<Bytes>::default())?;
        sent += 1;
        succeeded += u32::from(client.clone().oneshot(request).await?.status() == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let issued = server.tokens.lock().unwrap().len();
    println!("{sent} requests, {succeeded} answered 200; {issued} tokens of 2 s were issued");

    let token = auth.cache().token().await?;
    let granted = token.get::<Granted>().ok_or("the response had more than a token")?;
    let scope = granted.scope().unwrap_or("what was asked for");
    println!("granted: {scope}, in {}", granted.extra("region").unwrap_or("no region"));

    let request = Request::get(format!("{login}/userinfo")).body(Full::<Bytes>::default())?;
    let refused = client.clone().oneshot(request).await;
    let is_refused =
        matches!(&refused, Err(Error::Auth { error, .. }) if error.is_refused_origin());
    println!("a request to the authorization server is refused: {is_refused}");

    let as_promised = succeeded == sent && (2..=6).contains(&issued) && is_refused;
    if !as_promised || scope != "orders.read" {
        return Err("not as promised".into());
    }
    println!("As promised: each token was renewed in time, and went to the API alone.");
    Ok(())
}

/// What the authorization server and the API know.
#[derive(Clone, Default)]
struct Server {
    /// When each token was issued.
    tokens: Arc<Mutex<Vec<Instant>>>,
}

async fn serve(app: Router<Server>, server: &Server) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let app = app.with_state(server.clone());
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(base_url)
}

/// The client id and the secret in HTTP Basic: form-encoded, and then in base64.
const BASIC: &str = "Basic c2hvcCUyRjErYTphK3NlY3JldCslMjYrbW9yZQ==";

async fn issue(
    State(server): State<Server>,
    headers: HeaderMap,
    form: String,
) -> (StatusCode, Json<Value>) {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != BASIC) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"})));
    }
    let expected = "grant_type=client_credentials&scope=orders.read+orders.write\
                    &audience=https%3A%2F%2Fapi.example.com";
    if form != expected {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"})));
    }
    let mut tokens = server.tokens.lock().unwrap();
    tokens.push(Instant::now());
    // Some servers write the lifetime as a string, and spell the type as they like.
    let response = json!({
        "access_token": format!("token-{}", tokens.len() - 1),
        "token_type": "bearer",
        "expires_in": "2",
        "scope": "orders.read",
        "region": "eu7",
    });
    (StatusCode::OK, Json(response))
}

async fn orders(State(server): State<Server>, headers: HeaderMap) -> StatusCode {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let number = token.and_then(|token| token.strip_prefix("Bearer token-")?.parse::<usize>().ok());
    let issued = number.and_then(|number| server.tokens.lock().unwrap().get(number).copied());
    match issued {
        Some(issued) if issued.elapsed() < Duration::from_secs(2) => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    }
}
