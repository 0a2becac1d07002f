//! Logs in at Vault by `AppRole`, and signs requests with the token of the login.
//!
//! ```text
//! cargo run -p examples-stacks --example vault
//! ```
//!
//! A server on this machine stands in for Vault. A lease lasts for two seconds. The example reads a
//! secret for three seconds, and has Vault revoke the token after one. Vault refuses a dead token
//! by a 403, and by the same status a path that the role may not read. The example prints how many
//! requests were answered 200, how many logins that took, and what became of such a path.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example, with the clock of the machine"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, TokenCache, client,
    endpoint::{
        OAuth2,
        oauth2::{ClientAuth, ResponseFields},
    },
    refusal,
};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let vault = Vault::default();
    let routes = Router::new()
        .route("/v1/auth/approle/login", routing::post(login))
        .route("/v1/secret/data/db", routing::get(secret))
        .fallback(async || StatusCode::FORBIDDEN)
        .with_state(vault.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, routes).await });

    let role = Credentials::new("the-role-id", "the-secret-id");
    let uri = format!("{base_url}/v1/auth/approle/login");
    let fields = ResponseFields::default()
        .access_token("/auth/client_token")
        .expires_in("/auth/lease_duration");
    let endpoint = OAuth2::client_credentials(uri, client::https()?, role.clone())
        .client_auth(ClientAuth::None)
        .param("role_id", role.client_id())
        .param("secret_id", role.expose_secret())
        .json_request()
        .fields(fields)
        .for_api(&base_url)
        .build()?;
    // The token stands in its header without a scheme.
    let auth = AuthLayer::new(TokenCache::builder(endpoint).scheme("").build()?);
    let auth = auth.header_name(TOKEN).refusals(refusal::statuses([403])?);
    let client = auth.layer(client::https()?);
    let read = async |path: &str| {
        let request = Request::get(format!("{base_url}{path}")).body(Full::<Bytes>::default())?;
        Ok::<_, BoxError>(client.clone().oneshot(request).await?.status())
    };

    let (mut sent, mut succeeded, mut revoked) = (0_u32, 0_u32, false);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        if !revoked && started.elapsed() > Duration::from_secs(1) {
            vault.0.lock().unwrap().fill(None);
            revoked = true;
        }
        sent += 1;
        succeeded += u32::from(read("/v1/secret/data/db").await? == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let logins = vault.0.lock().unwrap().len();
    let status = read("/v1/sys/raw").await?;
    let more = vault.0.lock().unwrap().len() - logins;
    println!(
        "{sent} requests, {succeeded} answered 200; {logins} logins; a path that the role may not \
         read: {status}, logins for it: {more}"
    );
    // A renewal may fall due while the layer asks again with the same token.
    let as_promised = succeeded == sent && (2..=4).contains(&logins) && more <= 2;
    if !as_promised || status != 403 {
        return Err("not as promised".into());
    }
    println!("As promised: a dead token was replaced, and the 403 of a path was handed back.");
    Ok(())
}

/// When each token was issued, or `None` for one that was revoked.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<Vec<Option<Instant>>>>);

async fn login(
    State(vault): State<Vault>,
    Json(role): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if role["role_id"] != "the-role-id" || role["secret_id"] != "the-secret-id" {
        return Err(StatusCode::BAD_REQUEST);
    }
    let mut tokens = vault.0.lock().unwrap();
    tokens.push(Some(Instant::now()));
    let token = format!("hvs.{}", tokens.len() - 1);
    Ok(Json(json!({"auth": {"client_token": token, "lease_duration": 2, "renewable": false}})))
}

async fn secret(State(vault): State<Vault>, headers: HeaderMap) -> StatusCode {
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    let number = token.and_then(|token| token.strip_prefix("hvs.")?.parse::<usize>().ok());
    match number.and_then(|number| vault.0.lock().unwrap().get(number).copied().flatten()) {
        Some(issued) if issued.elapsed() < Duration::from_secs(2) => StatusCode::OK,
        _ => StatusCode::FORBIDDEN,
    }
}
