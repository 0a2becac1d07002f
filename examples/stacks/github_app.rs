//! Signs requests for one installation of a GitHub App: the key of the app signs a JWT, the JWT
//! asks for a token of the installation, and that token signs the requests.
//!
//! ```text
//! cargo run -p examples-stacks --example github_app
//! ```
//!
//! A server on this machine stands in for GitHub. It does not know a new token at its first use,
//! and revokes a token after 150 uses, which is after some three seconds. The example prints how
//! many requests were answered 200, and how many tokens and JWTs that took.

#![allow(clippy::unwrap_used, reason = "an example")]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, TokenCache, TokenEndpoint,
    assertion::SigningKey,
    client,
    endpoint::{HttpService, IssuedToken, Rotation, SelfSigned, TokenClient, parse_rfc3339},
    jsonwebtoken::{Algorithm, DecodingKey, Validation, decode},
};

/// Asks for the tokens of an installation, by a client whose requests the layer of the app signs.
struct Installation<S>(TokenClient<S>, Uri);

#[derive(Deserialize, Serialize)]
struct InstallationToken {
    token: String,
    expires_at: String,
}

impl<S: HttpService> TokenEndpoint for Installation<S> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let request = Request::post(&self.1).header("accept", "application/vnd.github+json");
        let request = request.body(Full::default()).map_err(AuthError::permanent)?;
        let response = self.0.exchange(request, &[]).await?;
        if !response.status().is_success() {
            return Err(response.refusal());
        }
        let InstallationToken { token, expires_at } = response.json()?;
        let end = parse_rfc3339(&expires_at);
        Ok(IssuedToken::new(token).expires_at(end).server_date(response.date()))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let key = SigningKey::rs256_pem(include_str!("../../tests/stacks/providers/rsa-key.pem"))?;
    let public = serde_json::from_str(&key.public_jwk().ok_or("the key has no public half")?)?;
    let github = GitHub { key: DecodingKey::from_jwk(&public)?, seen: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let api = format!("http://{}", listener.local_addr()?);
    let routes = Router::new()
        .route("/app/installations/42/access_tokens", routing::post(issue))
        .route("/installation/repositories", routing::get(repositories))
        .with_state(github.clone());
    tokio::spawn(async { axum::serve(listener, routes).await });

    let app = SelfSigned::new(key).claim("iss", "my-app").skew(Duration::from_secs(60));
    let as_app = AuthLayer::new(TokenCache::new(app)).allow_origin(&api)?;
    let as_app = TokenClient::new(as_app.layer(client::https()?));
    let uri = format!("{api}/app/installations/42/access_tokens").parse()?;
    let client = AuthLayer::new(TokenCache::new(Installation(as_app, uri))).allow_origin(&api)?;
    let client = client.layer(client::https::<Full<Bytes>>()?);

    let mut succeeded = 0;
    for _ in 0..200 {
        let request = Request::get(format!("{api}/installation/repositories"));
        let response = client.clone().oneshot(request.body(Full::default())?).await?;
        succeeded += i32::from(response.status() == StatusCode::OK);
        sleep(Duration::from_millis(20)).await;
    }
    let (jwts, uses) = &*github.seen.lock().unwrap();
    let (tokens, jwts) = (uses.len(), jwts.len());
    println!("200 requests, {succeeded} answered 200; {tokens} tokens, {jwts} JWT to ask for them");
    if (succeeded, tokens, jwts) != (200, 2, 1) {
        return Err("not as promised".into());
    }
    println!("As promised: the revoked token was replaced, and its request was sent again.");
    Ok(())
}

#[derive(Clone)]
struct GitHub {
    key: DecodingKey,
    /// The JWTs of the app, and how often each token was used.
    seen: Arc<Mutex<(HashSet<String>, Vec<u32>)>>,
}

async fn issue(
    State(github): State<GitHub>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<InstallationToken>), StatusCode> {
    let jwt = bearer(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_issuer(&["my-app"]);
    decode::<serde_json::Value>(jwt, &github.key, &rules).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let (jwts, uses) = &mut *github.seen.lock().unwrap();
    jwts.insert(jwt.to_owned());
    uses.push(0);
    let token = format!("ghs_{}", uses.len() - 1);
    let expires_at = "2099-12-31T23:59:59Z".to_owned();
    Ok((StatusCode::CREATED, Json(InstallationToken { token, expires_at })))
}

async fn repositories(State(github): State<GitHub>, headers: HeaderMap) -> StatusCode {
    let token = bearer(&headers).and_then(|token| token.strip_prefix("ghs_")?.parse().ok());
    let (_, uses) = &mut *github.seen.lock().unwrap();
    let Some(uses) = token.and_then(|token: usize| uses.get_mut(token)) else {
        return StatusCode::UNAUTHORIZED;
    };
    *uses += 1;
    if (2..=150).contains(uses) { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
