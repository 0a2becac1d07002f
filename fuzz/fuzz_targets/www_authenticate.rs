//! The value of `WWW-Authenticate`, which is the whole input, beside challenges that are known.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::{Corpus, fuzz_target};
use tower_reauth::fuzzing::blames_token;

const INVALID: HeaderValue = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
const SCOPE: HeaderValue = HeaderValue::from_static(r#"Bearer error="insufficient_scope""#);

fn blames(values: &[HeaderValue]) -> bool {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::WWW_AUTHENTICATE, value.clone());
    }
    blames_token(&headers)
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(value) = HeaderValue::from_bytes(input) else { return Corpus::Reject };
    let alone = blames(&[value.clone()]);
    // Without the word there is no error, so nothing blames the request.
    if !input.to_ascii_lowercase().windows(5).any(|window| window == b"error") {
        assert!(alone, "an error out of nothing");
    }
    // The order of two values does not matter.
    for known in [INVALID, SCOPE] {
        let (before, after) =
            (blames(&[known.clone(), value.clone()]), blames(&[value.clone(), known]));
        assert_eq!(before, after);
    }
    // A value that says that the token is invalid decides, whatever stands beside it.
    assert!(blames(&[INVALID, value.clone()]));
    // A value that blames the request does so beside another that does.
    if !alone {
        assert!(!blames(&[SCOPE, value]));
    }
    Corpus::Keep
});
