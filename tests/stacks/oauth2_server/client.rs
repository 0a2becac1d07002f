//! A client that sends exactly what it is told.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tower_reauth::sandbox::OAuth2Server;

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// Id and secret of the demo client, encoded as RFC 6749, section 2.3.1, has it.
pub(crate) const BASIC: (&str, &str) =
    ("authorization", "Basic ZGVtbytjbGllbnQlMkYxOnNhbmRib3glM0FzZWNyZXQlMjUlMkI=");
/// The same in the form.
pub(crate) const POST: &str = "client_id=demo+client%2F1&client_secret=sandbox%3Asecret%25%2B";
pub(crate) const GRANT: &str = "grant_type=client_credentials";

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

    /// The token of a response by RFC 6749, section 5.1.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        let body = self.json();
        assert_eq!(body["token_type"], "Bearer");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Asserts an error response by RFC 6749, section 5.2, whose description has `why`.
    pub(crate) fn assert_error(&self, status: u16, code: &str, why: &str) {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["error"].as_str()), (status, Some(code)), "{body}");
        let description = body["error_description"].as_str().unwrap();
        assert!(description.contains(why), "{description:?} has no {why:?}");
        assert_eq!(self.status == 401, !self.header("www-authenticate").is_empty());
    }
}

pub(crate) async fn try_send(
    method: Method,
    url: String,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, Error> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(body.into())).unwrap()).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

pub(crate) async fn post(
    server: &OAuth2Server,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    try_send(Method::POST, server.token_uri(), headers, body).await.unwrap()
}

/// A request by a client with its id and secret in the form.
pub(crate) async fn post_form(server: &OAuth2Server, body: &str) -> Answer {
    post(server, &[FORM], format!("{body}&{POST}")).await
}

/// A request for a resource with this token.
pub(crate) async fn use_token(server: &OAuth2Server, token: &str) -> Answer {
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    try_send(Method::GET, format!("{}/a/resource", server.base_url()), &headers, "").await.unwrap()
}

pub(crate) async fn start() -> OAuth2Server {
    OAuth2Server::builder().start().await.unwrap()
}

/// Encodes a form.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pair = |(name, value): &(&str, &str)| format!("{}={}", encode(name), encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}
