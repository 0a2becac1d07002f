//! What an error may quote of a response: never its body as it is, and nothing that holds the secret.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

/// The documented error shapes: the Send Payments API's, and OAuth 2's `error`.
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

pub(super) fn documented_message(body: &[u8], secret: &str) -> Option<String> {
    let error: ErrorBody = serde_json::from_slice(body).ok()?;
    let types = error.errors.into_iter().filter_map(|detail| detail.r#type);
    let parts: Vec<String> = error.message.into_iter().chain(error.error).chain(types).collect();
    let joined = parts.join(", ");
    // Before cutting and escaping, either of which could hide a part of the secret from this look.
    if joined.is_empty() || (!secret.is_empty() && joined.contains(secret)) {
        return None;
    }
    Some(escape(&joined, MAX_QUOTED_CHARS))
}

/// `text` without what would change how a terminal or a log viewer shows the rest, and no longer than `limit` in that
/// form.
fn escape(text: &str, limit: usize) -> String {
    // No more of it than that can be shown.
    let parts = text
        .chars()
        .take(limit)
        .map(|c| if is_misleading(c) { c.escape_unicode().to_string() } else { c.to_string() });
    parts.collect::<String>().chars().take(limit).collect()
}

/// Control characters, and the invisible ones that turn the direction or break the line.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Drops a content type that holds the secret: every error shows it.
pub(super) fn redact_content_type(headers: &mut HeaderMap, secret: &str) {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(secret));
    if !secret.is_empty() && headers.get(header::CONTENT_TYPE).is_some_and(holds) {
        headers.remove(header::CONTENT_TYPE);
    }
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.map(|value| format!(", {}", escape(value, 60))).unwrap_or_default()
}
