//! An axum backend whose handlers call the API with the signed client in their state, and turn its
//! errors into answers that tell the caller whether to try again, and nothing else.
//!
//! ```text
//! cargo run -p examples-stacks --example axum_backend
//! cargo run -p examples-stacks --example axum_backend -- --listen 127.0.0.1:3000
//! ```
//!
//! It calls itself a few times, with a token endpoint that fails in the end, and prints the
//! answers. With `--listen` it serves until Ctrl-C instead.

use std::{iter, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    Auth, AuthError, AuthLayer, BoxError, Credentials, Error,
    client::{self, HttpsClient},
    sandbox::{AuthFault, Sandbox},
};

#[derive(Parser)]
#[command(about = "A backend that calls an API with a signed client")]
struct Options {
    /// Serves there until Ctrl-C.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

#[derive(Clone)]
struct Api {
    base_url: String,
    client: Auth<HttpsClient<Full<Bytes>>>,
}

#[derive(Deserialize, Serialize)]
struct Person {
    name: String,
}

fn app(api: Api) -> Router {
    Router::new().route("/people", post(create)).route("/people/{id}", get(show)).with_state(api)
}

async fn create(
    State(api): State<Api>,
    Json(person): Json<Person>,
) -> Result<impl IntoResponse, ApiError> {
    let request = Request::post(format!("{}/accounts", api.base_url))
        .header(header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&person)?.into())?;
    Ok((StatusCode::CREATED, Json(api.call(request).await?)))
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    // It becomes part of a URL that is called with our rights: no slashes, no dots, no percent
    // signs.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(ApiError::NotFound);
    }
    let request = Request::get(format!("{}/accounts/{id}", api.base_url)).body(Full::default())?;
    Ok(Json(api.call(request).await?))
}

impl Api {
    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Value, ApiError> {
        let response = self.client.clone().oneshot(request).await?;
        // There was a token, it was refused, and its renewal failed.
        if let Some(error) = response.extensions().get::<AuthError>() {
            return Err(error.clone().into());
        }
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => return Err(ApiError::NotFound),
            status => {
                return Err(ApiError::BadGateway(format!("the API answered {status}").into()));
            }
        }
        let body = Limited::new(response.into_body(), 1024 * 1024)
            .collect()
            .await
            .map_err(ApiError::BadGateway)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}

enum ApiError {
    NotFound,
    /// Trying again later may help.
    Unavailable(BoxError, Option<Duration>),
    /// It may not: our configuration, or the API.
    BadGateway(BoxError),
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let retry_after = error.retry_after();
        if error.is_transient() {
            Self::Unavailable(error.into(), retry_after)
        } else {
            Self::BadGateway(error.into())
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Auth { error, .. } => error.into(),
            Error::Inner { error, .. } => Self::BadGateway(error),
        }
    }
}

impl From<http::Error> for ApiError {
    fn from(error: http::Error) -> Self {
        Self::BadGateway(error.into())
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::BadGateway(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The cause is for the log. The caller learns the status, and never our 401: its own
        // credentials are fine.
        let (error, status, retry_after) = match self {
            Self::NotFound => return StatusCode::NOT_FOUND.into_response(),
            Self::Unavailable(error, retry_after) => {
                (error, StatusCode::SERVICE_UNAVAILABLE, retry_after)
            }
            Self::BadGateway(error) => (error, StatusCode::BAD_GATEWAY, None),
        };
        eprintln!("log: {status}: {}", chain(&*error));
        let mut response = status.into_response();
        if let Some(pause) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs()));
        }
        response
    }
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let sandbox = Sandbox::builder().start().await?;
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let auth = AuthLayer::send_payments(sandbox.base_url(), credentials)?;
    let app = app(Api { base_url: sandbox.base_url(), client: auth.layer(client::https()?) });

    let address = options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    if options.listen.is_some() {
        println!(
            "try: curl {url}/people -H 'content-type: application/json' -d '{{\"name\": \"Ada\"}}'"
        );
        let stop = async { _ = tokio::signal::ctrl_c().await };
        return Ok(axum::serve(listener, app).with_graceful_shutdown(stop).await?);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
    let server = tokio::spawn(server.into_future());
    let outcome = demonstrate(&url, &sandbox).await;
    drop(stop);
    server.await??;
    outcome
}

async fn demonstrate(url: &str, sandbox: &Sandbox) -> Result<(), BoxError> {
    let client = client::https::<Full<Bytes>>()?;
    let call = async |request: Request<Full<Bytes>>, expected: u16| {
        let line = format!("{} {}", request.method(), request.uri().path());
        let response = client.request(request).await?;
        let status = response.status();
        let retry_after =
            response.headers().get(header::RETRY_AFTER).map(|pause| pause.to_str()).transpose()?;
        let pause =
            retry_after.map(|seconds| format!("retry after {seconds} s")).unwrap_or_default();
        let body = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
        println!("{line}: {status} {body}{pause}");
        if status.as_u16() == expected {
            Ok(body)
        } else {
            Err(BoxError::from(format!("not {expected}")))
        }
    };
    let ada = Request::post(format!("{url}/people"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(r#"{"name": "Ada"}"#))?;
    let created: Value = serde_json::from_str(&call(ada, 201).await?)?;
    let id = created["id"].as_str().ok_or("the answer has no id")?;
    let get = |id| Request::get(format!("{url}/people/{id}")).body(Full::default());
    call(get(id)?, 200).await?;
    call(get("nobody")?, 404).await?;
    call(get("..%2Fauth")?, 404).await?;

    println!("the token is revoked:");
    sandbox.revoke(Sandbox::CLIENT_ID);
    call(get(id)?, 200).await?;

    println!("the token is revoked, and the token endpoint is overloaded:");
    let (status, retry_after) = (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(60)));
    sandbox.fail_every_auth(Some(AuthFault::Status { status, retry_after }));
    sandbox.revoke(Sandbox::CLIENT_ID);
    call(get(id)?, 503).await?;
    call(get(id)?, 503).await?;
    println!("As promised: callers see 200 after a revocation, and 503 while no token can be had.");
    Ok(())
}
