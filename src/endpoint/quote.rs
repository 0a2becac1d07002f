//! The parts of a response that an error may quote. Pure.
//!
//! An error never shows a body as it is, and nothing that holds a part of the secret.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::{
    refusal::{by_code, is_code},
    spelling,
};

/// The error fields of a body, in the documented shapes.
///
/// `message` and `errors` are those of the Send Payments API. `error` and `error_description` are
/// those of OAuth 2 (RFC 6749, section 5.2).
#[derive(Debug, Default)]
pub(super) struct Documented {
    /// The documented fields, escaped and cut to [`MAX_QUOTED_CHARS`]. If they hold a part of the
    /// secret, it is the code alone. `None` if there is none either.
    pub(super) text: Option<String>,
    /// The error code of OAuth 2, if it is one by the RFC's own rules.
    pub(super) code: Option<String>,
    /// The body is a JSON object or array, in whatever shape.
    pub(super) is_json: bool,
}

/// A JSON value whose strings are wiped on drop, because one of them may be a token.
pub(super) struct WipedOnDrop(pub(super) Value);

const MAX_QUOTED_CHARS: usize = 200;

/// Reads the documented fields of a body.
pub(super) fn documented(body: &[u8], secrets: &[SecretString]) -> Documented {
    let Ok(body) = serde_json::from_slice(body).map(WipedOnDrop) else {
        return Documented::default();
    };
    let Value::Object(fields) = &body.0 else {
        return Documented { is_json: body.0.is_array(), ..Documented::default() };
    };
    let text = |name| text(fields, name);
    let details = fields.get("errors").and_then(Value::as_array).into_iter().flatten();
    let details = details.filter_map(Value::as_object);
    let details = details.flat_map(|it| [self::text(it, "message"), self::text(it, "type")]);
    let parts = [text("message"), text("error"), text("error_description")];
    let mut parts: Vec<&str> = parts.into_iter().chain(details).flatten().collect();
    // A detail may repeat the message.
    let mut said = HashSet::new();
    parts.retain(|part| said.insert(*part));
    // A server may show the secret.
    let joined = Zeroizing::new(parts.join(", "));
    // Checked before the text is cut and escaped, since both could leave a part of the secret that
    // this comparison misses.
    let is_shown = !joined.is_empty() && !spelling::holds_any(&joined, secrets);
    let code = text("error").filter(|code| may_be_shown(code, secrets));
    // A short parameter is soon a part of a sentence, and the code alone tells most of it.
    let shown = if is_shown { Some(joined.as_str()) } else { code };
    Documented {
        text: shown.map(|text| escape(text, MAX_QUOTED_CHARS)),
        code: code.map(str::to_owned),
        is_json: true,
    }
}

/// Returns `true` if `code` is an error code that an error may show.
///
/// A code of the RFCs tells nothing of a secret, whatever part of one it may spell. Without its
/// code a refusal would mean something else.
pub(super) fn may_be_shown(code: &str, secrets: &[SecretString]) -> bool {
    by_code(code).is_some() || is_code(code) && !spelling::holds_any(code, secrets)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

impl Drop for WipedOnDrop {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Escapes the characters of `text` that would change how a terminal or a log viewer shows the
/// rest. The result has at most `limit` characters.
fn escape(text: &str, limit: usize) -> String {
    // Taken before the escaping too, because a body can be much longer than what is shown of it.
    let parts = text
        .chars()
        .take(limit)
        .map(|c| if is_misleading(c) { c.escape_unicode().to_string() } else { c.to_string() });
    parts.collect::<String>().chars().take(limit).collect()
}

/// Returns `true` for control characters, and for the invisible characters that turn the direction
/// of the text or break its line.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// The headers that an error quotes.
const QUOTED: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_ENCODING];

/// Removes each quoted header that holds a part of one of the secrets.
pub(super) fn redact_headers(headers: &mut HeaderMap, secrets: &[SecretString]) {
    let holds =
        |value: &HeaderValue| value.to_str().is_ok_and(|value| spelling::holds_any(value, secrets));
    for name in QUOTED {
        if headers.get_all(&name).iter().any(holds) {
            headers.remove(name);
        }
    }
}

/// Returns the content type as an error quotes it, after a comma and cut to 60 characters.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.map(|value| format!(", {}", escape(value, 60))).unwrap_or_default()
}

/// Returns the name of the content coding that a body has (RFC 9110, section 8.4), by its header or
/// else by its first bytes. `None` for a body as it is.
pub(super) fn content_coding(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let names = headers.get_all(header::CONTENT_ENCODING);
    let names = names.iter().filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let names: Vec<&str> = names
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
        .collect();
    if !names.is_empty() {
        return Some(escape(&names.join(", "), 40));
    }
    let name = match *body {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => "deflate",
        _ => return None,
    };
    Some(name.into())
}
