//! [`TokenResponse`]: what a token endpoint answered, typed.

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

/// A 200 or 201 of the token endpoint.
pub struct TokenResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
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

    /// An error that says what was wrong with this answer: status, content type, `found`.
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

    pub(super) fn refusal(&self, secret: &str) -> AuthError {
        let (kind, advice) = classify(self.status);
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
