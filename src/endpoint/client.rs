//! [`TokenClient`]: one exchange with a token endpoint over any Tower HTTP service.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::{http_service::HttpService, response::TokenResponse};
use crate::{
    credentials::Credentials,
    error::{AuthError, Kind},
    origin::Origin,
};

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
    max_response_size: usize,
    allow_plain_http: bool,
}

const DEFAULT_MAX_RESPONSE_SIZE: usize = 64 * 1024;

impl<S: HttpService> TokenClient<S> {
    /// Over `service`, with the default size cap of 64 KiB.
    pub fn new(service: S) -> Self {
        Self {
            service: Mutex::new(service),
            max_response_size: DEFAULT_MAX_RESPONSE_SIZE,
            allow_plain_http: false,
        }
    }

    /// The largest answer that is read, in bytes. Defaults to 65,536.
    #[must_use]
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.max_response_size = bytes;
        self
    }

    /// Sends over plain http beyond this machine too, where everybody on the way can read the secret. Defaults to
    /// refusing that.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
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
            Origin::of(request.uri()).filter(|origin| origin.is_exposed() && !self.allow_plain_http)
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
        let (parts, body) =
            service.exchange(request, self.max_response_size, secret).await?.into_parts();
        let response = TokenResponse {
            status: parts.status,
            headers: parts.headers,
            body: wiped_on_drop(body),
        };
        match response.status {
            StatusCode::OK | StatusCode::CREATED => Ok(response),
            _ => Err(response.refusal(secret)),
        }
    }
}

impl<S> fmt::Debug for TokenClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("max_response_size", &self.max_response_size)
            .finish_non_exhaustive()
    }
}

/// Without a copy if nobody else holds the bytes.
fn wiped_on_drop(body: Bytes) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body.into())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
