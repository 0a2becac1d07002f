//! [`TokenResponse`]: a response of the token endpoint, and the errors that are made from one.

use std::{fmt, time::SystemTime};

use http::{HeaderMap, StatusCode, header};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{
    form,
    quote::{Documented, WipedOnDrop, content_coding, content_type, documented, may_be_shown},
    refusal::{Class, by_code, classify, fate, retry_after},
    spelling,
    unicode::utf8,
};
use crate::{
    clock,
    error::{AuthError, Kind},
};

/// A response of the token endpoint. [`TokenClient::send`](super::TokenClient::send) returns only
/// those with a 2xx status, and [`exchange`](super::TokenClient::exchange) any.
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
    /// The endpoint as an error names it.
    endpoint: String,
    status: StatusCode,
    headers: HeaderMap,
    /// In UTF-8, unless it is in a content coding.
    body: Zeroizing<Vec<u8>>,
    /// The content coding that the body is in, although none was asked for.
    coding: Option<String>,
    /// Never shown, and nothing that holds a part of one of them is quoted.
    secrets: Vec<SecretString>,
}

impl TokenResponse {
    pub(super) fn new(
        endpoint: String,
        status: StatusCode,
        headers: HeaderMap,
        body: Zeroizing<Vec<u8>>,
        secrets: Vec<SecretString>,
    ) -> Self {
        let coding = content_coding(&headers, &body);
        Self { endpoint, status, headers, body: utf8(body), coding, secrets }
    }

    /// Parses the body as JSON.
    ///
    /// A byte order mark is skipped, and UTF-16 and UTF-32 are read. Of a key that is there twice,
    /// the last one counts.
    ///
    /// # Errors
    ///
    /// Returns a [transient](AuthError::is_transient) error for a body that is empty or was cut
    /// off. A body that is not JSON, or other JSON than `T`, is an
    /// [invalid response](AuthError::is_invalid_response), unless the error code in it says more.
    /// The text of the error names the status, and the content type or the documented error
    /// message. A compressed body can't be read, and the error names its coding.
    ///
    /// The token in use of an [exclusive](super::Rotation::Exclusive) endpoint is then suspect.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        let error = match serde_json::from_slice(&self.body) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // Most types refuse a key that is there twice, and a map takes the last one.
        if error.is_data()
            && let Ok(value) = serde_json::from_slice(&self.body).map(WipedOnDrop)
            && let Ok(value) = T::deserialize(&value.0)
        {
            return Ok(value);
        }
        let has_content =
            !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        let (kind, found) = if self.body.is_empty() && !has_content {
            (Kind::InvalidResponse, "no content")
        } else if self.body.is_empty() {
            (Kind::Transient, "an empty body")
        } else if let Some(coding) = &self.coding {
            let found = format!("a body that is encoded as {coding}, which was not asked for");
            return Err(self.unusable(Kind::InvalidResponse, &found));
        } else if error.is_eof() {
            (Kind::Transient, "a body that was cut off")
        } else if error.is_data() {
            (Kind::InvalidResponse, "JSON in which a field is missing or of another type")
        } else {
            (Kind::InvalidResponse, "something that is not JSON")
        };
        Err(self.unusable(kind, found))
    }

    /// Parses the body as JSON or, if its content type is that of a form or of plain text, as a
    /// form.
    pub(super) fn value(&self) -> Result<WipedOnDrop, AuthError> {
        self.json().map(WipedOnDrop).or_else(|error| self.form().ok_or(error))
    }

    fn form(&self) -> Option<WipedOnDrop> {
        let content_type = self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_form = ["application/x-www-form-urlencoded", "text/plain"]
            .iter()
            .any(|form| content_type.eq_ignore_ascii_case(form));
        if is_form { form::parse(&self.body) } else { None }
    }

    /// Creates the error of a response that refuses the request. `code` is its error code where
    /// that is not in the documented place, and the kind of error that it means if that is known.
    /// `advice_for` may replace the advice for a kind of error and a code.
    ///
    /// In a success only the code can speak.
    pub(super) fn refused(
        &self,
        code: Option<(String, Option<Kind>)>,
        advice_for: impl FnOnce(Kind, Option<&str>) -> Option<&'static str>,
    ) -> AuthError {
        let mut documented =
            if self.status.is_redirection() { Documented::default() } else { self.documented() };
        let (code, kind) = code.map_or((None, None), |(code, kind)| (Some(code), kind));
        let code = code.filter(|code| may_be_shown(code, &self.secrets));
        let mut start = self.start();
        if let Some(code) = code
            && documented.code.as_deref() != Some(&*code)
        {
            start = format!("{start} with the code {code}");
            documented.code = Some(code);
        }
        let rejected = (Kind::Rejected, "check the client id and the secret");
        let by_table = documented.code.as_deref().and_then(by_code);
        let class = match kind {
            Some(Kind::Transient) => (Kind::Transient, "try again later"),
            Some(kind) => by_table.unwrap_or((kind, rejected.1)),
            None if self.status.is_success() => by_table.unwrap_or(rejected),
            None => classify(self.status, documented.code.as_deref(), documented.is_json),
        };
        let advice = advice_for(class.0, documented.code.as_deref()).unwrap_or(class.1);
        self.error(&start, (class.0, advice), documented)
    }

    /// Creates an error that names the status, what was `found` in the body, and the documented
    /// error message or else the content type.
    ///
    /// A code in the body decides what the error means.
    pub(super) fn unusable(&self, kind: Kind, found: &str) -> AuthError {
        let documented = self.documented();
        let class = documented.code.as_deref().and_then(by_code);
        let by_kind = if kind == Kind::Transient { "try again later" } else { "check its address" };
        let start = format!("{} with {found}", self.start());
        self.error(&start, class.unwrap_or((kind, by_kind)), documented)
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

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Creates the error that this response means if it brought no token.
    ///
    /// The code in its body decides, else its status. The text quotes the documented error message
    /// if there is one, else the content type. A 2xx is an
    /// [invalid response](AuthError::is_invalid_response), unless the code in it says more.
    pub fn refusal(&self) -> AuthError {
        if self.status.is_success() {
            return self.unusable(Kind::InvalidResponse, "no token");
        }
        let documented =
            if self.status.is_redirection() { Documented::default() } else { self.documented() };
        let class = classify(self.status, documented.code.as_deref(), documented.is_json);
        self.error(&self.start(), class, documented)
    }

    /// Returns the endpoint as an error names it.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the first words of an error.
    fn start(&self) -> String {
        format!("{} answered {}", self.endpoint, self.status)
    }

    /// Returns `true` if `text`, which is the server's, holds no part of a secret that was sent.
    pub(super) fn may_show(&self, text: &str) -> bool {
        !spelling::holds_any(text, &self.secrets)
    }

    fn documented(&self) -> Documented {
        documented(&self.body, &self.secrets)
    }

    fn error(&self, start: &str, class: Class, documented: Documented) -> AuthError {
        let (kind, advice) = class;
        let Documented { text, code, .. } = documented;
        let quoted = text.map_or_else(
            || {
                let coding = self.coding.as_deref().filter(|coding| !start.contains(coding));
                let coding = coding.map(|it| format!(", encoded as {it}")).unwrap_or_default();
                format!("{}{coding}", content_type(&self.headers))
            },
            |text| format!(" ({text})"),
        );
        let now = self.date().unwrap_or_else(clock::wall);
        let pause = retry_after(&self.headers, code.as_deref(), now)
            .filter(|_| !self.status.is_success() || kind == Kind::Transient);
        AuthError::responded(kind, format!("{start}{quoted}; {advice}"), self.status)
            .with_fate(fate(self.status, code.as_deref()))
            .with_retry_after(pause)
            .with_code(code)
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
