//! What a client of the Send Payments API sends, and what it makes of the answer.

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error;
use serde_json::json;
use tower_reauth::sandbox::Sandbox;

use crate::exact;
pub(crate) use crate::exact::Answer;

impl Answer {
    /// The token of an answer to `POST /auth`.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, StatusCode::CREATED);
        self.json()["accessToken"].as_str().unwrap().to_owned()
    }

    /// Asserts the status and the documented error body.
    pub(crate) fn assert_problem(&self, status: StatusCode) {
        assert_eq!(self.status, status);
        let body = self.json();
        assert!(body["message"].is_string(), "{body}");
        let errors = body["errors"].as_array().unwrap();
        assert!(!errors.is_empty());
        assert!(
            errors.iter().all(|error| error["message"].is_string() && error["type"].is_string()),
            "{body}"
        );
    }
}

/// Sends over a new connection, without reading the answer's body.
pub(crate) async fn try_send(
    sandbox: &Sandbox,
    http2: bool,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<http::Response<Incoming>, Error> {
    exact::send(http2, method, format!("{}{path}", sandbox.base_url()), headers, body).await
}

pub(crate) async fn send(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    Answer::read(try_send(sandbox, false, method, path, headers, body).await.unwrap()).await
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn credentials() -> String {
    json!({"clientId": Sandbox::CLIENT_ID, "clientSecret": Sandbox::CLIENT_SECRET}).to_string()
}

pub(crate) async fn start() -> Sandbox {
    Sandbox::builder().start().await.unwrap()
}

/// `POST /auth` as it should be.
pub(crate) async fn authenticate(sandbox: &Sandbox) -> Answer {
    send(sandbox, Method::POST, "/auth", &[JSON], credentials()).await
}

pub(crate) async fn try_authenticate(sandbox: &Sandbox) -> Result<http::Response<Incoming>, Error> {
    try_send(sandbox, false, Method::POST, "/auth", &[JSON], credentials()).await
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) async fn create_account(
    sandbox: &Sandbox,
    token: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let authorization = bearer(token);
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    send(sandbox, Method::POST, "/accounts", &all, body.to_owned()).await
}

/// A request that needs a token: 404 when the token is good.
pub(crate) async fn use_token(sandbox: &Sandbox, token: &str) -> StatusCode {
    send(sandbox, Method::GET, "/accounts/none", &[("authorization", &bearer(token))], "")
        .await
        .status
}

/// Waits for what the sandbox is about to do.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
