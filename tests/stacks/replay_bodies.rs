//! Streaming request bodies, replayed over real HTTP/1.1 and HTTP/2 with TLS: the 401 comes before,
//! during or after the upload.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use support::{
    Endpoint, Step, known_at_once,
    tls::{self, Tls},
};
use tower::{
    Layer, ServiceBuilder, ServiceExt,
    retry::{Policy, RetryLayer},
};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_reauth::{
    AuthError, AuthLayer, BoxError, TokenCache, client,
    replay::{Declined, ReplayBody, ReplayLayer},
};

type Upload = UnsyncBoxBody<Bytes, Infallible>;

/// When the server answers a request whose token it does not know.
#[derive(Clone, Copy, Debug)]
enum Refuses {
    Before,
    After(usize),
    AtTheEnd,
    /// And goes on reading.
    Early,
}

/// Knows `token-2` only. Answers with what it has read, trailers included. Over TLS, by HTTP/2 or
/// by HTTP/1.1.
async fn serve(refuses: Refuses, http2: bool) -> Tls {
    let router = axum::Router::new().fallback(move |request| answer(refuses, request));
    Tls::serve(router, if http2 { &tls::BOTH } else { &tls::HTTP1 }).await
}

async fn answer(refuses: Refuses, request: Request<Body>) -> Response<Body> {
    let known = support::authorization(&request) == "Bearer token-2";
    let mut body = request.into_body();
    let enough = match refuses {
        _ if known => usize::MAX,
        Refuses::Before | Refuses::Early => 0,
        Refuses::After(bytes) => bytes,
        Refuses::AtTheEnd => usize::MAX,
    };
    let mut read = Vec::new();
    while read.len() < enough {
        let Some(frame) = body.frame().await else { break };
        let Ok(frame) = frame else { break };
        match frame.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                read.extend_from_slice(
                    trailers.get("x-sum").map(HeaderValue::as_bytes).unwrap_or_default(),
                );
            }
        }
    }
    if let (Refuses::Early, false) = (refuses, known) {
        tokio::spawn(body.collect());
    }
    let mut response = Response::new(Body::from(read));
    if !known {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        *response.body_mut() = Body::from("who are you?".repeat(10_000));
    }
    response
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

async fn send(
    refuses: Refuses,
    http2: bool,
    request: Request<Upload>,
) -> (Response<Incoming>, Endpoint) {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    (send_with(cache, refuses, http2, request).await, endpoint)
}

async fn send_with(
    cache: TokenCache,
    refuses: Refuses,
    http2: bool,
    request: Request<Upload>,
) -> Response<Incoming> {
    let server = serve(refuses, http2).await;
    let auth = AuthLayer::new(cache).allow_origin(server.base_url()).unwrap();
    let client = client::https_with::<ReplayBody<Upload>>(server.trusting.clone());
    let service = ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(client);
    let mut request = request;
    *request.uri_mut() = format!("{}/upload", server.base_url()).parse().unwrap();
    let response = ServiceExt::<Request<Upload>>::oneshot(service, request).await.unwrap();
    assert_eq!(response.version() == Version::HTTP_2, http2);
    response
}

fn post(chunks: usize) -> Request<Upload> {
    Request::post("/").header("trailer", "x-sum").body(upload(chunks)).unwrap()
}

fn sent(chunks: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..chunks).flat_map(|number| chunk(number).to_vec()).collect();
    bytes.extend_from_slice(b"sum");
    bytes
}

#[tokio::test]
async fn a_streaming_upload_is_replayed_byte_for_byte_whenever_the_401_comes() {
    for refuses in [
        Refuses::Before,
        Refuses::Early,
        Refuses::After(1),
        Refuses::After(5000),
        Refuses::AtTheEnd,
    ] {
        for http2 in [false, true] {
            for chunks in [0, 1, 40] {
                let (response, endpoint) = send(refuses, http2, post(chunks)).await;
                let case = format!("{refuses:?}, HTTP/2: {http2}, {chunks} KiB");
                assert_eq!(response.status(), StatusCode::OK, "{case}");
                let expected = sent(chunks);
                let received = response.into_body().collect().await.unwrap().to_bytes();
                assert!(
                    received == expected,
                    "{case}: {} bytes of {}",
                    received.len(),
                    expected.len()
                );
                assert_eq!(endpoint.calls(), 2, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_megabyte_over_the_cap_goes_up_untouched_and_its_401_is_the_callers() {
    for http2 in [false, true] {
        let endpoint = Endpoint::exclusive();
        let cache = known_at_once(endpoint.clone());
        let response = send_with(cache.clone(), Refuses::AtTheEnd, http2, post(1024)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.extensions().get::<AuthError>().is_none());
        assert!(response.extensions().get::<Declined>().is_some(), "the reason");
        assert_eq!((cache.counters().replays_declined, cache.counters().replays), (1, 0));
        assert!(
            response.into_body().collect().await.unwrap().to_bytes().starts_with(b"who are you?")
        );
        assert_eq!(endpoint.calls(), 1, "the token is marked, for the next request");
    }
}

/// The upload of the first attempt is not cut off before it is known whether there will be a second
/// one: a client whose upload fails gives up the answer as well.
#[tokio::test]
async fn if_the_refresh_fails_the_401_of_an_upload_under_way_can_be_read_to_its_end() {
    for http2 in [false, true] {
        let endpoint = Endpoint::exclusive();
        endpoint.then(Step::Issue).then(Step::Fail(AuthError::rejected("no such client")));
        let response = send_with(known_at_once(endpoint), Refuses::Early, http2, post(40)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.extensions().get::<AuthError>().is_some_and(AuthError::is_rejected));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 120_000, "HTTP/2: {http2}");
    }
}

/// hyper's client sends the body without waiting for `100 Continue`; that it comes does no harm,
/// and each attempt asks for it. A server may refuse without having read anything.
#[tokio::test]
async fn uploads_that_expect_100_continue_are_replayed() {
    for refuses in [Refuses::Before, Refuses::AtTheEnd] {
        let mut request = post(40);
        request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let (response, endpoint) = send(refuses, false, request).await;
        assert_eq!(response.status(), StatusCode::OK, "{refuses:?}");
        assert!(response.into_body().collect().await.unwrap().to_bytes() == sent(40));
        assert_eq!(endpoint.calls(), 2);
    }
}

/// It is `Clone`, so no layer is needed for it.
#[tokio::test]
async fn a_body_that_is_clone_stays_the_type_it_is() {
    let server = serve(Refuses::AtTheEnd, true).await;
    let client = client::https_with::<Full<Bytes>>(server.trusting.clone());
    let auth = AuthLayer::new(known_at_once(Endpoint::exclusive()))
        .allow_origin(server.base_url())
        .unwrap();
    let request = Request::post(server.base_url()).body(Full::from("hello")).unwrap();
    let response = auth.layer(client).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

/// Retries what is answered 503.
#[derive(Clone)]
struct Retries;

impl<B, E> Policy<Request<ReplayBody<B>>, Response<String>, E> for Retries
where
    B: http_body::Body,
{
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<ReplayBody<B>>,
        result: &mut Result<Response<String>, E>,
    ) -> Option<Self::Future> {
        let busy = result
            .as_ref()
            .is_ok_and(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE);
        busy.then(|| std::future::ready(()))
    }

    fn clone_request(
        &mut self,
        request: &Request<ReplayBody<B>>,
    ) -> Option<Request<ReplayBody<B>>> {
        let mut clone = Request::new(request.body().try_clone()?);
        *clone.uri_mut() = request.uri().clone();
        Some(clone)
    }
}

#[tokio::test]
async fn redirects_are_followed_below_the_replay_layer() {
    let resource = tower::service_fn(|request: Request<ReplayBody<Full<Bytes>>>| async move {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let body = request.into_body().collect().await?.to_bytes();
        let moved = Response::builder().status(303).header("location", "/done").body(String::new());
        Ok::<_, BoxError>(match &*path {
            "/done" => Response::new(format!("{method} of {} bytes", body.len())),
            _ => moved?,
        })
    });
    let service = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(FollowRedirectLayer::new())
        .layer(AuthLayer::new(known_at_once(Endpoint::exclusive())))
        .service(resource);
    let request = Request::post(support::URI).body(Full::from("hello")).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().into_body(), "GET of 0 bytes");
}

#[tokio::test]
async fn towers_retry_repeats_a_body_and_each_retry_has_its_own_replay() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&attempts);
    let resource = tower::service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
        let log = Arc::clone(&log);
        async move {
            let token = support::authorization(&request);
            let mut body = request.into_body();
            // The second attempt is refused before anything of its body is read.
            let number = log.lock().unwrap().len();
            let read = if number == 1 { None } else { body.frame().await };
            let read = read.map(|frame| frame.unwrap().into_data().unwrap());
            log.lock().unwrap().push((token, read));
            Ok::<_, BoxError>(match number {
                0 => Response::builder().status(503).body(String::new()).unwrap(),
                1 => support::unauthorized(),
                _ => support::ok(),
            })
        }
    });
    let service = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(RetryLayer::new(Retries))
        .layer(AuthLayer::new(known_at_once(Endpoint::exclusive())))
        .service(resource);
    let request = Request::post(support::URI).body(Full::from("hello")).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let hello = || Some(Bytes::from_static(b"hello"));
    assert_eq!(
        *attempts.lock().unwrap(),
        [
            ("Bearer token-1".to_owned(), hello()),
            ("Bearer token-1".to_owned(), None),
            ("Bearer token-2".to_owned(), hello())
        ]
    );
}

/// Who obeyed would send it again and again, with the token that has just been refused.
#[tokio::test(start_paused = true)]
async fn a_401_whose_token_goes_on_being_used_does_not_ask_to_be_sent_again() {
    let endpoint = Endpoint::exclusive();
    let service = ServiceBuilder::new()
        .layer(ReplayLayer::new().cap(4))
        .layer(AuthLayer::new(known_at_once(endpoint.clone())))
        .service(tower::service_fn(|_: Request<ReplayBody<Full<Bytes>>>| {
            std::future::ready(Ok::<_, BoxError>(support::unauthorized()))
        }));
    let mut declined = Vec::new();
    for _ in 0..5 {
        let request = Request::post(support::URI).body(Full::from("hello")).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401);
        declined.push(response.extensions().get::<Declined>().is_some());
    }
    // Two fresh tokens that are refused are replaced at once, the third is not.
    assert_eq!(declined, [true, true, false, false, false]);
    assert_eq!(endpoint.calls(), 3);
}
