//! What a client of OAuth 2 sends, and what it makes of the answer.

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper_util::client::legacy::Error;
use tower_reauth::sandbox::OAuth2Server;

use crate::exact;
pub(crate) use crate::exact::Answer;

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// Id and secret of the demo client, encoded as RFC 6749, section 2.3.1, has it.
pub(crate) const BASIC: (&str, &str) =
    ("authorization", "Basic ZGVtbytjbGllbnQlMkYxOnNhbmRib3glM0FzZWNyZXQlMjUlMkI=");
/// The same in the form.
pub(crate) const POST: &str = "client_id=demo+client%2F1&client_secret=sandbox%3Asecret%25%2B";
pub(crate) const GRANT: &str = "grant_type=client_credentials";

impl Answer {
    /// The token of a response by RFC 6749, section 5.1.
    pub(crate) fn bearer(&self) -> String {
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
    Ok(Answer::read(exact::send(false, method, url, headers, body).await?).await)
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
