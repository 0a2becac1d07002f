//! The claims of an access token.
//!
//! An input that starts with `{` is claims, which are put into a JWT; any other is a token.
#![no_main]

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde::Deserialize;
use serde_json::Value;
use tower_reauth::fuzzing;

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(rename = "exp")]
    _exp: f64,
    #[serde(rename = "services")]
    _services: Vec<String>,
}

fuzz_target!(|input: &str| -> Corpus {
    if input.starts_with('{') {
        let token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(input));
        assert_eq!(fuzzing::unverified_claims::<Value>(&token), serde_json::from_str(input).ok());
        look_at(&token);
    } else {
        look_at(input);
    }
    Corpus::Keep
});

fn look_at(secret: &str) {
    let claims = fuzzing::unverified_claims::<Value>(secret);
    if claims.is_some() {
        assert!(secret.split('.').count() >= 3, "claims of something that is no JWT");
    }
    let typed = fuzzing::unverified_claims::<Claims>(secret);
    let token = fuzzing::token(secret);
    let sendable = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    assert_eq!(token.is_some(), sendable);
    let Some(token) = token else { return };
    assert_eq!(token.expose_secret(), secret);
    assert_eq!(token.claims::<Value>().ok(), claims);
    let result = token.claims::<Claims>();
    assert_eq!(result.is_ok(), typed.is_some());
    // Longer than any word of what is printed.
    if let Err(error) = result
        && secret.len() > 24
    {
        assert!(!format!("{error} {error:?} {token:?}").contains(secret), "the token is printed");
    }
}
