//! A `TokenEndpoint` of one's own, for an API that speaks no OAuth 2: its token is a session, which
//! is prolonged as long as it can be.
//!
//! ```text
//! cargo run -p examples-stacks --example own_endpoint
//! ```
//!
//! It sends signed requests for four seconds to a server on this machine. A session there lasts for
//! a second, may be prolonged, and ends after three seconds. The example prints how many requests
//! were answered 200, and how many logins and prolongations that took.

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
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AccessToken, AuthError, AuthLayer, BoxError, Credentials, CredentialsSource, TokenCache,
    TokenEndpoint, client,
    endpoint::{HttpService, IssuedToken, Rotation, TokenClient, TokenResponse, Trigger},
};

/// The header that carries a session.
const SESSION: HeaderName = HeaderName::from_static("x-session");

/// Logs in, and prolongs the session that it got.
struct Sessions<S, C> {
    client: TokenClient<S>,
    credentials: C,
    login: Uri,
    prolong: Uri,
}

#[derive(Deserialize)]
struct Session {
    session: String,
    lasts_ms: u64,
}

fn token(response: &TokenResponse) -> Result<IssuedToken, AuthError> {
    let Session { session, lasts_ms } = response.json()?;
    Ok(IssuedToken::new(session).expires_in(Duration::from_millis(lasts_ms)))
}

impl<S: HttpService, C: CredentialsSource> TokenEndpoint for Sessions<S, C> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let credentials = self.credentials.credentials().await.map_err(AuthError::credentials)?;
        let (user, key) = (credentials.client_id(), credentials.expose_secret());
        let request = Request::post(&self.login)
            .header(header::CONTENT_TYPE, "application/json")
            .body(json!({"user": user, "key": key}).to_string().into())
            .map_err(AuthError::permanent)?;
        token(&self.client.send(request, &credentials).await?)
    }

    async fn reissue(
        &self,
        trigger: Trigger,
        previous: &AccessToken,
    ) -> Result<IssuedToken, AuthError> {
        if trigger == Trigger::Refused || !previous.is_usable() {
            return self.issue().await;
        }
        let request = Request::post(&self.prolong)
            .header(SESSION, previous.header_value())
            .body(Full::default())
            .map_err(AuthError::permanent)?;
        let response = self.client.exchange(request, &[previous.expose_secret()]).await?;
        match response.status() {
            StatusCode::OK => token(&response),
            // It can't be prolonged any further.
            StatusCode::GONE => self.issue().await,
            _ => Err(response.refusal()),
        }
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    fn uri(&self) -> Option<&Uri> {
        Some(&self.login)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::default();
    let base_url = serve(server.clone()).await?;

    let endpoint = Sessions {
        client: TokenClient::new(client::https()?),
        credentials: Credentials::new("reports", "a secret"),
        login: format!("{base_url}/login").parse()?,
        prolong: format!("{base_url}/prolong").parse()?,
    };
    // The session stands in its header without a scheme.
    let cache = TokenCache::builder(endpoint).scheme("").build()?;
    let client = AuthLayer::new(cache.clone()).header_name(SESSION).layer(client::https()?);

    let (mut sent, mut succeeded) = (0_u32, 0_u32);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let request = Request::get(format!("{base_url}/report")).body(Full::<Bytes>::default())?;
        sent += 1;
        succeeded += u32::from(client.clone().oneshot(request).await?.status() == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let logins = server.sessions.lock().unwrap().len();
    let prolonged = cache.counters().same_token_again;
    println!(
        "{sent} requests, {succeeded} answered 200; {logins} logins, {prolonged} prolongations"
    );
    let as_promised = succeeded == sent && logins == 2 && prolonged >= 3;
    if !as_promised {
        return Err("not as promised".into());
    }
    println!("As promised: sessions were prolonged while they lived, and no request failed.");
    Ok(())
}

/// The API.
#[derive(Clone, Default)]
struct Server {
    /// When each session began, and when it ends.
    sessions: Arc<Mutex<Vec<(Instant, Instant)>>>,
}

const LEASE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3);

async fn serve(server: Server) -> Result<String, BoxError> {
    let app = Router::new()
        .route("/login", post(login))
        .route("/prolong", post(prolong))
        .route("/report", get(report))
        .with_state(server);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(base_url)
}

fn answer(number: usize, lasts: Duration) -> Json<Value> {
    let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or_default();
    Json(json!({"session": format!("session-{number}"), "lasts_ms": lasts_ms}))
}

async fn login(
    State(server): State<Server>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if body != json!({"user": "reports", "key": "a secret"}) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let (mut sessions, now) = (server.sessions.lock().unwrap(), Instant::now());
    sessions.push((now, now + LEASE));
    Ok(answer(sessions.len() - 1, LEASE))
}

async fn prolong(
    State(server): State<Server>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let (mut sessions, now) = (server.sessions.lock().unwrap(), Instant::now());
    let number = number(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let (began, ends) = sessions.get_mut(number).ok_or(StatusCode::UNAUTHORIZED)?;
    if now + LEASE > *began + LONGEST {
        return Err(StatusCode::GONE);
    }
    *ends = now + LEASE;
    Ok(answer(number, LEASE))
}

async fn report(State(server): State<Server>, headers: HeaderMap) -> StatusCode {
    let sessions = server.sessions.lock().unwrap();
    let session = number(&headers).and_then(|number| sessions.get(number));
    match session {
        Some((_, ends)) if Instant::now() < *ends => StatusCode::OK,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// Returns the number of the session in the headers.
fn number(headers: &HeaderMap) -> Option<usize> {
    headers.get(SESSION)?.to_str().ok()?.strip_prefix("session-")?.parse().ok()
}
