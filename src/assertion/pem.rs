//! PEM, as RFC 7468 has it. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// One block: its label, and its content.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// Returns the blocks of `text`. Those that are not base64, such as an encrypted key with headers,
/// have no content.
pub(super) fn blocks(mut text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    while let Some((_, after)) = text.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else { break };
        let Some((body, after)) = after.split_once("-----END ") else { break };
        text = after;
        let digits: Zeroizing<Vec<u8>> =
            Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let mut der = Zeroizing::new(vec![0; digits.len() / 4 * 3]);
        let length = STANDARD.decode_slice(&*digits, &mut der).unwrap_or(0);
        der.truncate(length);
        blocks.push(Block { label, der });
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_blocks_are_found_with_whatever_is_between_them() {
        let text = "Bag Attributes\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBA==\r\n\
            -----END CERTIFICATE-----\nmore\n-----BEGIN PRIVATE KEY-----\nBQ==\n\
            -----END PRIVATE KEY-----\n-----BEGIN RSA PRIVATE KEY-----\n\
            Proc-Type: 4,ENCRYPTED\n\nAQID\n-----END RSA PRIVATE KEY-----\n-----BEGIN CUT";
        let found = blocks(text);
        let found: Vec<_> = found.iter().map(|block| (block.label, &block.der[..])).collect();
        assert_eq!(found[0], ("CERTIFICATE", &[1, 2, 3, 4][..]));
        assert_eq!(found[1], ("PRIVATE KEY", &[5][..]));
        assert_eq!(found[2], ("RSA PRIVATE KEY", &[][..]));
        assert_eq!(found.len(), 3);
    }
}
