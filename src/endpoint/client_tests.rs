use secrecy::ExposeSecret;

use super::*;
use crate::endpoint::{SendPayments, TokenEndpoint};

const SECRET: &str = "s3cret-of-the-client";

fn answer(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> TokenResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    TokenResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Zeroizing::new(body.into()),
    }
}

fn refusal(status: u16, body: &str) -> AuthError {
    answer(status, "application/json", body).refusal(SECRET)
}

#[test]
fn every_status_is_classed_once() {
    let table: [(&[u16], Kind); 4] = [
        (&[301, 302, 303, 307, 308], Kind::InvalidResponse),
        (&[400, 401, 403], Kind::Rejected),
        (&[408, 409, 425, 429, 500, 502, 503, 504, 599], Kind::Transient),
        (&[204, 206, 404, 405, 410, 415, 418], Kind::Permanent),
    ];
    for (statuses, expected) in table {
        for status in statuses {
            assert_eq!(meaning(StatusCode::from_u16(*status).unwrap()).0, expected, "{status}");
        }
    }
}

#[test]
fn an_html_page_is_named_by_status_and_content_type_and_not_quoted() {
    let page = "<html>the proxy quotes s3cret-of-the-client and more</html>";
    let error = answer(502, "text/html", page).refusal(SECRET);
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 502 Bad Gateway, text/html; try again later"
    );
    let error = answer(201, "text/html", page).json::<serde_json::Value>().unwrap_err();
    assert!(error.is_invalid_response());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 201 Created with something that is not JSON, text/html; check its address"
    );
}

#[test]
fn the_documented_message_and_types_are_shown() {
    let body = r#"{"message": "Invalid input", "errors": [{"message": "x", "type": "string.pattern"}, {"type": "b"}]}"#;
    let error = refusal(400, body);
    assert!(error.is_rejected());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 400 Bad Request (Invalid input, string.pattern, b); \
         check the client id and the secret"
    );
    assert!(
        refusal(400, r#"{"error": "invalid_client"}"#).to_string().contains("(invalid_client)")
    );
    for silent in [r#"{"errors": []}"#, "{}", r#"{"errors": 7}"#, "", "[", "null"] {
        assert!(
            refusal(401, silent).to_string().contains("401 Unauthorized, application/json;"),
            "{silent}"
        );
    }
}

#[test]
fn a_message_is_cut_escaped_and_dropped_if_it_holds_the_secret() {
    let long = format!(r#"{{"message": "{}"}}"#, "x".repeat(5000));
    assert!(refusal(400, &long).to_string().matches('x').count() <= 200);
    let control = refusal(400, r#"{"message": "a\u001b[31m\nb\u0085"}"#).to_string();
    assert!(!control.chars().any(char::is_control), "{control:?}");
    assert!(control.contains(r"a\u{1b}[31m\u{a}b"), "{control}");
    let escapes =
        refusal(400, &format!(r#"{{"message": "{}"}}"#, r"\u0085".repeat(200))).to_string();
    assert!(escapes.len() < 300, "{} characters", escapes.len());
    for body in [
        format!(r#"{{"message": "no client with {SECRET}"}}"#),
        format!(r#"{{"message": "ok", "errors": [{{"type": "{SECRET}"}}]}}"#),
        // Where the cut would leave a part of it.
        format!(r#"{{"message": "{}{SECRET}"}}"#, "x".repeat(190)),
    ] {
        let shown = refusal(400, &body).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_content_type_is_escaped() {
    let shown = answer(502, "text/html;\tcharset=utf-8", "").refusal(SECRET).to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.contains(r"text/html;\u{9}charset=utf-8"), "{shown}");
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let now = httpdate::parse_http_date("Tue, 24 Nov 2026 02:44:00 GMT").unwrap();
    for (value, expected) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Tue, 24 Nov 2026 02:45:30 GMT", Some(90)),
        ("Tue, 24 Nov 2026 02:43:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("+5", None),
        ("", None),
        ("99999999999999999999999", None),
        ("9999999999", Some(24 * 3600)),
        ("Tue, 24 Nov 2099 02:45:30 GMT", Some(24 * 3600)),
        ("1.5", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

struct Answers<B>(fn(Request<Full<Bytes>>) -> Response<B>);

impl<B> Clone for Answers<B> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<B: Send + 'static> Service<Request<Full<Bytes>>> for Answers<B> {
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
async fn an_answer_over_the_cap_is_a_typed_error() {
    let client =
        TokenClient::new(Answers(|_| Response::new(Full::new(Bytes::from(vec![b' '; 70_000])))));
    let credentials = Credentials::new("id", SECRET);
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_invalid_response() && !error.is_transient());
    assert!(error.to_string().contains("more than 65536 bytes"), "{error}");
    assert!(client.max_response_size(70_000).send(Request::default(), &credentials).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_classed_by_its_status_whatever_came_of_its_body() {
    let credentials = Credentials::new("id", SECRET);
    let client = TokenClient::new(Answers(|_| {
        let body = Full::new(Bytes::from(vec![b' '; 70_000]));
        Response::builder().status(503).header("retry-after", "7").body(body).unwrap()
    }));
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let client = TokenClient::new(Answers(|_| {
        let cut = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>(
            std::io::Error::other("reset"),
        )]);
        Response::builder().status(401).body(http_body_util::StreamBody::new(cut)).unwrap()
    }));
    let error = client.send(Request::default(), &credentials).await.unwrap_err();
    assert!(error.is_rejected() && error.status() == Some(StatusCode::UNAUTHORIZED));
}

/// Of so many spaces, with the secret in its content type.
fn betraying(status: u16, size: usize) -> Response<Full<Bytes>> {
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
    let refused = TokenClient::new(Answers(|_| betraying(400, 0)));
    let too_long = TokenClient::new(Answers(|_| betraying(200, 70_000)));
    let empty = TokenClient::new(Answers(|_| betraying(200, 0)));
    for error in [
        refused.send(Request::default(), &credentials).await.unwrap_err(),
        too_long.send(Request::default(), &credentials).await.unwrap_err(),
        empty.send(Request::default(), &credentials).await.unwrap().json::<()>().unwrap_err(),
    ] {
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_not_sent_a_secret() {
    let client = TokenClient::new(Answers(|_| Response::new(Full::<Bytes>::default())));
    let credentials = Credentials::new("id", SECRET);
    let request = |uri: &'static str| Request::post(uri).body(Full::default()).unwrap();
    let error =
        client.send(request("http://login.internal/token"), &credentials).await.unwrap_err();
    assert!(error.to_string().contains("http://login.internal is plain http"), "{error}");
    assert!(client.send(request("http://127.0.0.1/token"), &credentials).await.is_ok());
    let client = client.allow_plain_http();
    assert!(client.send(request("http://login.internal/token"), &credentials).await.is_ok());
}

#[tokio::test]
async fn the_request_is_the_contracts() {
    let service = Answers(|request| {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://api.example.com/v1/auth");
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
        assert!(!request.headers().contains_key("idempotency"));
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
        let body = request.into_body().collect();
        let body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap().to_bytes();
        let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            sent,
            serde_json::json!({"clientId": "my \"id\"", "clientSecret": "s\\e\u{1}cret"})
        );
        Response::new(Full::new(Bytes::from_static(br#"{"accessToken": "t"}"#)))
    });
    let credentials = Credentials::new("my \"id\"", "s\\e\u{1}cret");
    let endpoint = SendPayments::new("https://api.example.com/v1/", service, credentials).unwrap();
    assert_eq!(endpoint.issue().await.unwrap().secret.expose_secret(), "t");
}

#[tokio::test]
async fn credentials_that_cannot_be_right_are_refused_before_anything_is_sent() {
    let service = Answers::<Full<Bytes>>(|_| unreachable!("nothing is sent"));
    for credentials in
        [Credentials::new("", "x"), Credentials::new("a\nb", "x"), Credentials::new("a", "")]
    {
        let endpoint =
            SendPayments::new("https://api.example.com", service.clone(), credentials).unwrap();
        assert!(endpoint.issue().await.unwrap_err().is_credentials());
    }
}
