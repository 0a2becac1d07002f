//! Claims of a JWT whose signature and dates were checked.

use jsonwebtoken::{DecodingKey, Validation, crypto::aws_lc, errors, jwk::JwkSet};
use serde::de::DeserializeOwned;

pub(crate) fn with_key<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<T, errors::Error> {
    choose_backend();
    jsonwebtoken::decode(token, key, validation).map(|decoded| decoded.claims)
}

pub(crate) fn with_jwks<T: DeserializeOwned>(
    token: &str,
    keys: &JwkSet,
    validation: &Validation,
) -> Result<T, errors::Error> {
    let kid = jsonwebtoken::decode_header(token)?.kid;
    let key = kid.and_then(|kid| keys.find(&kid)).ok_or(errors::ErrorKind::InvalidKeyFormat)?;
    with_key(token, &DecodingKey::try_from(key)?, validation)
}

/// Chooses a crypto backend, unless the program has chosen one. Otherwise `jsonwebtoken` panics in
/// a build that enables both of its backends.
fn choose_backend() {
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    // A symmetric key as bytes and as a JWK, in the manner of RFC 7515, appendix A.1.
    const KEY: &[u8] = b"a key of thirty-two bytes or so..";
    const KEY_BASE64URL: &str = "YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBzby4u";

    fn signed(kid: Option<&str>, exp: u64) -> String {
        choose_backend();
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(
            &header,
            &json!({"sub": "me", "exp": exp}),
            &EncodingKey::from_secret(KEY),
        )
        .unwrap()
    }

    fn keys() -> JwkSet {
        serde_json::from_value(
            json!({"keys": [{"kty": "oct", "kid": "one", "alg": "HS256", "k": KEY_BASE64URL}]}),
        )
        .unwrap()
    }

    #[test]
    fn claims_are_given_out_only_if_signature_and_dates_hold() {
        let (key, wrong) = (DecodingKey::from_secret(KEY), DecodingKey::from_secret(b"another"));
        let validation = Validation::new(Algorithm::HS256);
        let claims: Value = with_key(&signed(None, 4_000_000_000), &key, &validation).unwrap();
        assert_eq!(claims["sub"], "me");
        assert!(with_key::<Value>(&signed(None, 4_000_000_000), &wrong, &validation).is_err());
        assert!(
            with_key::<Value>(&signed(None, 1_000_000_000), &key, &validation).is_err(),
            "expired"
        );
    }

    #[test]
    fn a_key_set_is_asked_for_the_key_that_the_token_names() {
        let validation = Validation::new(Algorithm::HS256);
        let claims: Value =
            with_jwks(&signed(Some("one"), 4_000_000_000), &keys(), &validation).unwrap();
        assert_eq!(claims["sub"], "me");
        for kid in [None, Some("two")] {
            assert!(
                with_jwks::<Value>(&signed(kid, 4_000_000_000), &keys(), &validation).is_err(),
                "{kid:?}"
            );
        }
    }
}
