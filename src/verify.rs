//! Claims whose signature was checked.

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

/// `jsonwebtoken` panics if a build enables both of its backends and nobody has chosen. Whoever chose before us
/// keeps their choice.
fn choose_backend() {
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
}
