//! The media type `application/x-www-form-urlencoded`, read strictly. Pure.
//!
//! RFC 6749, appendix B, gives the encoding. The sandbox accepts exactly what it produces: letters,
//! digits and `*-._` as they are, a space as `+`, and each other octet as `%XX`.

use std::fmt::Write;

/// Parameters by name, in the order of the request.
pub(super) type Parameters = Vec<(String, String)>;

/// Returns the parameters of a form. The error says what is wrong with its encoding.
///
/// A parameter without a value is dropped, because it counts as omitted (RFC 6749, section 3.2).
pub(super) fn parse(form: &[u8]) -> Result<Parameters, String> {
    let mut parameters = Vec::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let (name, value) = (decode(name)?, decode(value)?);
        if !value.is_empty() {
            parameters.push((name, value));
        }
    }
    Ok(parameters)
}

/// Returns the text that `encoded` stands for.
pub(super) fn decode(encoded: &[u8]) -> Result<String, String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = rest.first_chunk().and_then(|[high, low]| hex(*high, *low));
                let Some(byte) = digits else {
                    return Err("a percent sign is not followed by two hexadecimal digits".into());
                };
                decoded.push(byte);
                rest = &rest[2..];
            }
            b'*' | b'-' | b'.' | b'_' => decoded.push(*byte),
            byte if byte.is_ascii_alphanumeric() => decoded.push(*byte),
            byte => return Err(format!("the octet 0x{byte:02X} must be percent-encoded")),
        }
    }
    String::from_utf8(decoded).map_err(|_| "it is not UTF-8 when decoded".into())
}

/// Returns `text` as the encoding has it.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The characters of RFC 6749, appendix B: space, percent, ampersand, plus, pound and euro.
    #[test]
    fn the_example_of_rfc_6749_is_read_and_written() {
        let encoded = "+%25%26%2B%C2%A3%E2%82%AC";
        assert_eq!(decode(encoded.as_bytes()).unwrap(), " %&+\u{a3}\u{20ac}");
        assert_eq!(encode(" %&+\u{a3}\u{20ac}"), encoded);
    }

    #[test]
    fn whatever_an_encoder_must_encode_is_refused_as_it_is() {
        for bad in ["a b", "a~b", "a/b", "a:b", "a\u{e9}", "%", "%4", "%zz", "%+1", "%C3"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
            assert!(parse(format!("x={bad}").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_without_a_value_counts_as_omitted() {
        let parameters = parse(b"a=1&b=&c&&d=+").unwrap();
        assert_eq!(parameters, [("a".to_owned(), "1".to_owned()), ("d".into(), " ".into())]);
    }

    proptest! {
        #[test]
        fn any_text_survives_the_encoding(text in ".*") {
            prop_assert_eq!(decode(encode(&text).as_bytes()).unwrap(), text);
        }
    }
}
