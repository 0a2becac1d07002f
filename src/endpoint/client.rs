//! [`TokenClient`]: one exchange with a token endpoint over any Tower HTTP service, and its answer, typed.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    clock,
    credentials::Credentials,
    error::{AuthError, BoxError, Fate, Kind},
    origin::Origin,
};

/// An HTTP client in Tower's terms, as a token endpoint needs it. Implemented for every service that fits: hyper's
/// client with a `Full<Bytes>` body, the one of the feature `client`, and any Tower stack over them.
///
/// It is a shorthand for bounds; there is nothing to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP client that a token endpoint can use",
    note = "it must be `Clone + Send + 'static` and a `Service<http::Request<Full<Bytes>>, Response = http::Response<_>>` \
            whose future and body are `Send`; hyper's client is one if it is built for `Full<Bytes>` bodies"
)]
pub trait HttpService: Clone + Send + 'static {
    /// Sends one request and collects the answer, of at most `limit` bytes, without a content type that holds `secret`.
    #[doc(hidden)]
    fn exchange(
        self,
        request: Request<Full<Bytes>>,
        limit: usize,
        secret: &str,
    ) -> impl Future<Output = Result<Response<Bytes>, AuthError>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn exchange(
        mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
        secret: &str,
    ) -> Result<Response<Bytes>, AuthError> {
        let ready = poll_fn(|cx| self.poll_ready(cx)).await;
        ready.map_err(|error| unreachable(error.into()).with_fate(Fate::NotIssued))?;
        let (mut parts, body) =
            self.call(request).await.map_err(|error| unreachable(error.into()))?.into_parts();
        conceal(&mut parts.headers, secret);
        let body = Limited::new(body, limit).collect().await.map(Collected::to_bytes);
        if !parts.status.is_success() {
            // The status says it all, whatever came of the body.
            return Ok(Response::from_parts(parts, body.unwrap_or_default()));
        }
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let text = format!(
                    "the token endpoint answered {} with more than {limit} bytes{}; check its address",
                    parts.status,
                    content_type(&parts.headers),
                );
                AuthError::answered(Kind::InvalidResponse, text, parts.status, None)
            } else {
                AuthError::caused_by(
                    Kind::Transient,
                    "the token endpoint's answer was cut off; try again later",
                    error,
                )
                .with_fate(Fate::Issued)
            }
        })?;
        Ok(Response::from_parts(parts, body))
    }
}

fn unreachable(error: BoxError) -> AuthError {
    let fate = if is_connect_error(&*error) { Fate::NotIssued } else { Fate::Unknown };
    AuthError::caused_by(
        Kind::Transient,
        "the token endpoint can't be reached; check its address and the network, or try again later",
        error,
    )
    .with_fate(fate)
}

/// Whether no connection came about, so that nothing was sent. Not seeing it costs little: the token in use is then
/// taken for suspect.
fn is_connect_error(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "client")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return error.is_connect();
    }
    let refused = error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    });
    refused || error.source().is_some_and(is_connect_error)
}

/// Talks to a token endpoint through a Tower HTTP service of yours, and turns every odd answer into a typed error.
///
/// - Answers over a size cap (64 KiB) are refused, unread.
/// - Plain http beyond this machine is refused, unless it is [allowed](TokenClient::allow_plain_http).
/// - Redirects are errors: a secret is never sent on to where an answer points. (That holds for the services of
///   hyper and this crate; one that follows redirects on its own, tower-http's `FollowRedirect` say, must not be
///   put below.)
/// - An error never holds the answer's body. Of the documented error shape (`message`, `errors[].type`; OAuth 2's
///   `error`) at most 200 characters are shown, escaped, and nothing if they contain the secret.
pub struct TokenClient<S> {
    /// In a lock because a service need not be `Sync`; held for the length of a clone.
    service: Mutex<S>,
    limit: usize,
    plain_http: bool,
}

const DEFAULT_LIMIT: usize = 64 * 1024;

impl<S: HttpService> TokenClient<S> {
    /// Over `service`, with the default size cap of 64 KiB.
    pub fn new(service: S) -> Self {
        Self { service: Mutex::new(service), limit: DEFAULT_LIMIT, plain_http: false }
    }

    /// The largest answer that is read, in bytes. Defaults to 65,536.
    #[must_use]
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Sends over plain http beyond this machine too, where everybody on the way can read the secret. Defaults to
    /// refusing that.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Sends `request` once. `credentials` are only for keeping the secret out of an error's text; putting them
    /// into the request is the caller's part.
    ///
    /// # Errors
    ///
    /// No answer, or any answer but 200 and 201; plain http beyond this machine, unless it is
    /// [allowed](Self::allow_plain_http).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request; whether the endpoint has issued a token by then is unknown.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        credentials: &Credentials,
    ) -> Result<TokenResponse, AuthError> {
        if let Some(origin) =
            Origin::of(request.uri()).filter(|origin| origin.is_exposed() && !self.plain_http)
        {
            return Err(AuthError::new(
                Kind::Permanent,
                format!(
                    "{origin} is plain http and not this machine, so the secret was not sent; use https, or \
                     TokenClient::allow_plain_http"
                ),
            ));
        }
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let secret = credentials.expose_secret();
        let (parts, body) = service.exchange(request, self.limit, secret).await?.into_parts();
        let answer = TokenResponse {
            status: parts.status,
            headers: parts.headers,
            body: wiped_on_drop(body),
        };
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(answer),
            _ => Err(answer.refusal(secret)),
        }
    }
}

impl<S> fmt::Debug for TokenClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("max_response_size", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A 200 or 201 of the token endpoint.
pub struct TokenResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl TokenResponse {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// An empty or cut body is transient. One that is not JSON, or other JSON than `T`, is not; the error says
    /// status and content type, never what was in the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if self.body.is_empty() {
                "an empty body"
            } else if error.is_eof() {
                "a body that was cut off"
            } else if error.is_data() {
                "JSON in which a field is missing or of another type"
            } else {
                "something that is not JSON"
            };
            let kind = if error.is_eof() { Kind::Transient } else { Kind::InvalidResponse };
            self.unusable(kind, what)
        })
    }

    /// An error that says what was wrong with this answer: status, content type, `what`.
    pub(crate) fn unusable(&self, kind: Kind, what: &str) -> AuthError {
        let advice = if kind == Kind::Transient { "try again later" } else { "check its address" };
        let (status, content_type) = (self.status, content_type(&self.headers));
        AuthError::answered(
            kind,
            format!("the token endpoint answered {status} with {what}{content_type}; {advice}"),
            self.status,
            None,
        )
    }

    /// The endpoint's clock when it answered: its `Date` header.
    pub fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.headers.get(header::DATE)?.to_str().ok()?).ok()
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn refusal(&self, secret: &str) -> AuthError {
        let (kind, advice) = meaning(self.status);
        let said = if self.status.is_redirection() {
            None
        } else {
            documented_message(&self.body, secret)
        };
        let said = said.map_or_else(|| content_type(&self.headers), |said| format!(" ({said})"));
        AuthError::answered(
            kind,
            format!("the token endpoint answered {}{said}; {advice}", self.status),
            self.status,
            retry_after(&self.headers, self.date().unwrap_or_else(clock::wall)),
        )
        .with_fate(fate(self.status))
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What a status other than 200 and 201 means for the refresh, and for the reader of the error.
fn meaning(status: StatusCode) -> (Kind, &'static str) {
    match status.as_u16() {
        300..=399 => (
            Kind::InvalidResponse,
            "redirects are not followed with a secret, so give the final address",
        ),
        400 | 401 | 403 => (Kind::Rejected, "check the client id and the secret"),
        408 | 409 | 425 | 429 | 500..=599 => (Kind::Transient, "try again later"),
        404 | 405 | 410 => (Kind::Permanent, "check the token endpoint's address"),
        _ => (Kind::Permanent, "this status is not part of the contract; check the address"),
    }
}

/// Whether a status other than success tells that no token was issued. A server that failed may have got that far,
/// and what stands in front of it does not know.
fn fate(status: StatusCode) -> Fate {
    match status.as_u16() {
        408 | 500 | 502 | 504.. => Fate::Unknown,
        200..=299 => Fate::Issued,
        _ => Fate::NotIssued,
    }
}

/// The documented error shapes: the Send Payments API's, and OAuth 2's `error`.
#[derive(Deserialize)]
struct Documented {
    message: Option<String>,
    error: Option<String>,
    #[serde(default)]
    errors: Vec<DocumentedError>,
}

#[derive(Deserialize)]
struct DocumentedError {
    r#type: Option<String>,
}

const SHOWN_CHARACTERS: usize = 200;

fn documented_message(body: &[u8], secret: &str) -> Option<String> {
    let documented: Documented = serde_json::from_slice(body).ok()?;
    let types = documented.errors.into_iter().filter_map(|error| error.r#type);
    let parts: Vec<String> =
        documented.message.into_iter().chain(documented.error).chain(types).collect();
    let joined = parts.join(", ");
    // Before cutting and escaping, either of which could hide a part of the secret from this look.
    if joined.is_empty() || (!secret.is_empty() && joined.contains(secret)) {
        return None;
    }
    Some(escaped(&joined, SHOWN_CHARACTERS))
}

/// `text` without what would change how a terminal or a log viewer shows the rest, and no longer than `limit` in that
/// form.
fn escaped(text: &str, limit: usize) -> String {
    // No more of it than that can be shown.
    let parts = text
        .chars()
        .take(limit)
        .map(|c| if is_misleading(c) { c.escape_unicode().to_string() } else { c.to_string() });
    parts.collect::<String>().chars().take(limit).collect()
}

/// Control characters, and the invisible ones that turn the direction or break the line.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Drops a content type that holds the secret: every error shows it.
fn conceal(headers: &mut HeaderMap, secret: &str) {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(secret));
    if !secret.is_empty() && headers.get(header::CONTENT_TYPE).is_some_and(holds) {
        headers.remove(header::CONTENT_TYPE);
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.map(|value| format!(", {}", escaped(value, 60))).unwrap_or_default()
}

/// `Retry-After` in either form of RFC 9110, section 10.2.3, as a duration from `now` on the endpoint's clock.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(value.parse().ok()?)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// More than that is not a pause but a mistake, and it would outlast the operator's patience.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Without a copy if nobody else holds the bytes.
fn wiped_on_drop(body: Bytes) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body.into())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
