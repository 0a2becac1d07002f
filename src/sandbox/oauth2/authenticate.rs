//! Client authentication: exactly one method per request (RFC 6749, section 2.3).

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};

use super::{
    assertion,
    client::{AuthMethod, OAuth2Client},
    form::{self, Parameters},
    refusal::Refusal,
    request::value,
    state::State,
};

/// The type of an assertion that authenticates a client (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The credentials of a request.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Secret {
        id: String,
        secret: String,
        method: AuthMethod,
    },
    Assertion {
        jwt: String,
        id: Option<String>,
    },
    /// A client id alone: a public client, or one with a certificate.
    Id(String),
    Nothing,
}

/// A client that is known to be itself.
pub(super) type Authenticated<'a> = (&'a OAuth2Client, AuthMethod);

/// Returns the client that sent the request. `None` means that the request names no client, which
/// only the assertion grant allows (RFC 7521, section 4.1).
pub(super) fn authenticate<'a>(
    state: &'a State,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Option<Authenticated<'a>>, Refusal> {
    let (client, method) = match presented(headers, parameters)? {
        Presented::Nothing => return Ok(None),
        Presented::Secret { id, secret, method } => {
            let client = find(state, &id)?;
            if state.secret(client) != Some(secret) {
                return Err(Refusal::invalid_client("the secret is wrong"));
            }
            (client, method)
        }
        Presented::Assertion { jwt, id } => {
            let subject = assertion::unverified_issuer(&jwt)
                .ok_or_else(|| Refusal::invalid_client("the assertion is no JWT with an iss"))?;
            let client = find(state, &subject)?;
            if id.is_some_and(|id| id != subject) {
                return Err(Refusal::invalid_client("client_id is not the assertion's iss"));
            }
            let method = assertion::check_client(state, client, &jwt)
                .map_err(|error| Refusal::invalid_client(format!("the assertion: {error}")))?;
            (client, method)
        }
        Presented::Id(id) => {
            let client = find(state, &id)?;
            let with_id = [AuthMethod::Tls, AuthMethod::None];
            let method = client.methods.iter().find(|method| with_id.contains(method));
            (client, *method.unwrap_or(&AuthMethod::None))
        }
    };
    if !client.methods.contains(&method) {
        let registered = client.methods.iter().map(|method| method.name()).collect::<Vec<_>>();
        return Err(Refusal::invalid_client(format!(
            "the client sent {}, and is registered for {}",
            method.name(),
            registered.join(" or ")
        )));
    }
    Ok(Some((client, method)))
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a OAuth2Client, Refusal> {
    state.clients.get(id).ok_or_else(|| Refusal::invalid_client("the client is unknown"))
}

fn presented(headers: &HeaderMap, parameters: &Parameters) -> Result<Presented, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = values.next();
    if values.next().is_some() {
        return Err(Refusal::invalid_request("there are several Authorization headers"));
    }
    let get = |name| value(parameters, name);
    let (id, secret) = (get("client_id"), get("client_secret"));
    let (jwt, kind) = (get("client_assertion"), get("client_assertion_type"));
    if jwt.is_some() != kind.is_some() {
        return Err(Refusal::invalid_request(
            "client_assertion and client_assertion_type must come together",
        ));
    }
    match (authorization, secret, jwt) {
        (Some(_), None, None) if id.is_some() => {
            Err(Refusal::invalid_request("client_id is in the form and in the header"))
        }
        (Some(value), None, None) => basic(value),
        (None, Some(secret), None) => {
            let id = id.ok_or_else(|| Refusal::invalid_request("client_id is missing"))?.to_owned();
            Ok(Presented::Secret { id, secret: secret.to_owned(), method: AuthMethod::Post })
        }
        (None, None, Some(jwt)) => {
            if kind != Some(ASSERTION_TYPE) {
                return Err(Refusal::invalid_request("the client_assertion_type is unknown"));
            }
            Ok(Presented::Assertion { jwt: jwt.to_owned(), id: id.map(str::to_owned) })
        }
        (None, None, None) => Ok(id.map_or(Presented::Nothing, |id| Presented::Id(id.to_owned()))),
        _ => Err(Refusal::invalid_request("there is more than one client authentication")),
    }
}

/// Reads the header `Authorization`. Id and secret are form-encoded before they are joined by a
/// colon (RFC 6749, section 2.3.1).
fn basic(value: &HeaderValue) -> Result<Presented, Refusal> {
    let malformed = |reason: &str| Refusal::invalid_client(format!("Authorization: {reason}"));
    let value = value.to_str().map_err(|_| malformed("it is not ASCII"))?;
    let encoded = match value.split_once(' ') {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => encoded,
        _ => return Err(malformed("the scheme must be Basic")),
    };
    let pair = STANDARD.decode(encoded).map_err(|_| malformed("it is not padded base64"))?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or_else(|| malformed("no colon"))?;
    let part = |part: &[u8]| {
        form::decode(part).map_err(|error| malformed(&format!("not form-encoded: {error}")))
    };
    let (id, secret) = (part(&pair[..colon])?, part(&pair[colon + 1..])?);
    Ok(Presented::Secret { id, secret, method: AuthMethod::Basic })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn form(body: &str) -> Parameters {
        form::parse(body.as_bytes()).unwrap()
    }

    /// The request of RFC 6749, section 4.4.2, and the client of AppAuth-Android#337.
    #[test]
    fn basic_is_decoded_as_rfc_6749_has_it() {
        for (value, id, secret) in [
            ("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW", "s6BhdRkqt3", "gX1fBat3bV"),
            ("basic MVBwRyUyRlErMTpzJTNBKyUyNQ==", "1PpG/Q 1", "s: %"),
        ] {
            let Ok(Presented::Secret { id: found, secret: with, method }) =
                presented(&header(value), &form("grant_type=x"))
            else {
                panic!("{value}");
            };
            assert_eq!((found.as_str(), with.as_str(), method), (id, secret, AuthMethod::Basic));
        }
    }

    #[test]
    fn basic_that_is_not_encoded_twice_or_padded_is_refused() {
        // `a b:c`, `a:b/c`, no padding, no colon, another scheme.
        for value in ["Basic YSBiOmM=", "Basic YTpiL2M=", "Basic YTpi Yw", "Basic YWI=", "Bearer x"]
        {
            let refusal = presented(&header(value), &form("grant_type=x")).unwrap_err();
            assert_eq!(refusal.code(), "invalid_client", "{value}");
        }
    }

    #[test]
    fn a_second_authentication_is_refused() {
        let basic = header("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
        let assertion = format!("client_assertion=a.b.c&client_assertion_type={}", {
            super::form::encode(ASSERTION_TYPE)
        });
        for (headers, body) in [
            (&basic, "client_id=s6BhdRkqt3&client_secret=gX1fBat3bV".to_owned()),
            (&basic, "client_id=s6BhdRkqt3".to_owned()),
            (&basic, assertion.clone()),
            (&HeaderMap::new(), format!("client_id=a&client_secret=b&{assertion}")),
            (&HeaderMap::new(), "client_assertion=a.b.c".to_owned()),
            (&HeaderMap::new(), "client_secret=b".to_owned()),
        ] {
            let refusal = presented(headers, &form(&body)).unwrap_err();
            assert_eq!(refusal.code(), "invalid_request", "{body}");
        }
    }
}
