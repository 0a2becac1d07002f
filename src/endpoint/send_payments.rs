//! [`SendPayments`]: the endpoint `POST {base}/auth` with `clientId` and `clientSecret`.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    client::TokenClient,
    date::parse_rfc3339,
    http_service::HttpService,
    token_endpoint::{Rotation, TokenEndpoint},
};
use crate::{
    credentials::{Credentials, CredentialsSource, Watched},
    error::{AuthError, ConfigError, Kind, shown},
    origin,
    token::{Identity, IssuedToken},
};

/// The endpoint `POST /auth` of the Send Payments API.
///
/// - Every 2xx with an `accessToken` is success. Any other 2xx may be a page of whatever stands in
///   front of the API, so the token in use is suspect and is still sent.
/// - The lifetime of a token is the least that the clocks of its response tell, as [`IssuedToken`]
///   lists them. A success has killed the token in use, so the new one is used even if `expiresAt`
///   or `Date` can't be parsed, or if they disagree.
/// - The tokens are [exclusive](Rotation::Exclusive), so a request for one kills the one in use.
/// - A client id is refused before it is sent only if it is empty or has control characters. The
///   published pattern is not enforced, because the provider's own examples break it.
/// - No `idempotency` header is sent, because every `POST /auth` issues a new token anyway.
///
/// # Examples
///
/// With an HTTP client of your own, here hyper's:
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower_reauth::{AuthLayer, Credentials, TokenCache, endpoint::SendPayments};
///
/// let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let endpoint = SendPayments::new("http://127.0.0.1:8080", http, credentials)?;
/// let layer = AuthLayer::new(TokenCache::new(endpoint));
/// # Ok(())
/// # }
/// ```
pub struct SendPayments<S, C> {
    client: TokenClient<S>,
    credentials: Watched<C>,
    uri: Uri,
}

impl<S: HttpService, C: CredentialsSource> SendPayments<S, C> {
    /// Creates an endpoint for the API at `base_url`, which is reached through `service`.
    ///
    /// `base_url` has the form `https://host[:port][/path]`, and `/auth` is appended to its path.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InvalidUrl`] if `base_url` is not an absolute http or https URL, or
    /// has user information, a query or a fragment. Returns [`ConfigError::PlainHttp`] if it is
    /// plain http beyond this machine, which [`allow_plain_http`](Self::allow_plain_http) permits.
    pub fn new(base_url: impl AsRef<str>, service: S, credentials: C) -> Result<Self, ConfigError> {
        let uri = origin::join(base_url.as_ref(), "/auth")?;
        origin::check_transport(&uri, "SendPayments::allow_plain_http")?;
        Ok(Self::with(TokenClient::new(service), credentials, uri))
    }

    /// Creates an endpoint as [`new`](Self::new) does, and allows plain http beyond this machine.
    ///
    /// Everybody on the way can then read the secret and the token. The layer's requests have to be
    /// [allowed](crate::AuthLayer::allow_plain_http) as well.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InvalidUrl`] if `base_url` is not an absolute http or https URL, or
    /// has user information, a query or a fragment.
    pub fn allow_plain_http(
        base_url: impl AsRef<str>,
        service: S,
        credentials: C,
    ) -> Result<Self, ConfigError> {
        let uri = origin::join(base_url.as_ref(), "/auth")?;
        Ok(Self::with(TokenClient::new(service).allow_plain_http(), credentials, uri))
    }

    /// Sets the `User-Agent` of requests for a token. Defaults to `tower-reauth/` and the version
    /// of this crate.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::HeaderValue;
    /// use tower_reauth::{Credentials, client, endpoint::SendPayments};
    ///
    /// let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let endpoint = SendPayments::new("https://api.example.com", client::https()?, credentials)?
    ///     .user_agent(HeaderValue::from_static("shop/2.1"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn user_agent(mut self, value: HeaderValue) -> Self {
        self.client = self.client.user_agent(value);
        self
    }

    fn with(client: TokenClient<S>, credentials: C, uri: Uri) -> Self {
        Self { client, credentials: Watched::new(credentials), uri }
    }

    /// Returns the credentials as they are now, and the request that has them in it.
    async fn request(&self) -> Result<(Credentials, Request<Full<Bytes>>), AuthError> {
        let credentials = self.credentials.ask().await?;
        let request = auth_request(self.uri.clone(), &credentials)?;
        Ok((credentials, request))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthResponse {
    access_token: Option<SecretString>,
    /// Any JSON, because a value that is no date must not cost the token.
    expires_at: Option<serde_json::Value>,
}

impl<S: HttpService, C: CredentialsSource> TokenEndpoint for SendPayments<S, C> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let request = self.request().await;
        let (credentials, request) = request.inspect_err(|_| self.credentials.failed())?;
        self.credentials.sending(&credentials);
        let response = self.client.send(request, &credentials).await?;
        let AuthResponse { access_token, expires_at } = response.json()?;
        let Some(secret) = access_token else {
            return Err(response.unusable(Kind::InvalidResponse, "no `accessToken`"));
        };
        if secret.expose_secret().is_empty() {
            return Err(response.unusable(Kind::InvalidResponse, "an empty `accessToken`"));
        }
        let expires_at =
            expires_at.as_ref().and_then(serde_json::Value::as_str).and_then(parse_rfc3339);
        Ok(IssuedToken::new(secret)
            .expires_at(expires_at)
            .server_date(response.date())
            .issued_to(Identity::new(credentials.client_id())))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }

    fn uri(&self) -> Option<&Uri> {
        Some(&self.uri)
    }

    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        let credentials = self.credentials.ask().await?;
        let identity = Identity::new(credentials.client_id());
        Ok(Some(identity.with_secret(credentials.expose_secret())))
    }

    async fn credentials_changed(&self) -> bool {
        self.credentials.changed().await.is_some_and(|credentials| credentials.check().is_ok())
    }
}

fn auth_request(uri: Uri, credentials: &Credentials) -> Result<Request<Full<Bytes>>, AuthError> {
    credentials.check()?;
    let body = AuthRequest {
        client_id: credentials.client_id(),
        client_secret: credentials.expose_secret(),
    };
    // A buffer that grows leaves copies of the secret behind that nobody wipes. JSON escapes a byte
    // to six at most, and the rest of the object is shorter than 128.
    let capacity = 128 + 6 * (body.client_id.len() + body.client_secret.len());
    let mut json = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *json, &body).map_err(AuthError::permanent)?;
    let mut request = Request::new(Full::new(Bytes::from_owner(json)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json.clone());
    request.headers_mut().insert(header::ACCEPT, json);
    Ok(request)
}

impl<S, C> fmt::Debug for SendPayments<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendPayments").field("uri", &shown(&self.uri)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;
    use http::Response;
    use http_body_util::BodyExt;
    use tower::service_fn;

    use super::*;
    use crate::error::BoxError;

    #[tokio::test]
    async fn the_request_is_the_contracts() {
        let service = service_fn(|request: Request<Full<Bytes>>| async {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.uri(), "https://api.example.com/v1/auth");
            assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
            assert!(!request.headers().contains_key("idempotency"));
            assert!(!request.headers().contains_key(header::AUTHORIZATION));
            let body = request.into_body().collect();
            let body = body.now_or_never().unwrap().unwrap().to_bytes();
            let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                sent,
                serde_json::json!({"clientId": "my \"id\"", "clientSecret": "s\\e\u{1}cret"})
            );
            let body = Bytes::from_static(br#"{"accessToken": "t"}"#);
            Ok::<_, BoxError>(Response::new(Full::new(body)))
        });
        let credentials = Credentials::new("my \"id\"", "s\\e\u{1}cret");
        let endpoint =
            SendPayments::new("https://api.example.com/v1/", service, credentials).unwrap();
        assert_eq!(endpoint.issue().await.unwrap().secret.expose_secret(), "t");
    }

    /// The known answer. Whatever else is built on the same client, these bytes stay.
    #[tokio::test]
    async fn the_request_is_byte_for_byte_as_ever() {
        let seen = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&seen);
        let service = service_fn(move |request: Request<Full<Bytes>>| {
            let (parts, body) = request.into_parts();
            let mut sent = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
            for (name, value) in &parts.headers {
                sent = format!("{sent}{name}: {}\n", value.to_str().unwrap());
            }
            let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
            *sink.lock().unwrap() = sent + std::str::from_utf8(&body).unwrap();
            let body = Bytes::from_static(br#"{"accessToken": "t"}"#);
            std::future::ready(Ok::<_, BoxError>(Response::new(Full::new(body))))
        });
        let credentials = Credentials::new("my \"id\"\u{e9}", "long-s\\e\u{1}c/ret+");
        let endpoint = SendPayments::new("https://api.example.com/v1", service, credentials);
        endpoint.unwrap().issue().await.unwrap();
        let expected = format!(
            "POST https://api.example.com/v1/auth HTTP/1.1\n\
             content-type: application/json\n\
             accept: application/json\n\
             user-agent: tower-reauth/{}\n\
             accept-encoding: identity\n{}",
            env!("CARGO_PKG_VERSION"),
            r#"{"clientId":"my \"id\""#.to_owned()
                + "\u{e9}"
                + r#"","clientSecret":"long-s\\e\u0001c/ret+"}"#
        );
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_right_are_refused_before_anything_is_sent() {
        let service = service_fn(|_: Request<Full<Bytes>>| async {
            Err::<Response<Full<Bytes>>, _>(BoxError::from("this was sent"))
        });
        for credentials in
            [Credentials::new("", "x"), Credentials::new("a\nb", "x"), Credentials::new("a", "")]
        {
            let endpoint =
                SendPayments::new("https://api.example.com", service, credentials).unwrap();
            assert!(endpoint.issue().await.unwrap_err().is_credentials());
        }
    }
}
