//! Base64 (RFC 4648, section 4). Pure.

use zeroize::Zeroizing;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64, with padding, to `out`.
///
/// `out` must have the capacity for it. A buffer that grows leaves a copy of a secret behind.
pub(super) fn encode_into(bytes: &[u8], out: &mut Zeroizing<Vec<u8>>) {
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index)) as usize & 63];
            out.push(if index <= chunk.len() { digit } else { b'=' });
        }
    }
}

/// Returns how many digits [`encode_into`] appends for so many bytes.
pub(super) fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{ff}\u{fb}?>", "w7/Duz8+"),
        ] {
            let mut out = Zeroizing::new(Vec::new());
            encode_into(text.as_bytes(), &mut out);
            assert_eq!(std::str::from_utf8(&out), Ok(expected), "{text}");
            assert_eq!(out.len(), encoded_len(text.len()));
        }
    }
}
