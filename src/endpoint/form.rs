//! A form (`application/x-www-form-urlencoded`) as a response body. Pure.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::quote::WipedOnDrop;

/// Parses a form into an object of strings. `None` if it is none: it has no equals sign, is not
/// visible ASCII, or is not UTF-8 once decoded. Of a name that is there twice, the last value
/// counts.
pub(super) fn parse(body: &[u8]) -> Option<WipedOnDrop> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if !text.contains('=') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut fields = WipedOnDrop(Value::Object(Map::new()));
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if let Value::Object(fields) = &mut fields.0
            && let Some(earlier) = fields.insert(name, Value::String(value))
        {
            drop(WipedOnDrop(earlier));
        }
    }
    Some(fields)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'+' => (b' ', after),
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                (u8::from_str_radix(digits, 16).ok()?, &after[2..])
            }
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(std::mem::take(&mut *bytes)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_an_object_of_strings() {
        let read = |text: &str| parse(text.as_bytes()).map(|it| it.0.clone());
        assert_eq!(
            read("access_token=a%2Bb&scope=x+y&expires_in=3600&odd"),
            Some(json!({"access_token": "a+b", "scope": "x y", "expires_in": "3600", "odd": ""}))
        );
        assert_eq!(read("a=1&a=2\n"), Some(json!({"a": "2"})));
        for text in ["", "a page of text", "<a href=x>", "a=%zz", "a=%4", "a=%ff", "no form"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
