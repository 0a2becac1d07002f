//! The JWS compact serialization (RFC 7515, section 7.1).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::signer::Signer;
use crate::error::BoxError;

pub(crate) type Claims = Map<String, Value>;

/// Returns the JWT of `claims`.
pub(crate) async fn sign(
    signer: &impl Signer,
    typ: &str,
    claims: &Claims,
) -> Result<SecretString, BoxError> {
    let mut header = Map::new();
    header.insert("alg".into(), signer.algorithm().name().into());
    header.insert("typ".into(), typ.into());
    for (name, value) in [("kid", signer.kid()), ("x5t#S256", signer.x5t_s256())] {
        if let Some(value) = value {
            header.insert(name.into(), value.into());
        }
    }
    let encode = |part: &Map<String, Value>| -> Result<String, BoxError> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(part)?))
    };
    let input = format!("{}.{}", encode(&header)?, encode(claims)?);
    let signature = Zeroizing::new(signer.sign(input.as_bytes()).await?);
    let signature = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*signature));
    // Without the signature the rest is no secret, so the signature alone is wiped.
    let mut jwt = String::with_capacity(input.len() + 1 + signature.len());
    jwt.push_str(&input);
    jwt.push('.');
    jwt.push_str(&signature);
    Ok(jwt.into())
}

/// Returns a date as a claim has it, in whole seconds since 1970.
pub(crate) fn date(time: SystemTime) -> Value {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().into()
}

/// Returns 128 random bits in base64url.
pub(crate) fn random_id() -> Result<String, BoxError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| "the system gives no random bits")?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}
