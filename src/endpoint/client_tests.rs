use std::time::Duration;

use http::{Response, StatusCode};
use tower::service_fn;
use tower_service::Service;

use super::*;
use crate::error::BoxError;

const SECRET: &str = "s3cret-of-the-client";

struct StubService<B>(fn(Request<Full<Bytes>>) -> Response<B>);

impl<B> Clone for StubService<B> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<B: Send + 'static> Service<Request<Full<Bytes>>> for StubService<B> {
    type Response = Response<B>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<B>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        std::future::ready(Ok((self.0)(request)))
    }
}

#[tokio::test]
async fn a_response_over_the_cap_is_a_typed_error() {
    let client = TokenClient::new(StubService(|_| {
        Response::new(Full::new(Bytes::from(vec![b' '; 70_000])))
    }));
    let credentials = Credentials::new("id", SECRET);
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_invalid_response() && !error.is_transient());
    assert!(error.to_string().contains("more than 65536 bytes"), "{error}");
    assert!(client.max_response_size(70_000).send(Request::default(), &credentials).await.is_ok());
}

#[tokio::test]
async fn a_response_that_is_no_success_is_classed_by_its_status_whatever_came_of_its_body() {
    let credentials = Credentials::new("id", SECRET);
    let client = TokenClient::new(StubService(|_| {
        let body = Full::new(Bytes::from(vec![b' '; 70_000]));
        Response::builder().status(503).header("retry-after", "7").body(body).unwrap()
    }));
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let client = TokenClient::new(StubService(|_| {
        let cut = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>(
            std::io::Error::other("reset"),
        )]);
        Response::builder().status(401).body(http_body_util::StreamBody::new(cut)).unwrap()
    }));
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_rejected() && error.status() == Some(StatusCode::UNAUTHORIZED));
}

/// Returns a response of `size` spaces that has the secret in its content type.
fn with_secret_in_content_type(status: u16, size: usize) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(vec![b' '; size]));
    Response::builder()
        .status(status)
        .header("content-type", format!("x/{SECRET}"))
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn a_content_type_that_holds_the_secret_is_not_shown() {
    let credentials = Credentials::new("id", SECRET);
    let refused = TokenClient::new(StubService(|_| with_secret_in_content_type(400, 0)));
    let too_long = TokenClient::new(StubService(|_| with_secret_in_content_type(200, 70_000)));
    let empty = TokenClient::new(StubService(|_| with_secret_in_content_type(200, 0)));
    for error in [
        refused.send(Request::default(), &credentials).await.unwrap_err(),
        too_long.send(Request::default(), &credentials).await.unwrap_err(),
        empty.send(Request::default(), &credentials).await.unwrap().json::<()>().unwrap_err(),
    ] {
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

/// The addresses of some endpoints have a key in them, and clients such as reqwest quote the
/// address.
#[tokio::test]
async fn an_error_that_holds_a_value_in_the_query_of_the_address_is_not_shown() {
    let failing = service_fn(|request: Request<Full<Bytes>>| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let text = match query.strip_prefix("decoded&") {
            Some(_) => "the key is hunter2/hunter2".to_owned(),
            None => format!("can't send to {}", request.uri()),
        };
        Err::<Response<Full<Bytes>>, _>(BoxError::from(text))
    });
    for query in
        ["v=2&key=hunter2-hunter2", "key=hunter2%2Fhunter2", "decoded&key=hunter2%2Fhunter2"]
    {
        let request = Request::post(format!("https://login.example.com/token?{query}"));
        let request = request.body(Full::default()).unwrap();
        let error = TokenClient::new(failing).exchange(request, &[]).await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{query}: {error:?}");
    }
    // A short one is in too many texts.
    let request = Request::post("https://login.example.com/token?v=2");
    let request = request.body(Full::default()).unwrap();
    let error = TokenClient::new(failing).exchange(request, &[]).await.unwrap_err();
    assert!(format!("{error:?}").contains("can't send to"), "{error:?}");
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_not_sent_a_secret() {
    let client = TokenClient::new(StubService(|_| Response::new(Full::<Bytes>::default())));
    let credentials = Credentials::new("id", SECRET);
    let request = |uri: &'static str| Request::post(uri).body(Full::default()).unwrap();
    let error =
        client.send(request("http://login.internal/token"), &credentials).await.unwrap_err();
    assert!(error.to_string().contains("http://login.internal is plain http"), "{error}");
    assert!(client.send(request("http://127.0.0.1/token"), &credentials).await.is_ok());
    let client = client.allow_plain_http();
    assert!(client.send(request("http://login.internal/token"), &credentials).await.is_ok());
}
