//! Streaming request bodies, replayed over real HTTP/1.1 and HTTP/2: the 401 comes before, during or after the upload.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use support::Endpoint;
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, TokenCache,
    replay::{ReplayBody, ReplayLayer},
};

type Upload = UnsyncBoxBody<Bytes, Infallible>;

/// When the server answers a request whose token it does not know.
#[derive(Clone, Copy, Debug)]
enum Refuses {
    Before,
    After(usize),
    AtTheEnd,
}

/// Knows `token-2` only. Answers with what it has read, trailers included.
async fn serve(refuses: Refuses) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| answer(refuses, request));
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

async fn answer(refuses: Refuses, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let known = support::authorization(&request) == "Bearer token-2";
    let mut body = request.into_body();
    let enough = match refuses {
        _ if known => usize::MAX,
        Refuses::Before => 0,
        Refuses::After(bytes) => bytes,
        Refuses::AtTheEnd => usize::MAX,
    };
    let mut read = Vec::new();
    while read.len() < enough {
        let Some(frame) = body.frame().await else { break };
        match frame?.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                read.extend_from_slice(trailers.get("x-sum").map(HeaderValue::as_bytes).unwrap_or_default());
            }
        }
    }
    let mut response = Response::new(Full::new(Bytes::from(read)));
    if !known {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        *response.body_mut() = Full::new(Bytes::from_static(b"who are you?"));
    }
    Ok(response)
}

fn chunk(number: usize) -> Bytes {
    Bytes::from(format!("{number:04}").repeat(256))
}

/// `chunks` of 1 KiB that come one by one, and trailers.
fn upload(chunks: usize) -> Upload {
    let frames = (0..chunks).map(|number| Frame::data(chunk(number)));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("sum"));
    let frames = stream::iter(frames.chain([Frame::trailers(trailers)])).then(|frame| async {
        tokio::task::yield_now().await;
        Ok(frame)
    });
    UnsyncBoxBody::new(StreamBody::new(frames))
}

async fn send(refuses: Refuses, http2: bool, chunks: usize) -> (Response<Incoming>, Endpoint) {
    let addr = serve(refuses).await;
    let client: Client<HttpConnector, ReplayBody<Upload>> =
        Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let endpoint = Endpoint::exclusive();
    let auth =
        AuthLayer::new(TokenCache::new(endpoint.clone())).allow_origin(format!("http://{addr}")).unwrap();
    let service = ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(client);
    let request =
        Request::post(format!("http://{addr}/upload")).header("trailer", "x-sum").body(upload(chunks));
    let response = ServiceExt::<Request<Upload>>::oneshot(service, request.unwrap()).await.unwrap();
    (response, endpoint)
}

#[tokio::test]
async fn a_streaming_upload_is_replayed_byte_for_byte_whenever_the_401_comes() {
    for refuses in [Refuses::Before, Refuses::After(1), Refuses::After(5000), Refuses::AtTheEnd] {
        for http2 in [false, true] {
            for chunks in [0, 1, 40] {
                let (response, endpoint) = send(refuses, http2, chunks).await;
                let case = format!("{refuses:?}, HTTP/2: {http2}, {chunks} KiB");
                assert_eq!(response.status(), StatusCode::OK, "{case}");
                let mut expected: Vec<u8> = (0..chunks).flat_map(|number| chunk(number).to_vec()).collect();
                expected.extend_from_slice(b"sum");
                let received = response.into_body().collect().await.unwrap().to_bytes();
                assert!(received == expected, "{case}: {} bytes of {}", received.len(), expected.len());
                assert_eq!(endpoint.calls(), 2, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_megabyte_over_the_cap_goes_up_untouched_and_its_401_is_the_callers() {
    for http2 in [false, true] {
        let (response, endpoint) = send(Refuses::AtTheEnd, http2, 1024).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.extensions().get::<AuthError>().is_none());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "who are you?");
        assert_eq!(endpoint.calls(), 1, "the token is marked, for the next request");
    }
}

/// It is `Clone`, so no layer is needed for it.
#[tokio::test]
async fn a_body_that_is_clone_stays_the_type_it_is() {
    let addr = serve(Refuses::AtTheEnd).await;
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let auth = AuthLayer::new(TokenCache::new(Endpoint::exclusive()))
        .allow_origin(format!("http://{addr}"))
        .unwrap();
    let request = Request::post(format!("http://{addr}/")).body(Full::from("hello")).unwrap();
    let response = auth.layer(client).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}
