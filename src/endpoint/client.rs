//! [`TokenClient`]: one exchange with a token endpoint over any Tower HTTP service.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{http_service::HttpService, response::TokenResponse, spelling};
use crate::{
    credentials::Credentials,
    error::{AuthError, Kind, endpoint_at},
    origin::Origin,
};

/// Sends requests to a token endpoint through a Tower HTTP service, and turns every unusable
/// response into a typed error.
///
/// 1. A success larger than a cap is an error, and no more of it is read. The cap is 64 KiB by
///    [default](Self::max_response_size).
/// 2. A request over plain http beyond this machine is refused, unless it is
///    [allowed](Self::allow_plain_http).
/// 3. A redirect is an error, so a secret is never sent to the address that a response names. The
///    service must not follow redirects on its own, as tower-http's `FollowRedirect` does. The
///    clients of hyper and of this crate do not.
/// 4. An error never holds the body of a response. It quotes the fields of the documented error
///    shapes, which are `message`, `errors[].message` and `errors[].type` of the Send Payments API,
///    and `error` and `error_description` of OAuth 2 (RFC 6749, section 5.2). At most 200
///    characters are shown, with control characters escaped.
/// 5. Eight or more consecutive characters of the secret never get into an error, in whatever case,
///    percent-encoded or base64-encoded. A field that holds them is not quoted. An error of the
///    HTTP service that holds them is replaced by its [`io::ErrorKind`](std::io::ErrorKind). The
///    values in the query of the address count as secrets, if they have eight characters or more.
/// 6. A request says `Accept-Encoding: identity` and `User-Agent: tower-reauth/x.y.z`, unless it
///    has these headers already. [`user_agent`](Self::user_agent) sets another one.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower_reauth::{BoxError, Credentials, endpoint::TokenClient};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let service = tower::service_fn(|_: Request<Full<Bytes>>| async {
///     let mut response = Response::new(Full::<Bytes>::from(r#"{"error": "invalid_client"}"#));
///     *response.status_mut() = StatusCode::UNAUTHORIZED;
///     Ok::<_, BoxError>(response)
/// });
/// let client = TokenClient::new(service);
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let request = Request::post("https://login.example.com/token").body(Full::default()).unwrap();
/// let error = client.send(request, &credentials).await.unwrap_err();
/// assert!(error.is_rejected());
/// assert!(error.to_string().contains("401 Unauthorized (invalid_client)"));
/// # }
/// ```
pub struct TokenClient<S> {
    /// In a lock because a service need not be `Sync`. The lock is held while it is cloned, and
    /// never across an await.
    service: Mutex<S>,
    max_response_size: usize,
    allow_plain_http: bool,
    user_agent: HeaderValue,
}

/// Firewalls refuse what does not say who it is.
const USER_AGENT: &str = concat!("tower-reauth/", env!("CARGO_PKG_VERSION"));

/// In bytes. A JWT with many claims takes a few KiB.
const DEFAULT_MAX_RESPONSE_SIZE: usize = 64 * 1024;

impl<S: HttpService> TokenClient<S> {
    /// Creates a client over `service`, with the default size cap of 64 KiB.
    pub fn new(service: S) -> Self {
        Self {
            service: Mutex::new(service),
            max_response_size: DEFAULT_MAX_RESPONSE_SIZE,
            allow_plain_http: false,
            user_agent: HeaderValue::from_static(USER_AGENT),
        }
    }

    /// Sets the size of the largest response that is read, in bytes. Defaults to 65,536.
    #[must_use]
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.max_response_size = bytes;
        self
    }

    /// Allows requests over plain http beyond this machine, where everybody on the way can read the
    /// secret. Defaults to refusing them.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// Sets the `User-Agent` of requests that have none (RFC 9110, section 10.1.5). Defaults to
    /// `tower-reauth/` and the version of this crate.
    #[must_use]
    pub fn user_agent(mut self, value: HeaderValue) -> Self {
        self.user_agent = value;
        self
    }

    pub(super) fn allows_plain_http(&self) -> bool {
        self.allow_plain_http
    }

    /// Sends `request` once and returns its response.
    ///
    /// The caller puts the credentials into the request. `credentials` serve to keep the secret out
    /// of the text of an error.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no response, if its status is not a 2xx, or if its body is too
    /// large or was cut off. Plain http beyond this machine is an error before anything is sent,
    /// unless it is [allowed](Self::allow_plain_http).
    ///
    /// A code in the body, such as `temporarily_unavailable`, decides before the status what the
    /// error means. A host that can't be resolved, a refused TLS handshake and a response that is
    /// not HTTP end the refresh at once, as far as the service's error tells. The last two are
    /// [permanent](AuthError::is_permanent).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request. The endpoint may have issued a token by then.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        credentials: &Credentials,
    ) -> Result<TokenResponse, AuthError> {
        let response = self.exchange(request, &[credentials.expose_secret()]).await?;
        if response.status().is_success() { Ok(response) } else { Err(response.refusal()) }
    }

    /// Sends `request` once and returns its response, whatever its status.
    ///
    /// It is for an endpoint that reads more of a refusal than [`send`](Self::send) tells, such as
    /// a nonce in its headers, and for one without [`Credentials`]. The caller puts the secrets
    /// into the request. `secrets` serve to keep them out of the text of an error.
    /// [`TokenResponse::refusal`] makes the error of a response without a token.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no response, or if the body of a success is too large or was
    /// cut off. The body of another status is dropped in that case. Plain http beyond this machine
    /// is an error before anything is sent, unless it is [allowed](Self::allow_plain_http).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request. The endpoint may have issued a token by then.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{HeaderValue, Request, Uri};
    /// use tower_reauth::{
    ///     AuthError,
    ///     endpoint::{HttpService, TokenClient, TokenResponse},
    /// };
    ///
    /// async fn ask<S: HttpService>(
    ///     client: &TokenClient<S>,
    ///     uri: &Uri,
    ///     key: &str,
    /// ) -> Result<TokenResponse, AuthError> {
    ///     let mut value = HeaderValue::from_str(key).map_err(AuthError::permanent)?;
    ///     value.set_sensitive(true);
    ///     let request = Request::post(uri).header("x-api-key", value).body(Default::default());
    ///     let response = client.exchange(request.map_err(AuthError::permanent)?, &[key]).await?;
    ///     if response.status().is_success() { Ok(response) } else { Err(response.refusal()) }
    /// }
    /// ```
    pub async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        secrets: &[&str],
    ) -> Result<TokenResponse, AuthError> {
        if let Some(origin) =
            Origin::of(request.uri()).filter(|origin| origin.is_exposed() && !self.allow_plain_http)
        {
            return Err(AuthError::new(
                Kind::Permanent,
                format!(
                    "{origin} is plain http and not this machine, so the secret was not sent; use \
                     https, or TokenClient::allow_plain_http"
                ),
            ));
        }
        let headers = request.headers_mut();
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let identity = HeaderValue::from_static("identity");
        headers.entry(header::ACCEPT_ENCODING).or_insert(identity);
        let endpoint = endpoint_at(request.uri());
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let secrets = secrets.iter().map(|it| (*it).into());
        let secrets: Vec<SecretString> = secrets.chain(query_values(request.uri())).collect();
        let (parts, body) =
            service.exchange(request, self.max_response_size, &secrets).await?.into_parts();
        let body = wiped_on_drop(body);
        Ok(TokenResponse::new(endpoint, parts.status, parts.headers, body, secrets))
    }
}

impl<S> fmt::Debug for TokenClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("max_response_size", &self.max_response_size)
            .finish_non_exhaustive()
    }
}

/// Returns the values in the query of an address, each as it is and decoded. One of them may be a
/// secret. A short one is left out, because it is in too many texts.
fn query_values(uri: &Uri) -> impl Iterator<Item = SecretString> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let values = pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let decoded = |value: &str| [Some(value.to_owned()), spelling::percent_decoded(value)];
    let values = values.flat_map(decoded).flatten().map(SecretString::from);
    values.filter(|value| value.expose_secret().chars().count() >= spelling::PART)
}

/// Moves the body into memory that is wiped on drop, without a copy if no one else holds the bytes.
fn wiped_on_drop(body: Bytes) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body.into())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
