//! `RefusalLayer` over hyper's bodies, on real sockets.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, Method, header},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use support::{Endpoint, known_at_once};
use tokio::{net::TcpListener, time::timeout};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthLayer, TokenCache,
    refusal::{self, Classify, Mark, Peeked, RefusalLayer, Unauthorized},
};

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

fn is_old(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|token| token == "Bearer token-1")
}

/// Answers 200 to a wrong token too, as Lark does.
async fn lark(headers: HeaderMap) -> impl IntoResponse {
    Json(if is_old(&headers) { json!({"code": 99_991_663}) } else { json!({"code": 0}) })
}

/// The same in two frames, without a length.
async fn in_frames(headers: HeaderMap) -> impl IntoResponse {
    let code = if is_old(&headers) { "99991663}" } else { "0}" };
    let frames = stream::iter([r#"{"code": "#, code]).then(|frame| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, std::io::Error>(frame)
    });
    (JSON, Body::from_stream(frames))
}

/// A watch, which begins with one event and never ends.
async fn watch() -> impl IntoResponse {
    let event = stream::iter([Ok::<_, std::io::Error>("{\"type\": \"ADDED\"}\n")]);
    (JSON, Body::from_stream(event.chain(stream::pending())))
}

async fn large() -> impl IntoResponse {
    (JSON, format!("[{}0]", "0, ".repeat(1_000_000)))
}

async fn serve() -> String {
    let routes = Router::new()
        .route("/lark", get(lark))
        .route("/in-frames", get(in_frames))
        .route("/watch", get(watch))
        .route("/large", get(large));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

struct Signed {
    base: String,
    cache: TokenCache,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Signed {
    /// A response, and how many tokens it took.
    async fn send(
        &self,
        method: Method,
        path: &str,
    ) -> (Response<Peeked<hyper::body::Incoming>>, u64) {
        let before = self.cache.counters().tokens_issued;
        let auth = AuthLayer::new(self.cache.clone()).allow_origin(&self.base).unwrap();
        let service = ServiceBuilder::new()
            .layer(auth.refusals(Unauthorized.or(refusal::marked())))
            .layer(RefusalLayer::json("/code", [99_991_663]).unwrap())
            .service(self.http.clone());
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.body(Full::default()).unwrap();
        // Well within the second that a body is waited for.
        let response = timeout(Duration::from_millis(900), service.oneshot(request));
        let response = response.await.expect("not delayed").unwrap();
        (response, self.cache.counters().tokens_issued - before)
    }
}

#[tokio::test]
async fn a_code_is_found_in_real_bodies_and_others_are_not_delayed() {
    let base = serve().await;
    for http2 in [false, true] {
        for path in ["/lark", "/in-frames"] {
            let http = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
            let cache = known_at_once(Endpoint::overlapping());
            let signed = Signed { base: base.clone(), cache, http };
            let (response, tokens) = signed.send(Method::GET, path).await;
            assert_eq!((response.status().as_u16(), tokens), (200, 2), "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body, json!({"code": 0}), "{path}");

            let (response, tokens) = signed.send(Method::HEAD, "/lark").await;
            assert_eq!((response.status().as_u16(), tokens), (200, 0));
            assert!(response.headers()[header::CONTENT_LENGTH] != "0");

            let (response, _) = signed.send(Method::GET, "/watch").await;
            assert!(response.extensions().get::<Mark>().is_none());
            let event = response.into_body().frame().await.unwrap().unwrap();
            assert_eq!(event.into_data().unwrap(), "{\"type\": \"ADDED\"}\n");

            let (response, _) = signed.send(Method::GET, "/large").await;
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), 3_000_003);
        }
    }
}
