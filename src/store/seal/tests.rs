use super::*;
use crate::token::Fingerprint;

const TOKEN: &[u8] = br#"{"secret":"s3cret"}"#;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn a_plain_token_is_kept_as_it_is() {
    let kept = Sealing::Plain.seal(&name("a"), 7, TOKEN).unwrap();
    assert_eq!((kept[0], &kept[1..]), (0, TOKEN));
    assert_eq!(**Sealing::Plain.open(&name("a"), 7, &kept).unwrap(), *TOKEN);
}

#[test]
fn without_a_key_a_sealed_token_and_a_newer_format_are_foreign() {
    let open = |kept: &[u8]| Sealing::Plain.open(&name("a"), 7, kept).unwrap_err();
    assert_eq!(open(b""), Foreign::Cut);
    assert_eq!(open(b"\x01sealed"), Foreign::Sealed);
    for format in 2..=u8::MAX {
        assert_eq!(open(&[format, 1, 2]), Foreign::Format(format));
    }
}

/// A stand-in for the fingerprint of the `n`th credentials.
fn fingerprint(n: u64) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint[..8].copy_from_slice(&n.to_le_bytes());
    fingerprint
}

#[test]
fn without_a_key_a_mark_tells_eight_bits_of_the_credentials_and_never_more() {
    let marks = |n: u64| Sealing::Plain.mark(&name("a"), &fingerprint(n)).unwrap();
    let all: std::collections::HashSet<_> = (0..5000).map(marks).collect();
    assert_eq!(all.len(), 256);
    assert!(all.iter().all(|mark| *mark < 256));
    assert_eq!(marks(7), marks(7), "it is the same each time, or several would tell more");
    assert!(Sealing::Plain.is_mark(&name("a"), &fingerprint(7), marks(7)));
}

#[cfg(feature = "seal")]
mod with_keys {
    use super::*;
    use crate::error::ConfigError;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];
    /// The token by Python's `cryptography`, with the key `OLD`, the nonce 0 to 11, and
    /// `b"tower-reauth/1\0a\0" + (7).to_bytes(8, "big")`.
    const VECTOR: [u8; 35] = [
        192, 132, 230, 67, 67, 140, 99, 13, 220, 80, 197, 183, 19, 10, 186, 198, 218, 228, 22, 70,
        162, 31, 140, 62, 181, 230, 38, 146, 96, 150, 190, 151, 244, 92, 144,
    ];

    fn keys(first: [u8; 32], others: &[[u8; 32]]) -> Sealing {
        Sealing::Keys(KeyRing::new(first, others.iter().copied()))
    }

    fn opens(sealing: &Sealing, kept: &[u8]) -> Result<(), Foreign> {
        sealing.open(&name("a"), 7, kept).map(|token| assert_eq!(**token, *TOKEN))
    }

    fn sealed_with(sealing: &Sealing) -> Vec<u8> {
        sealing.seal(&name("a"), 7, TOKEN).unwrap()
    }

    #[test]
    fn a_sealed_token_has_the_documented_layout() {
        let kept = sealed_with(&keys(OLD, &[]));
        assert_eq!(kept.len(), 1 + 4 + 12 + TOKEN.len() + 16);
        // SHA-256 of 32 bytes of 1.
        assert_eq!(kept[..5], [1, 0x72, 0xcd, 0x6e, 0x84]);
        assert!(!kept.windows(6).any(|part| part == b"s3cret"));
        assert_eq!(opens(&keys(OLD, &[]), &kept), Ok(()));
        let again = sealed_with(&keys(OLD, &[]));
        assert_ne!(kept[5..17], again[5..17], "a nonce is used once");
        assert_ne!(kept[17..], again[17..]);
    }

    #[test]
    fn a_token_sealed_elsewhere_by_this_layout_opens() {
        let kept =
            [&[1, 0x72, 0xcd, 0x6e, 0x84][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], &VECTOR];
        assert_eq!(opens(&keys(OLD, &[]), &kept.concat()), Ok(()));
    }

    #[test]
    fn another_key_does_not_open() {
        let error = opens(&keys(NEW, &[]), &sealed_with(&keys(OLD, &[]))).unwrap_err();
        assert_eq!(error, Foreign::UnknownKey(KeyId([0x72, 0xcd, 0x6e, 0x84])));
        assert!(error.to_string().contains("the key 72cd6e84,"), "{error}");
        // Nor does it if it pretends to be the right one.
        let mut kept = sealed_with(&keys(OLD, &[]));
        let new = sealed_with(&keys(NEW, &[]));
        kept[1..5].copy_from_slice(&new[1..5]);
        assert_eq!(opens(&keys(NEW, &[OLD]), &kept), Err(Foreign::Altered));
    }

    #[test]
    fn a_token_can_not_be_moved() {
        let sealing = keys(OLD, &[]);
        let kept = sealed_with(&sealing);
        for (name, sequence) in [("b", 7), ("a", 8), ("a", 6), ("a", 7 << 8), ("a0", 7)] {
            let moved = sealing.open(&Name::new(name).unwrap(), sequence, &kept);
            assert_eq!(moved.unwrap_err(), Foreign::Altered, "{name} {sequence}");
        }
    }

    #[test]
    fn a_token_that_is_cut_is_foreign_at_each_length() {
        let sealing = keys(OLD, &[]);
        let kept = sealed_with(&sealing);
        for length in 0..kept.len() {
            assert!(opens(&sealing, &kept[..length]).is_err(), "{length} bytes");
        }
        assert!(opens(&sealing, &[&kept[..], b"\0"].concat()).is_err(), "one byte more");
    }

    #[test]
    fn a_token_with_a_flipped_bit_is_foreign_at_each_position() {
        let sealing = keys(OLD, &[]);
        let kept = sealed_with(&sealing);
        for bit in 0..8 * kept.len() {
            let mut flipped = kept.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(opens(&sealing, &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn with_a_key_a_plain_token_is_refused() {
        let kept = sealed_with(&Sealing::Plain);
        assert_eq!(opens(&keys(OLD, &[]), &kept), Err(Foreign::Plain));
        assert_eq!(opens(&Sealing::Plain, &sealed_with(&keys(OLD, &[]))), Err(Foreign::Sealed));
    }

    #[test]
    fn a_rotation_in_three_steps_keeps_every_process_able_to_open() {
        let steps = [keys(OLD, &[]), keys(OLD, &[NEW]), keys(NEW, &[OLD]), keys(NEW, &[])];
        for pair in steps.windows(2) {
            for (writer, reader) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                assert_eq!(opens(&pair[reader], &sealed_with(&pair[writer])), Ok(()));
            }
        }
        // A step that is left out splits the fleet.
        assert!(opens(&steps[0], &sealed_with(&steps[2])).is_err());
        assert!(opens(&steps[3], &sealed_with(&steps[1])).is_err());
    }

    #[test]
    fn keys_are_read_as_hex_and_as_base64() {
        let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(255 - n * 5).unwrap());
        let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
        let base64 = "//r18Ovm4dzX0s3Iw765tK+qpaCblpGMh4J9eHNuaWQ=";
        let url_safe = base64.replace('+', "-").replace('/', "_");
        let kept = sealed_with(&keys(bytes, &[]));
        for text in [
            hex.clone(),
            hex.to_uppercase(),
            base64.into(),
            base64.trim_end_matches('=').into(),
            url_safe,
            format!(" {hex} \n"),
            format!("{},{hex}", "01".repeat(32)),
        ] {
            let sealing = Sealing::Keys(KeyRing::parse(&text).unwrap());
            assert_eq!(opens(&sealing, &kept), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let hex = "01".repeat(32);
        for text in [
            "",
            ",",
            "short",
            &hex[..63],
            &format!("{hex}0"),
            &format!("{hex},"),
            &format!("g{}", &hex[1..]),
            &format!("{}=", "A".repeat(42)),
            // A last digit with bits beyond the key.
            &format!("{}B=", "A".repeat(42)),
            &format!("{}==", "A".repeat(43)),
            &format!("{}!", "A".repeat(42)),
            &format!("{hex}={hex}"),
        ] {
            let reason = KeyRing::parse(text).unwrap_err();
            assert!(reason.starts_with("a key is 32 bytes"), "{text}");
        }
        let twice = KeyRing::parse(&format!("{hex},{hex}")).unwrap_err();
        assert_eq!(twice, "a key is there twice; remove one");
    }

    #[test]
    fn a_variable_without_keys_is_an_error_that_names_it() {
        for variable in ["TOWER_REAUTH_NO_SUCH_VARIABLE", "CARGO_PKG_LICENSE"] {
            let error = KeyRing::from_env(variable).unwrap_err();
            assert!(matches!(error, ConfigError::InvalidKeys { .. }));
            let text = error.to_string();
            assert!(text.contains(variable) && !text.contains("MIT"), "{text}");
        }
    }

    #[test]
    fn a_ring_shows_the_ids_of_its_keys_and_no_key() {
        assert_eq!(format!("{:?}", keys(OLD, &[NEW])), "Keys(KeyRing[72cd6e84, 75877bb4])");
    }

    #[test]
    fn a_mark_is_known_by_each_key_while_keys_are_replaced() {
        let steps = [keys(OLD, &[]), keys(OLD, &[NEW]), keys(NEW, &[OLD]), keys(NEW, &[])];
        let mine = fingerprint(1);
        for [one, other] in steps.windows(2).map(|pair| [&pair[0], &pair[1]]) {
            for (writes, reads) in [(one, other), (other, one), (one, one)] {
                let mark = writes.mark(&name("a"), &mine).unwrap();
                assert!(reads.is_mark(&name("a"), &mine, mark));
                assert!(!reads.is_mark(&name("a"), &fingerprint(2), mark));
                assert!(!reads.is_mark(&name("b"), &mine, mark));
            }
        }
    }

    #[test]
    fn a_mark_by_a_key_is_not_one_that_can_be_had_without_it() {
        let marks = [Sealing::Plain, keys(OLD, &[]), keys(NEW, &[])]
            .map(|sealing| sealing.mark(&name("a"), &fingerprint(1)).unwrap());
        assert!(marks[0] != marks[1] && marks[1] != marks[2]);
        // By Python's `hmac`, with the key `OLD`.
        assert_eq!(marks[1], 0x96f2_8e9b_0ede_c9ea);
    }
}
