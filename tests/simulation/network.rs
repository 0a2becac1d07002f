//! hyper on the simulated network: the servers, and the client's Tower service.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tower::Service;
use tower_reauth::BoxError;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{Fault, World, now};

/// The path that refuses every token.
pub(crate) const FORBIDDEN: &str = "/forbidden";

// ---- The servers: the endpoint and a resource in one.

pub(crate) async fn serve(world: Arc<World>) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("0.0.0.0:80").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service =
                hyper::service::service_fn(move |request| answer(Arc::clone(&world), request));
            let mut server = hyper::server::conn::http1::Builder::new();
            // An error of the service ends the connection without an answer.
            let _ = server
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    world: Arc<World>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    body.collect().await.map_err(io::Error::other)?;
    let date = httpdate::fmt_http_date(crate::wall(world.skew));
    let response = Response::builder().header(header::DATE, date);
    if parts.uri.path() != "/auth" {
        sleep(world.draw_check()).await;
        let accepted = parts.uri.path() != FORBIDDEN
            && world.accepts(number(parts.headers.get(header::AUTHORIZATION)));
        let status = if accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        return response.status(status).body(Full::default()).map_err(io::Error::other);
    }
    let (fault, thinks) = world.draw_fault();
    sleep(thinks).await;
    let (status, body) = match fault {
        Fault::StatusBefore(status) => (status, Bytes::new()),
        Fault::ResetBefore => return Err(io::Error::other("reset")),
        Fault::HangBefore => std::future::pending().await,
        Fault::PageBefore => (200, Bytes::from_static(b"<html>")),
        _ => {
            let (token, end) = world.issue();
            match fault {
                Fault::ResetAfter => return Err(io::Error::other("reset")),
                Fault::HangAfter => std::future::pending().await,
                Fault::StatusAfter(status) => (status, Bytes::new()),
                Fault::EmptyAfter => (201, Bytes::new()),
                Fault::GarbageAfter => (201, Bytes::from_static(b"<html>")),
                _ => {
                    let end = jiff::Timestamp::try_from(end).map_err(io::Error::other)?;
                    (
                        201,
                        format!(r#"{{"accessToken": "token.{token}", "expiresAt": "{end}"}}"#)
                            .into(),
                    )
                }
            }
        }
    };
    response.status(status).body(Full::new(body)).map_err(io::Error::other)
}

/// The number in `Bearer token.N`.
fn number(authorization: Option<&http::HeaderValue>) -> Option<usize> {
    authorization?.to_str().ok()?.strip_prefix("Bearer token.")?.parse().ok()
}

// ---- The client.

/// One connection per request; a resource has three seconds to answer. The token client's requests
/// and the signed ones go through the same kind of service, and are told apart by their path.
#[derive(Clone)]
pub(crate) struct Http(Arc<World>);

impl Http {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self(world)
    }
}

impl Service<Request<Full<Bytes>>> for Http {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let world = Arc::clone(&self.0);
        if request.uri().path() != "/auth" {
            let token = number(request.headers().get(header::AUTHORIZATION));
            world.sends(token);
            let (sent, is_forbidden) = (now(), request.uri().path() == FORBIDDEN);
            return Box::pin(async move {
                let response = timeout(Duration::from_secs(3), exchange(request)).await??;
                if response.status() == StatusCode::UNAUTHORIZED && !is_forbidden {
                    world.is_refused();
                } else if response.status().is_success() {
                    world.is_accepted(sent);
                }
                Ok(response)
            });
        }
        Box::pin(async move {
            let on_the_wire = world.asks_for_a_token();
            let response = exchange(request).await?;
            let body = response
                .body()
                .clone()
                .collect()
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            let answer: Option<serde_json::Value> = serde_json::from_slice(&body.to_bytes()).ok();
            let token = answer.as_ref().and_then(|answer| answer["accessToken"].as_str());
            if let Some(number) = token.and_then(|token| token.strip_prefix("token.")) {
                world.receives(number.parse()?);
            }
            drop(on_the_wire);
            Ok(response)
        })
    }
}

async fn exchange(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let stream = TcpStream::connect((host, 80)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, Full::new(body)))
}
