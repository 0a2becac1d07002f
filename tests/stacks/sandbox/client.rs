//! A client that sends exactly what it is told.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tower_reauth::sandbox::Sandbox;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

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
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http2_only(http2)
        .build_http();
    let mut request =
        Request::builder().method(method).uri(format!("{}{path}", sandbox.base_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.request(request.body(Full::new(body.into())).unwrap()).await
}

pub(crate) async fn send(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let response = try_send(sandbox, false, method, path, headers, body).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
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
