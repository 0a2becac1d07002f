//! Finds a secret in a text, however it is spelled there. Pure.
//!
//! Errors of other people's code may quote a request, and with it the secret: in a URL, in a form,
//! in a header of HTTP Basic, whole or cut. So a part of the secret counts as the secret.
//!
//! A spelling may hold the secret, so it is wiped. That takes buffers that don't
//! grow, because a buffer that grows leaves a copy behind.

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// The least number of consecutive characters of a secret that give it away. A shorter secret is
/// looked for as a whole.
pub(super) const PART: usize = 8;

/// The number of base64 digits that [`PART`] bytes determine, wherever they begin.
const PART_IN_BASE64: usize = 10;

/// How many spellings may lie in each other, such as base64 of a percent-encoded secret in a URL.
const LAYERS: usize = 3;

/// Returns `true` if `text` [holds](holds) a part of one of the `secrets`.
pub(super) fn holds_any(text: &str, secrets: &[SecretString]) -> bool {
    secrets.iter().any(|secret| holds(text, secret.expose_secret()))
}

/// Returns `true` if `text` holds eight or more consecutive characters of `secret`, in any case,
/// percent-encoded, base64-encoded, or with backslashes as in the output of `Debug`.
fn holds(text: &str, secret: &str) -> bool {
    if secret.is_empty() {
        return false;
    }
    let lower = Zeroizing::new(secret.to_lowercase());
    let parts = windows(&lower, PART);
    // Base64 whose case was changed can't be decoded, so the secret is encoded for it.
    let mut digits = Zeroizing::new(encodings(secret));
    digits.iter_mut().for_each(|digits| digits.make_ascii_lowercase());
    let is_long = secret.len() >= PART;
    let in_base64 = digits.iter().filter(|_| is_long).flat_map(|it| windows(it, PART_IN_BASE64));
    let needles = Needles { parts, in_base64: in_base64.collect() };
    needles.are_in(text, LAYERS)
}

struct Needles<'a> {
    parts: Vec<&'a str>,
    in_base64: Vec<&'a str>,
}

impl Needles<'_> {
    fn are_in(&self, text: &str, layers: usize) -> bool {
        let lower = Zeroizing::new(text.to_lowercase());
        if self.parts.iter().any(|part| lower.contains(part)) {
            return true;
        }
        let mut standard = Zeroizing::new(lower.as_bytes().to_vec());
        for byte in standard.iter_mut() {
            match byte {
                b'-' => *byte = b'+',
                b'_' => *byte = b'/',
                _ => {}
            }
        }
        let is_encoded = |text: &str| self.in_base64.iter().any(|part| text.contains(part));
        if std::str::from_utf8(&standard).is_ok_and(is_encoded) {
            return true;
        }
        layers > 0
            && readings(text).any(|reading| self.are_in(&Zeroizing::new(reading), layers - 1))
    }
}

/// Returns every part of `text` with `length` characters, or the whole of a shorter text.
fn windows(text: &str, length: usize) -> Vec<&str> {
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let length = length.min(ends.len() - 1);
    if length == 0 {
        return Vec::new();
    }
    ends.windows(length + 1).map(|ends| &text[ends[0]..ends[length]]).collect()
}

/// Returns what `text` says if one layer of encoding is taken off, for each encoding that it may
/// have.
fn readings(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_".contains(c)));
    // Where a run begins says nothing of where the encoded text begins in it.
    let decoded = runs.flat_map(|run| (0..4).filter_map(|skip| from_base64(run.get(skip..)?)));
    percent_decoded(text).into_iter().chain(unescaped(text)).chain(decoded)
}

/// Returns `text` without its percent-encoding, or `None` if it has none.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains(['%', '+']) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    Some(lossy(bytes))
}

/// Returns the text of `bytes`, with a replacement character for what is not UTF-8.
fn lossy(bytes: Vec<u8>) -> String {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return text,
        Err(error) => Zeroizing::new(error.into_bytes()),
    };
    // A byte becomes three at most.
    let mut text = String::with_capacity(3 * bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Reads the backslash escapes of `Debug` and of JSON.
fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(kind) = after.chars().next() else { break };
        let after = &after[kind.len_utf8()..];
        let digits = match kind {
            'u' if after.starts_with('{') => after[1..].split_once('}').map(|(digits, _)| digits),
            'u' => after.get(..4),
            'x' => after.get(..2),
            _ => None,
        };
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let (c, length) = match (kind, code.and_then(char::from_u32), digits) {
            ('u' | 'x', Some(c), Some(digits)) => {
                (c, digits.len() + if after.starts_with('{') { 2 } else { 0 })
            }
            ('n', ..) => ('\n', 0),
            ('r', ..) => ('\r', 0),
            ('t', ..) => ('\t', 0),
            (other, ..) => (other, 0),
        };
        out.push(c);
        rest = &after[length..];
    }
    out.push_str(rest);
    Some(out)
}

/// Returns the text of a run of base64 digits of either alphabet. An incomplete group at its end is
/// dropped.
fn from_base64(run: &str) -> Option<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(run.len()));
    let (mut bits, mut count) = (0_u32, 0);
    for digit in run.bytes() {
        bits = bits << 6 | base64_digit(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.extend(u8::try_from(bits >> count & 0xff));
            bits &= (1 << count) - 1;
        }
    }
    // A shorter run holds no part of a secret that is worth a look.
    (bytes.len() >= 3).then(|| lossy(std::mem::take(&mut *bytes)))
}

fn base64_digit(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Returns the base64 digits that `secret` alone determines, for each place in a group of three
/// bytes at which it may begin.
fn encodings(secret: &str) -> [String; 3] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    [0, 1, 2].map(|before| {
        let mut digits = String::with_capacity(secret.len() * 2);
        let mut bits = 0_u32;
        let mut count = 0;
        for byte in std::iter::repeat_n(0, before).chain(secret.bytes()) {
            bits = bits << 8 | u32::from(byte);
            count += 8;
            while count >= 6 {
                count -= 6;
                digits.push(char::from(DIGITS[(bits >> count) as usize & 63]));
            }
            bits &= 0xff;
        }
        // The first digits hold bits of what stands before the secret.
        digits.drain(..(before * 8).div_ceil(6));
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Tr0ub4dor&3 correct-horse/%";

    fn base64(text: &str) -> String {
        encodings(&format!("{text}\0\0"))[0].clone()
    }

    fn percent(text: &str) -> String {
        let digits = text.bytes().map(|byte| format!("%{byte:02X}"));
        digits.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        for shown in [
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            SECRET.to_lowercase(),
            "rect-hor".into(),
            percent(SECRET),
            percent(SECRET).to_lowercase(),
            percent(&percent(SECRET)),
            "Tr0ub4dor%263+correct-horse%2F%25".into(),
            "tr0ub4dor%263%20CORRECT".into(),
            base64(SECRET),
            base64(&format!("my-client:{SECRET}")),
            base64(&format!("my-client-1:{SECRET}")),
            base64(&format!("my-client-12:{}", percent(SECRET))),
            base64(SECRET).replace('+', "-").replace('/', "_"),
            base64(&SECRET.to_uppercase()),
            base64(SECRET).to_lowercase(),
            base64(&format!("id:{SECRET}")).to_uppercase(),
            percent(&base64(SECRET)),
            r"Tr0ub4dor\u00263 correct".into(),
            r"Tr0ub4dor\u{26}3\x20correct".into(),
        ] {
            let text = format!("error sending request for url (https://x/?token={shown}&y=1)");
            assert!(holds(&text, SECRET), "{text}");
        }
    }

    #[test]
    fn a_secret_with_characters_that_debug_escapes_is_found() {
        for secret in ["\"a\"b\"c\"d\"e\"", "a\\b\\c\\d\\e\\f", "\u{e9}\n\u{e9}\n\u{e9}\n\u{e9}\n"]
        {
            assert!(holds(&format!("{secret:?}"), secret));
            assert!(holds(&serde_json::to_string(secret).unwrap(), secret));
        }
    }

    #[test]
    fn what_holds_no_part_of_the_secret_is_shown() {
        for text in [
            "",
            "connection reset by peer (os error 104)",
            "rect-ho",
            "tr0ub4d",
            "error trying to connect: tcp connect error: Connection refused 100% + \\ %zz \\u{",
            "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZw==",
        ] {
            assert!(!holds(text, SECRET), "{text}");
            assert!(!holds(text, ""), "{text}");
        }
    }

    #[test]
    fn a_short_secret_is_looked_for_as_a_whole() {
        assert!(holds("no such secret: HUNTER", "hunter"));
        assert!(holds(&base64("id:hunter"), "hunter"));
        assert!(!holds("hunte", "hunter"));
    }
}
