//! [`TokenResponse`]: a response of the token endpoint, and the errors that are made from one.

use std::{fmt, time::SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{
    quote::{content_type, documented_message},
    refusal::{classify, fate, retry_after},
};
use crate::{
    clock,
    error::{AuthError, Kind},
};

/// A response of the token endpoint with the status 200 or 201.
///
/// The body is wiped from memory on drop, because it holds the token. `Debug` shows the status
/// only.
///
/// # Examples
///
/// ```
/// use http::{Request, Uri};
/// use tower_reauth::{
///     AuthError, Credentials,
///     endpoint::{HttpService, IssuedToken, TokenClient},
/// };
///
/// #[derive(serde::Deserialize)]
/// struct Body {
///     token: String,
/// }
///
/// async fn issue<S: HttpService>(
///     client: &TokenClient<S>,
///     uri: &Uri,
///     credentials: &Credentials,
/// ) -> Result<IssuedToken, AuthError> {
///     let request = Request::post(uri)
///         .header("x-client-secret", credentials.expose_secret())
///         .body(Default::default())
///         .map_err(AuthError::permanent)?;
///     let response = client.send(request, credentials).await?;
///     let body: Body = response.json()?;
///     Ok(IssuedToken::new(body.token).server_date(response.date()))
/// }
/// ```
pub struct TokenResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl TokenResponse {
    /// Parses the body as JSON.
    ///
    /// # Errors
    ///
    /// Returns a [transient](AuthError::is_transient) error for a body that is empty or was cut
    /// off. A body that is not JSON, or other JSON than `T`, is an
    /// [invalid response](AuthError::is_invalid_response). The text of the error names the status
    /// and the content type, and nothing of the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let found = if self.body.is_empty() {
                "an empty body"
            } else if error.is_eof() {
                "a body that was cut off"
            } else if error.is_data() {
                "JSON in which a field is missing or of another type"
            } else {
                "something that is not JSON"
            };
            let kind = if error.is_eof() { Kind::Transient } else { Kind::InvalidResponse };
            self.unusable(kind, found)
        })
    }

    /// Creates an error that names the status, the content type and what was `found` in the body.
    pub(crate) fn unusable(&self, kind: Kind, found: &str) -> AuthError {
        let advice = if kind == Kind::Transient { "try again later" } else { "check its address" };
        let (status, content_type) = (self.status, content_type(&self.headers));
        AuthError::answered(
            kind,
            format!("the token endpoint answered {status} with {found}{content_type}; {advice}"),
            self.status,
            None,
        )
    }

    /// Returns the endpoint's wall clock when it made the response, by the `Date` header (RFC 9110,
    /// section 6.6.1). Precise to a second.
    ///
    /// `None` if there is no such header, or if it can't be parsed.
    pub fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.headers.get(header::DATE)?.to_str().ok()?).ok()
    }

    /// Returns the headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the status of the response, which is 200 or 201.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Creates the error of a response with another status than 200 and 201.
    ///
    /// The text quotes the documented error message if there is one, else the content type.
    pub(super) fn refusal(&self, secret: &str) -> AuthError {
        let (kind, advice) = classify(self.status);
        // The body of a redirect is a page for people, never the documented error.
        let quoted = if self.status.is_redirection() {
            None
        } else {
            documented_message(&self.body, secret)
        };
        let quoted =
            quoted.map_or_else(|| content_type(&self.headers), |quoted| format!(" ({quoted})"));
        AuthError::answered(
            kind,
            format!("the token endpoint answered {}{quoted}; {advice}", self.status),
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

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
