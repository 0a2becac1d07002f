//! A `CredentialsSource` that reads client id and secret from a Vault server (KV version 2), here a
//! stand-in on this machine. The vault holds an outdated secret for three seconds; once it is
//! corrected, calls succeed without a restart.
//!
//! ```text
//! cargo run -p examples-stacks --example vault_credentials
//! ```
//!
//! It prints the error of the first call, how long after the correction calls succeed, and how many
//! calls failed before, at the cost of how many requests to the token endpoint.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example, with the clock of the machine"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, CredentialsSource, Error,
    client::{self, HttpsClient},
    sandbox::Sandbox,
};

/// Asked each time a token is requested, so no cache of its own.
struct Vault {
    client: HttpsClient<Full<Bytes>>,
    secret: Uri,
    /// Marked sensitive.
    token: HeaderValue,
}

impl Vault {
    fn new(secret: Uri, token: &str) -> Result<Self, BoxError> {
        let mut token = HeaderValue::from_str(token)?;
        token.set_sensitive(true);
        Ok(Self { client: client::https()?, secret, token })
    }
}

/// Vault wraps the secret's `data` in the `data` of its answer.
#[derive(Deserialize)]
struct Wrapped<T> {
    data: T,
}

#[derive(Deserialize)]
struct ClientSecret {
    client_id: String,
    client_secret: String,
}

impl CredentialsSource for Vault {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        let request =
            Request::get(&self.secret).header("x-vault-token", &self.token).body(Full::default())?;
        let response = self.client.request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the vault answered {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await?.to_bytes();
        // serde_json's own error would quote what it has read.
        let answer: Wrapped<Wrapped<ClientSecret>> = serde_json::from_slice(&body)
            .map_err(|_| "the vault's answer holds no client_id and client_secret")?;
        let ClientSecret { client_id, client_secret } = answer.data.data;
        Ok(Credentials::new(client_id, client_secret))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The provider has rotated the secret; the vault has not been told yet.
    let sandbox = Sandbox::builder().client(Sandbox::CLIENT_ID, "the-new-secret").start().await?;
    let stored = Arc::new(Mutex::new("the-old-secret"));
    let secret = serve_vault(Arc::clone(&stored)).await?;

    let auth = AuthLayer::send_payments(sandbox.base_url(), Vault::new(secret, "vault-token")?)?;
    let client = auth.layer(client::https::<Full<Bytes>>()?);
    let create = async || {
        let request = Request::post(format!("{}/accounts", sandbox.base_url()))
            .body(Full::from(r#"{"name": "Ada"}"#))?;
        Ok::<_, BoxError>(client.clone().oneshot(request).await)
    };

    let first = match create().await? {
        Err(Error::Auth { error, .. }) if error.is_rejected() => error,
        other => return Err(format!("a refusal of the credentials was expected: {other:?}").into()),
    };
    println!("first call: {first}");
    let shown = format!("{first} {first:?}");
    if shown.contains("the-old-secret") || shown.contains("vault-token") {
        return Err("the error holds a secret".into());
    }

    // Calls get the stored error at once, and the endpoint is left alone for pauses that double.
    // Meanwhile the source is asked once a second whether the credentials have changed.
    let (mut failed, mut corrected) = (1, None);
    let started = Instant::now();
    let status = loop {
        match create().await? {
            Ok(response) => break response.status(),
            Err(Error::Auth { error, .. }) if error.is_rejected() && failed < 500 => failed += 1,
            Err(error) => return Err(error.into()),
        }
        if corrected.is_none() && started.elapsed() > Duration::from_secs(3) {
            *stored.lock().unwrap() = "the-new-secret";
            corrected = Some(Instant::now());
        }
        sleep(Duration::from_millis(50)).await;
    };
    let waited = corrected.ok_or("a call succeeded with the old secret")?.elapsed();
    println!("{:.1} s after the vault was corrected: {status}", waited.as_secs_f64());
    let counters = sandbox.counters();
    println!("{failed} calls failed, at the cost of {} POST /auth", counters.auth_refused);
    sandbox.shutdown().await;

    let as_promised = status == StatusCode::CREATED
        && counters.auth_refused <= 5
        && counters.auth_requests == counters.auth_refused + 1;
    if !as_promised {
        return Err(format!("not as promised: {counters:#?}").into());
    }
    println!("As promised: the corrected secret was found without a restart.");
    Ok(())
}

/// Vault's `GET /v1/secret/data/send-payments`, and its URL.
async fn serve_vault(stored: Arc<Mutex<&'static str>>) -> Result<Uri, BoxError> {
    let app = Router::new().route("/v1/secret/data/send-payments", get(read)).with_state(stored);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/secret/data/send-payments", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(url.parse()?)
}

async fn read(
    State(stored): State<Arc<Mutex<&'static str>>>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, StatusCode> {
    if headers.get("x-vault-token").is_none_or(|token| token != "vault-token") {
        return Err(StatusCode::FORBIDDEN);
    }
    let secret = *stored.lock().unwrap();
    let data = serde_json::json!({"client_id": Sandbox::CLIENT_ID, "client_secret": secret});
    Ok(Json(serde_json::json!({"data": {"data": data, "metadata": {"version": 1}}})))
}
