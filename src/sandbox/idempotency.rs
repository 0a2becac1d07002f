//! The `idempotency` header by the API reference.

use http::HeaderMap;

const MAX_IDEMPOTENCY_KEY: usize = 36;

/// Returns the `idempotency` key of a request, or `None` if there is none or an empty one.
///
/// The error is the text for the response.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all("idempotency").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there must be one idempotency header at most".to_owned());
    }
    if value.len() > MAX_IDEMPOTENCY_KEY {
        return Err("idempotency must have 36 characters at most".to_owned());
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b" -_+=/".contains(byte);
    if !value.as_bytes().iter().all(allowed) {
        return Err("idempotency must match ^[a-zA-Z 0-9-_+=/]*$".to_owned());
    }
    Ok(value.to_str().ok().filter(|key| !key.is_empty()).map(str::to_owned))
}
