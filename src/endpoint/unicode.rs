//! The body of a response as UTF-8, whichever way it was encoded. Pure.

use zeroize::Zeroizing;

/// The way in which a text is encoded.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
    Utf32(fn([u8; 4]) -> u32),
}

/// Returns `body` in UTF-8, without a byte order mark. What can't be read becomes U+FFFD.
///
/// JSON is UTF-8 (RFC 8259, section 8.1), and a reader may ignore a byte order mark. Some servers
/// send UTF-16 or UTF-32, which earlier versions of the standard allowed, and which is recognized
/// by its zeros (RFC 4627, section 3). A byte of another character set in one field costs no other
/// field.
pub(super) fn utf8(body: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let encoding = encoding(&body);
    let has_mark = body.starts_with("\u{feff}".as_bytes());
    if matches!(encoding, Encoding::Utf8) && !has_mark && std::str::from_utf8(&body).is_ok() {
        return body;
    }
    // The capacity for all of it at once, because a buffer that grows leaves copies of the token
    // behind that nobody wipes. A byte becomes three at most.
    let mut text = Zeroizing::new(String::with_capacity(3 * body.len()));
    let chars: &mut dyn Iterator<Item = char> = match encoding {
        Encoding::Utf8 => &mut body.utf8_chunks().flat_map(|chunk| {
            let invalid = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(invalid)
        }),
        Encoding::Utf16(read) => {
            let units = body.chunks_exact(2).map(move |unit| read([unit[0], unit[1]]));
            &mut char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        Encoding::Utf32(read) => &mut body.chunks_exact(4).map(move |unit| {
            let code = read([unit[0], unit[1], unit[2], unit[3]]);
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }),
    };
    text.extend(chars.skip_while(|c| *c == '\u{feff}'));
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

fn encoding(body: &[u8]) -> Encoding {
    match *body {
        [0xff, 0xfe, 0, 0, ..] | [_, 0, 0, 0, ..] => Encoding::Utf32(u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, _, ..] => Encoding::Utf32(u32::from_be_bytes),
        [0xff, 0xfe, ..] | [_, 0, ..] => Encoding::Utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, _, ..] => Encoding::Utf16(u16::from_be_bytes),
        _ => Encoding::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: impl Into<Vec<u8>>) -> String {
        String::from_utf8(utf8(Zeroizing::new(body.into())).to_vec()).unwrap()
    }

    #[test]
    fn every_encoding_of_unicode_is_read_with_and_without_its_mark() {
        let text = r#"{"a": "é€𝄞"}"#;
        assert_eq!(read(text), text);
        for marks in ["", "\u{feff}", "\u{feff}\u{feff}"] {
            let marked = format!("{marks}{text}");
            assert_eq!(read(marked.as_str()), text);
            let utf16 = || marked.encode_utf16();
            assert_eq!(read(utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()), text);
            assert_eq!(read(utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()), text);
            let utf32 = || marked.chars().map(u32::from);
            assert_eq!(read(utf32().flat_map(u32::to_le_bytes).collect::<Vec<_>>()), text);
            assert_eq!(read(utf32().flat_map(u32::to_be_bytes).collect::<Vec<_>>()), text);
        }
    }

    #[test]
    fn what_can_not_be_read_costs_nothing_beside_it() {
        assert_eq!(read(*b"{\"a\": \"caf\xe9\", \"b\": 1}"), "{\"a\": \"caf\u{fffd}\", \"b\": 1}");
        assert_eq!(read(*b"\xef\xbb\xbf{\"a\": \"caf\xc3"), "{\"a\": \"caf\u{fffd}");
        assert_eq!(read(*b"\xff\xfe{\0\x00\xd8}\0"), "{\u{fffd}}");
        assert_eq!(read(*b"\xff"), "\u{fffd}");
        assert_eq!(read(*b""), "");
    }
}
