//! The request for a token. Pure.
//!
//! Each buffer that holds a secret has its capacity from the start and is wiped on drop, because a
//! buffer that grows leaves copies behind.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{
    base64,
    client_auth::ClientAuth,
    settings::{Grant, Settings, Target},
};
use crate::{
    credentials::Credentials,
    error::{AuthError, Kind},
    token::wiped_header,
};

/// The type of an assertion that authenticates the client (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The values that the sources supplied for one request.
#[derive(Clone, Copy)]
pub(super) struct Supplied<'a> {
    pub(super) credentials: &'a Credentials,
    /// The assertion that authenticates the client.
    pub(super) client_assertion: Option<&'a str>,
    /// The assertion or token that is the grant itself.
    pub(super) grant: Option<&'a str>,
}

type Parameters<'a> = Vec<(&'a str, &'a str)>;

/// Makes the request.
///
/// # Errors
///
/// Returns an error for credentials that can't be sent.
pub(super) fn request(
    settings: &Settings,
    target: &Target,
    supplied: Supplied<'_>,
) -> Result<Request<Full<Bytes>>, AuthError> {
    let scope = settings.scope.join(" ");
    let auth = settings.auth(target);
    let parameters = parameters(settings, auth, supplied, &scope);
    let (body, content_type) = if settings.json {
        (json(&parameters)?, "application/json")
    } else {
        (form(&parameters), "application/x-www-form-urlencoded")
    };
    let mut request = Request::new(Full::new(Bytes::from_owner(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.uri.clone();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let basic = match auth {
        ClientAuth::Basic => Some(basic(supplied.credentials, true)?),
        ClientAuth::BasicUnencoded => Some(basic(supplied.credentials, false)?),
        _ => None,
    };
    headers.extend(basic.map(|basic| (header::AUTHORIZATION, basic)));
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

/// Returns the parameters in the order in which they are sent. `scope` is the scope as one string.
pub(super) fn parameters<'a>(
    settings: &'a Settings,
    auth: &ClientAuth,
    supplied: Supplied<'a>,
    scope: &'a str,
) -> Parameters<'a> {
    let mut parameters = vec![("grant_type", settings.grant.name())];
    let granted = supplied.grant.unwrap_or_default();
    match &settings.grant {
        Grant::Named(_) => {}
        Grant::JwtBearer(_) => parameters.push(("assertion", granted)),
        Grant::RefreshToken(_) => parameters.push(("refresh_token", granted)),
        Grant::TokenExchange { token_type, .. } => {
            parameters.extend([("subject_token", granted), ("subject_token_type", token_type)]);
        }
    }
    parameters.extend((!scope.is_empty()).then_some(("scope", scope)));
    parameters.extend(settings.resources.iter().map(|it| ("resource", it.as_str())));
    parameters.extend(settings.audiences.iter().map(|it| ("audience", it.as_str())));
    let params = settings.params.iter();
    parameters.extend(params.map(|(name, value)| (name.as_str(), value.expose_secret())));
    let client_id = ("client_id", supplied.credentials.client_id());
    match auth {
        ClientAuth::Basic | ClientAuth::BasicUnencoded | ClientAuth::None => {}
        ClientAuth::Post => {
            let secret = supplied.credentials.expose_secret();
            parameters.extend([client_id, ("client_secret", secret)]);
        }
        ClientAuth::Assertion(_) => {
            let assertion = supplied.client_assertion.unwrap_or_default();
            parameters.extend([
                client_id,
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion),
            ]);
        }
        ClientAuth::Tls => parameters.push(client_id),
    }
    parameters
}

/// Encodes the parameters as a form (RFC 6749, appendix B).
fn form(parameters: &Parameters<'_>) -> Zeroizing<Vec<u8>> {
    let length: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
    // A byte becomes three at most, and each parameter has two separators.
    let mut form = Zeroizing::new(Vec::with_capacity(3 * length + 2 * parameters.len()));
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            form.push(b'&');
        }
        form_encode_into(name, &mut form);
        form.push(b'=');
        form_encode_into(value, &mut form);
    }
    form
}

/// Appends `text` as a name or a value of a form. Letters, digits and `*-._` stay, a space becomes
/// a plus sign, and of anything else each byte is percent-encoded.
fn form_encode_into(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// Encodes the parameters as a JSON object. One that is there several times becomes an array.
fn json(parameters: &Parameters<'_>) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    let length: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
    // JSON escapes a byte to six at most, and each parameter has eight characters around it.
    let mut json = Zeroizing::new(Vec::with_capacity(6 * length + 8 * parameters.len() + 2));
    let mut separator = b'{';
    let values =
        |name: &str| parameters.iter().filter(|it| it.0 == name).map(|it| it.1).collect::<Vec<_>>();
    for (index, (name, value)) in parameters.iter().enumerate() {
        if parameters[..index].iter().any(|earlier| earlier.0 == *name) {
            continue;
        }
        json.push(separator);
        serde_json::to_writer(&mut *json, name).map_err(AuthError::permanent)?;
        json.push(b':');
        match values(name).as_slice() {
            [_, _, ..] => serde_json::to_writer(&mut *json, &values(name)),
            _ => serde_json::to_writer(&mut *json, value),
        }
        .map_err(AuthError::permanent)?;
        separator = b',';
    }
    json.push(b'}');
    Ok(json)
}

/// Returns the `Authorization` of HTTP Basic, with client id and secret form-encoded first if
/// `encoded` (RFC 6749, section 2.3.1).
fn basic(credentials: &Credentials, encoded: bool) -> Result<HeaderValue, AuthError> {
    let (id, secret) = (credentials.client_id(), credentials.expose_secret());
    let mut pair = Zeroizing::new(Vec::with_capacity(3 * (id.len() + secret.len()) + 1));
    if encoded {
        form_encode_into(id, &mut pair);
        pair.push(b':');
        form_encode_into(secret, &mut pair);
    } else if id.contains(':') {
        return Err(AuthError::new(
            Kind::Credentials,
            "the client id has a colon, which HTTP Basic can't carry without encoding; use \
             ClientAuth::Basic or ClientAuth::Post",
        ));
    } else {
        pair.extend_from_slice(id.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(secret.as_bytes());
    }
    let mut value = Zeroizing::new(Vec::with_capacity(6 + base64::encoded_len(pair.len())));
    value.extend_from_slice(b"Basic ");
    base64::encode_into(&pair, &mut value);
    // Base64 is visible ASCII, so this never fails.
    wiped_header(value).ok_or_else(|| AuthError::permanent("base64 is no header value"))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
