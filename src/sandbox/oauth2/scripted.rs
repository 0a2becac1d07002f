//! [`ScriptedResponse`]: a response of the token endpoint that a test chooses.

use std::{collections::VecDeque, fmt, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::{form, refusal::forbid_storing};

/// The page of a proxy.
const PAGE: &str = "<html><head><title>Error</title></head><body><h1>Error</h1></body></html>";

/// A response of the token endpoint that a test chooses, in place of the one by the rules.
///
/// - [`token`](Self::token) keeps to the rules until a token is issued, and changes the response
///   after that. A request that breaks a rule gets its error, and uses the script up.
/// - Every other constructor answers any request, and issues nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use http::StatusCode;
/// use tower_reauth::sandbox::{OAuth2Server, ScriptedResponse};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = OAuth2Server::builder().start().await?;
/// // Entra v1 sends its numbers as strings, and Shopify no `token_type`.
/// server.respond_next(ScriptedResponse::token().field("expires_in", "3599"));
/// server.respond_next(ScriptedResponse::token().without("token_type"));
/// server.respond_next(
///     ScriptedResponse::error(StatusCode::BAD_REQUEST, "slow_down")
///         .retry_after(Duration::from_secs(5)),
/// );
/// // All later ones, until `respond_every(None)`.
/// server.respond_every(Some(ScriptedResponse::page(StatusCode::BAD_GATEWAY)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ScriptedResponse {
    pub(super) kind: Kind,
    pub(super) delay: Duration,
    pub(super) is_lost: bool,
    status: StatusCode,
    fields: Vec<(String, Option<Value>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    shape: Shape,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the rules, until a token is issued.
    Token,
    /// The fields alone.
    Fields,
    Body(Bytes),
    Reset,
    Hang,
}

#[derive(Clone, Copy)]
enum Shape {
    Json,
    JsonAfterMark,
    Form,
}

impl ScriptedResponse {
    fn new(kind: Kind, status: StatusCode) -> Self {
        Self {
            kind,
            delay: Duration::ZERO,
            is_lost: false,
            status,
            fields: Vec::new(),
            headers: Vec::new(),
            shape: Shape::Json,
        }
    }

    /// Issues a token by the rules. Without any change the response is the usual one.
    pub fn token() -> Self {
        Self::new(Kind::Token, StatusCode::OK)
    }

    /// Answers with this status and this `error` (RFC 6749, section 5.2). With a 200 it is one of
    /// the servers that report an error so.
    pub fn error(status: StatusCode, code: impl Into<String>) -> Self {
        Self::new(Kind::Fields, status).field("error", code.into())
    }

    /// Answers with this status and a JSON object that is empty, to which
    /// [`field`](Self::field) adds.
    pub fn object(status: StatusCode) -> Self {
        Self::new(Kind::Fields, status)
    }

    /// Answers with this status and an empty body.
    pub fn empty(status: StatusCode) -> Self {
        Self::new(Kind::Body(Bytes::new()), status)
    }

    /// Answers with this status and the HTML page of a proxy.
    pub fn page(status: StatusCode) -> Self {
        Self::body(status, HeaderValue::from_static("text/html"), PAGE)
    }

    /// Answers with this status, content type and body.
    pub fn body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Body(body.into()), status).header(header::CONTENT_TYPE, content_type)
    }

    /// Issues nothing, and resets the TCP connection.
    pub fn reset() -> Self {
        Self::new(Kind::Reset, StatusCode::OK)
    }

    /// Issues nothing, and never answers.
    pub fn hang() -> Self {
        Self::new(Kind::Hang, StatusCode::OK)
    }

    /// Sets the status.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets a field of the JSON object, of any type.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.push((name.into(), Some(value.into())));
        self
    }

    /// Leaves a field of the JSON object out.
    pub fn without(mut self, name: impl Into<String>) -> Self {
        self.fields.push((name.into(), None));
        self
    }

    /// Sets a header. A `Date` takes the place of the server's.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the header `Retry-After`, rounded up to whole seconds.
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Puts a byte order mark before the JSON.
    pub fn byte_order_mark(mut self) -> Self {
        self.shape = Shape::JsonAfterMark;
        self
    }

    /// Answers with a form instead of JSON.
    pub fn form(mut self) -> Self {
        self.shape = Shape::Form;
        self
    }

    /// Waits this long first, on top of the [`latency`](super::OAuth2ServerBuilder::latency).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Loses the response: resets the TCP connection after all that the request has caused, such as
    /// an issued token.
    pub fn lost(mut self) -> Self {
        self.is_lost = true;
        self
    }

    /// Returns the response. `fields` are those of a token that was issued, or none.
    pub(super) fn render(&self, mut fields: Map<String, Value>) -> Response {
        for (name, value) in &self.fields {
            match value {
                Some(value) => fields.insert(name.clone(), value.clone()),
                None => fields.remove(name),
            };
        }
        let body = match (&self.kind, self.shape) {
            (Kind::Body(body), _) => Body::from(body.clone()),
            (_, Shape::Json) => Body::from(Value::Object(fields).to_string()),
            (_, Shape::JsonAfterMark) => Body::from(format!("\u{feff}{}", Value::Object(fields))),
            (_, Shape::Form) => Body::from(as_form(&fields)),
        };
        let content_type = match self.shape {
            Shape::Form => "application/x-www-form-urlencoded",
            _ => "application/json",
        };
        let mut response = (self.status, body).into_response();
        forbid_storing(&mut response);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        response
    }
}

fn as_form(fields: &Map<String, Value>) -> String {
    let pairs = fields.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={}", form::encode(name), form::encode(&value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

impl fmt::Debug for ScriptedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter().map(|(name, _)| name).collect::<Vec<_>>();
        f.debug_struct("ScriptedResponse")
            .field("status", &self.status)
            .field("fields", &fields)
            .finish_non_exhaustive()
    }
}

/// The responses that later requests will get.
#[derive(Default)]
pub(super) struct Script {
    pub(super) queue: VecDeque<ScriptedResponse>,
    /// The response of every request when the queue is empty.
    pub(super) standing: Option<ScriptedResponse>,
}

impl Script {
    /// Returns the response for a request that has just arrived, and takes it from the queue.
    pub(super) fn next(&mut self) -> Option<ScriptedResponse> {
        self.queue.pop_front().or_else(|| self.standing.clone())
    }
}
