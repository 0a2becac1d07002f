//! What `GrpcLayer` takes for a refusal of the token, and what it does not.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use support::{Endpoint, URI, get};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, BoxError, GrpcBody, GrpcLayer, TokenCache};

type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

fn trailers(status: &'static str) -> Frame<Bytes> {
    let status = HeaderValue::from_static(status);
    Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]))
}

fn message() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"\0\0\0\0\x01x"))
}

/// A server that gives this response to every request.
fn server(
    status: u16,
    content_type: &'static str,
    frames: impl Fn() -> Frames + Clone,
) -> impl Service<
    Request<String>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError>>,
    Error = BoxError,
> + Clone {
    service_fn(move |_: Request<String>| {
        let response = Response::builder()
            .status(status)
            .header("content-type", content_type)
            .body(StreamBody::new(stream::iter(frames())));
        async { response.map_err(BoxError::from) }
    })
}

/// Returns how often a token was refused by the end of one call.
async fn refusals(status: u16, content_type: &'static str, frames: fn() -> Frames) -> u64 {
    let cache = TokenCache::new(Endpoint::exclusive());
    let auth = AuthLayer::new(cache.clone());
    let service = auth.layer(GrpcLayer::new(&auth).layer(server(status, content_type, frames)));
    let response = service.oneshot(get(URI)).await.unwrap();
    assert_eq!(cache.counters().unauthorized, 0, "the head goes through before any trailers");
    let mut body = Box::pin(response.into_body());
    let mut passed = 0;
    while let Some(frame) = body.frame().await {
        passed += usize::from(frame.is_ok());
    }
    assert_eq!(passed, frames().into_iter().flatten().count());
    assert_eq!(cache.current().is_none(), cache.counters().unauthorized > 0);
    cache.counters().unauthorized
}

#[tokio::test(start_paused = true)]
async fn only_status_16_in_the_trailers_of_a_grpc_response_speaks_of_the_token() {
    let refused: fn() -> Frames = || vec![Ok(message()), Ok(trailers("16"))];
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=x",
        "Application/GRPC",
    ] {
        assert_eq!(refusals(200, content_type, refused).await, 1, "{content_type}");
    }
    for content_type in
        ["application/json", "text/plain; a=application/grpc", "application/grp", ""]
    {
        assert_eq!(refusals(200, content_type, refused).await, 0, "{content_type}");
    }
    assert_eq!(refusals(500, "application/grpc", refused).await, 0);
    let others: [fn() -> Frames; 5] = [
        || vec![Ok(message()), Ok(trailers("0"))],
        || vec![Ok(message()), Ok(trailers("7"))],
        || vec![Ok(message()), Ok(trailers("160"))],
        || vec![Ok(message()), Ok(Frame::trailers(HeaderMap::new()))],
        || vec![Ok(message()), Err("reset".into())],
    ];
    for frames in others {
        assert_eq!(refusals(200, "application/grpc", frames).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn late_trailers_do_not_cost_the_token_that_came_after() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let auth = AuthLayer::new(cache.clone());
    let refused = || vec![Ok(trailers("16"))];
    let service = auth.layer(GrpcLayer::new(&auth).layer(server(200, "application/grpc", refused)));
    let response = service.oneshot(get(URI)).await.unwrap();
    let newer = cache.refresh().await.unwrap();
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(cache.current().unwrap().sequence(), newer.sequence());
}

#[tokio::test(start_paused = true)]
async fn a_request_with_another_token_or_another_header_marks_nothing() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let token = cache.token().await.unwrap();
    let auth = AuthLayer::new(cache.clone()).header_name(HeaderName::from_static("x-token"));
    let refused = || vec![Ok(trailers("16"))];
    let watched = GrpcLayer::new(&auth).layer(server(200, "application/grpc", refused));
    let end = async |name: &str, value: &HeaderValue| {
        let mut request = get(URI);
        request.headers_mut().insert(HeaderName::try_from(name).unwrap(), value.clone());
        let response = watched.clone().oneshot(request).await.unwrap();
        assert!(response.into_body().collect().await.is_ok());
        cache.counters().unauthorized
    };
    assert_eq!(end("authorization", token.header_value()).await, 0);
    assert_eq!(end("x-token", &HeaderValue::from_static("Bearer of-the-caller")).await, 0);
    assert_eq!(end("x-token", token.header_value()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_does_not_keep_the_cache_alive() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let auth = AuthLayer::new(cache);
    let refused = || vec![Ok(trailers("16"))];
    let service = auth.layer(GrpcLayer::new(&auth).layer(server(200, "application/grpc", refused)));
    let response = service.oneshot(get(URI)).await.unwrap();
    drop(auth);
    support::settle().await;
    assert_eq!(endpoint.handles(), 1, "nothing but the test's own");
    assert!(response.into_body().collect().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_body_passes_on_what_it_says_of_itself() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let auth = AuthLayer::new(cache);
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new(String::from("hello")))
    });
    let response = auth.layer(GrpcLayer::new(&auth).layer(inner)).oneshot(get(URI)).await.unwrap();
    let body: GrpcBody<String> = response.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert_eq!(body.into_data_stream().next().await.unwrap().unwrap(), "hello");
    assert!(GrpcBody::<String>::default().is_end_stream());
}
