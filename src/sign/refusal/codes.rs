//! [`Codes`]: looks for a code in the beginning of a JSON body. Pure.

use std::time::Duration;

use serde_json::Value;

use super::conditions::invalid;
use crate::error::ConfigError;

/// The settings of a [`RefusalLayer`](super::RefusalLayer).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) codes: Codes,
    /// How long a body is waited for.
    pub(super) timeout: Duration,
}

/// The codes that say that a token is refused, and where they are in the JSON.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    /// RFC 6901.
    pointer: String,
    codes: Vec<String>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Codes {
    pub(super) fn new(
        pointer: &str,
        codes: impl IntoIterator<Item: ToString>,
    ) -> Result<Self, ConfigError> {
        let has_bad_escape =
            || pointer.split('~').skip(1).any(|part| !part.starts_with(['0', '1']));
        if !pointer.starts_with('/') || has_bad_escape() {
            let reason = "it is no JSON pointer (RFC 6901); begin it with a slash, as \"/code\", \
                          and write \"~0\" for \"~\" and \"~1\" for a slash in a name";
            return Err(invalid(pointer, reason));
        }
        let codes: Vec<_> = codes.into_iter().map(|code| code.to_string()).collect();
        if codes.is_empty() || codes.iter().any(String::is_empty) {
            return Err(invalid("", "there is no code; name at least one that is not empty"));
        }
        Ok(Self { pointer: pointer.to_owned(), codes })
    }

    /// Returns whether the first JSON value of `text` holds one of the codes. `None` means that the
    /// value does not end here.
    pub(super) fn find(&self, text: &[u8]) -> Option<bool> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start();
        match text.first() {
            None => return None,
            // The pointer needs an object or an array. What is neither need not be waited for.
            Some(b'{' | b'[') => {}
            Some(_) => return Some(false),
        }
        match serde_json::Deserializer::from_slice(text).into_iter::<Value>().next() {
            Some(Ok(value)) => Some(self.is_in(&value)),
            Some(Err(error)) if error.is_eof() => None,
            _ => Some(false),
        }
    }

    fn is_in(&self, value: &Value) -> bool {
        let found = match value.pointer(&self.pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return false,
        };
        self.codes.contains(&found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_found_as_a_number_and_as_a_string_where_the_pointer_says() {
        let codes = Codes::new("/code", [99_991_663, 99_991_664]).unwrap();
        for (text, expected) in [
            (r#"{"code": 99991663, "msg": "invalid token"}"#, Some(true)),
            (r#"{"msg": "x", "code": "99991664"}"#, Some(true)),
            (r#"{"code": 0}"#, Some(false)),
            (r#"{"code": 9999166}"#, Some(false)),
            (r#"{"code": 999916630}"#, Some(false)),
            (r#"{"code": "99991663 "}"#, Some(false)),
            (r#"{"code": -99991663}"#, Some(false)),
            (r#"{"code": [99991663]}"#, Some(false)),
            (r#"{"code": null}"#, Some(false)),
            (r#"{"msg": "99991663"}"#, Some(false)),
            (r#"{"data": {"code": 99991663}}"#, Some(false)),
            ("{}", Some(false)),
            ("[]", Some(false)),
            // Not the value that a pointer can lead into.
            ("99991663", Some(false)),
            ("\"{", Some(false)),
            ("<html>", Some(false)),
            ("{code: 99991663}", Some(false)),
            // The value goes on.
            ("", None),
            (" \n", None),
            ("{", None),
            (r#"{"code": 99991663"#, None),
            (r#"{"code": 99991663, "msg": "in"#, None),
            // Bytes after the value do not count.
            ("{\"code\": 99991663}\n{\"code\"", Some(true)),
            (r#"{"code": 1}{"code": 99991663}"#, Some(false)),
            ("\u{feff} {\"code\": 99991663}", Some(true)),
        ] {
            assert_eq!(codes.find(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn pointers_lead_into_objects_and_arrays_and_codes_are_of_any_type() {
        for (codes, text) in [
            (Codes::new("/errors/0/code", ["expired"]), r#"{"errors": [{"code": "expired"}]}"#),
            (Codes::new("/a~1b/m~0n", [1]), r#"{"a/b": {"m~n": 1}}"#),
            (Codes::new("/expired", [true]), r#"{"expired": true}"#),
            (Codes::new("/", ["x"]), r#"{"": "x"}"#),
        ] {
            assert_eq!(codes.unwrap().find(text.as_bytes()), Some(true), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_looked_for_is_a_typed_error() {
        for pointer in ["", "code", "#/code", "/a~", "/a~2b", "/~/~1"] {
            let error = Codes::new(pointer, [1]).unwrap_err();
            let ConfigError::InvalidRefusal { given, .. } = error else { panic!("{error}") };
            assert_eq!(given, pointer);
        }
        assert!(Codes::new("/code", <[i32; 0]>::default()).is_err());
        assert!(Codes::new("/code", ["1", ""]).is_err());
    }

    proptest! {
        #[test]
        fn wherever_a_body_is_cut_it_goes_on_or_is_decided_as_a_whole(
            message in "[a-z\"\\\\{}\u{e9} ]{0,20}",
            code in prop_oneof![Just(1), Just(2)],
            cut in 0_usize..100,
        ) {
            let codes = Codes::new("/code", [1]).unwrap();
            let text = serde_json::json!({"msg": message, "code": code}).to_string();
            prop_assert_eq!(codes.find(text.as_bytes()), Some(code == 1));
            let cut = cut.min(text.len() - 1);
            prop_assert_eq!(codes.find(&text.as_bytes()[..cut]), None);
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Codes::new("/code", [1]).unwrap().find(&bytes);
        }
    }
}
