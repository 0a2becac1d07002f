//! [`TokenRequest`]: a request for a token, by the rules of its form.

use std::{collections::HashSet, fmt};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::{
    client::AuthMethod,
    form::{self, Parameters},
    refusal::Refusal,
};

/// In bytes.
const MAX_BODY: usize = 1024 * 1024;
/// The parameters of which a request may have several (RFC 8707, section 2, and RFC 8693, section
/// 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];
/// The parameters that may not be in the URI (RFC 6749, section 2.3.1).
const SECRETS: [&str; 3] = ["client_id", "client_secret", "client_assertion"];

/// A request for a token that an [`OAuth2Server`](super::OAuth2Server) has received.
///
/// `Debug` shows the names of the parameters and no values, because some of them are secrets.
#[derive(Clone, Default)]
pub struct TokenRequest {
    pub(super) parameters: Parameters,
    pub(super) client_id: Option<String>,
    pub(super) method: Option<AuthMethod>,
    pub(super) status: StatusCode,
}

impl TokenRequest {
    /// Returns the value of the first parameter called `name`, decoded.
    pub fn param(&self, name: &str) -> Option<&str> {
        value(&self.parameters, name)
    }

    /// Returns the values of all parameters called `name`, in the order of the request.
    pub fn params(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the names of the parameters, in the order of the request.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the id of the client, if it has authenticated itself.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns the method by which the client has authenticated itself.
    pub fn method(&self) -> Option<AuthMethod> {
        self.method
    }

    /// Returns the status of the response. A request without a response has 200.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("parameters", &self.names().collect::<Vec<_>>())
            .field("client_id", &self.client_id)
            .field("method", &self.method)
            .field("status", &self.status)
            .finish()
    }
}

/// Reads the whole body. A body of more than 1 MiB is a 413.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::invalid_request("the body is larger than 1 MiB")
                .with_status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Err(_) => Err(Refusal::invalid_request("the body broke off")),
    }
}

/// Returns the parameters of a request, and checks the rules that hold for every grant.
pub(super) fn read_parameters(
    headers: &HeaderMap,
    uri: &Uri,
    body: &[u8],
    takes_json: bool,
) -> Result<Parameters, Refusal> {
    let query = form::parse(uri.query().unwrap_or_default().as_bytes())
        .map_err(|error| Refusal::invalid_request(format!("in the query, {error}")))?;
    if query.iter().any(|(name, _)| SECRETS.contains(&name.as_str())) {
        return Err(Refusal::invalid_request("the query holds credentials"));
    }
    let parameters = match media_type(headers) {
        Some("application/x-www-form-urlencoded") => form::parse(body)
            .map_err(|error| Refusal::invalid_request(format!("in the body, {error}")))?,
        Some("application/json") if takes_json => read_json(body)?,
        _ => {
            return Err(Refusal::invalid_request(
                "the content type must be application/x-www-form-urlencoded, without parameters",
            ));
        }
    };
    let mut seen = HashSet::new();
    for (name, _) in &parameters {
        if !seen.insert(name) && !REPEATABLE.contains(&name.as_str()) {
            return Err(Refusal::invalid_request("a parameter is there more than once"));
        }
    }
    Ok(parameters)
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok()
}

/// Reads the parameters as the strings of a JSON object. An array stands for several of one name.
fn read_json(body: &[u8]) -> Result<Parameters, Refusal> {
    let malformed = || Refusal::invalid_request("the body must be a JSON object of strings");
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Err(malformed()) };
    let mut parameters = Vec::new();
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let Value::String(value) = value else { return Err(malformed()) };
            parameters.push((name.clone(), value));
        }
    }
    Ok(parameters)
}

/// Returns the value of the first parameter called `name`.
pub(super) fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
