//! The parts of a response that an error may quote. Pure.
//!
//! An error never shows a body as it is, and nothing that holds the secret.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

/// The documented error shapes in one.
///
/// `message` and `errors` are those of the Send Payments API. `error` is that of OAuth 2 (RFC 6749,
/// section 5.2).
#[derive(Deserialize)]
struct ErrorBody {
    message: Option<String>,
    error: Option<String>,
    #[serde(default)]
    errors: Vec<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    r#type: Option<String>,
}

const MAX_QUOTED_CHARS: usize = 200;

/// Returns the documented message of an error body, escaped and cut to [`MAX_QUOTED_CHARS`].
///
/// `None` if the body has another shape, if there is no message, or if it holds the secret.
pub(super) fn documented_message(body: &[u8], secret: &str) -> Option<String> {
    let error: ErrorBody = serde_json::from_slice(body).ok()?;
    let types = error.errors.into_iter().filter_map(|detail| detail.r#type);
    let parts: Vec<String> = error.message.into_iter().chain(error.error).chain(types).collect();
    let joined = parts.join(", ");
    // Checked before the text is cut and escaped, since both could leave a part of the secret that
    // this comparison misses.
    if joined.is_empty() || (!secret.is_empty() && joined.contains(secret)) {
        return None;
    }
    Some(escape(&joined, MAX_QUOTED_CHARS))
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

/// Removes a content type that holds the secret, because every error quotes the content type.
pub(super) fn redact_content_type(headers: &mut HeaderMap, secret: &str) {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(secret));
    if !secret.is_empty() && headers.get(header::CONTENT_TYPE).is_some_and(holds) {
        headers.remove(header::CONTENT_TYPE);
    }
}

/// Returns the content type as an error quotes it, after a comma and cut to 60 characters.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.map(|value| format!(", {}", escape(value, 60))).unwrap_or_default()
}
