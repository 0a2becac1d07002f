//! Private keys as JWK (RFC 7517, RFC 7518, section 6, and RFC 8037, section 2).

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    pair::{Pair, ecdsa},
    signer::Algorithm,
};

/// The parameters of all key types. Those of a private key are secrets.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    alg: Option<String>,
    crv: Option<String>,
    pub(super) kid: Option<String>,
    #[serde(rename = "x5t#S256")]
    pub(super) x5t_s256: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<SecretString>,
    p: Option<SecretString>,
    q: Option<SecretString>,
    dp: Option<SecretString>,
    dq: Option<SecretString>,
    qi: Option<SecretString>,
    k: Option<SecretString>,
}

type Bytes = Zeroizing<Vec<u8>>;

/// Returns the algorithm of the key, and the key. The error says what is wrong.
pub(super) fn read(jwk: &Jwk) -> Result<(Algorithm, Pair), &'static str> {
    let alg = jwk.alg.as_deref();
    match (jwk.kty.as_str(), jwk.crv.as_deref(), alg) {
        ("RSA", _, None | Some("RS256")) => Ok((Algorithm::Rs256, rsa(jwk)?)),
        ("RSA", _, Some("PS256")) => Ok((Algorithm::Ps256, rsa(jwk)?)),
        ("EC", Some("P-256"), None | Some("ES256")) => {
            Ok((Algorithm::Es256, ec(jwk, Algorithm::Es256, 32)?))
        }
        ("EC", Some("P-384"), None | Some("ES384")) => {
            Ok((Algorithm::Es384, ec(jwk, Algorithm::Es384, 48)?))
        }
        ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
            let (seed, public) = (private(jwk.d.as_ref())?, public(jwk.x.as_ref())?);
            let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public);
            Ok((Algorithm::EdDsa, Pair::Ed25519(pair.map_err(|_| REJECTED)?)))
        }
        ("oct", _, None | Some("HS256")) => {
            let key = private(jwk.k.as_ref())?;
            if key.is_empty() { Err(MISSING) } else { Ok((Algorithm::Hs256, Pair::hmac(&key))) }
        }
        _ => Err("its kty, crv and alg are none of RS256, PS256, ES256, ES384, EdDSA and HS256"),
    }
}

const MISSING: &str = "a parameter of the private key is missing, or is not base64url";
const REJECTED: &str = "its parameters do not make a key";

fn rsa(jwk: &Jwk) -> Result<Pair, &'static str> {
    let components = KeyPairComponents::<Vec<u8>, Bytes> {
        public_key: PublicKeyComponents { n: public(jwk.n.as_ref())?, e: public(jwk.e.as_ref())? },
        d: private(jwk.d.as_ref())?,
        p: private(jwk.p.as_ref())?,
        q: private(jwk.q.as_ref())?,
        dP: private(jwk.dp.as_ref())?,
        dQ: private(jwk.dq.as_ref())?,
        qInv: private(jwk.qi.as_ref())?,
    };
    RsaKeyPair::from_components(&components).map(Pair::Rsa).map_err(|_| REJECTED)
}

fn ec(jwk: &Jwk, algorithm: Algorithm, length: usize) -> Result<Pair, &'static str> {
    let (d, x, y) = (private(jwk.d.as_ref())?, public(jwk.x.as_ref())?, public(jwk.y.as_ref())?);
    // RFC 7518, section 6.2: at the full length.
    if [d.len(), x.len(), y.len()] != [length; 3] {
        return Err(REJECTED);
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(ecdsa(algorithm), &d, &point);
    pair.map(Pair::Ecdsa).map_err(|_| REJECTED)
}

fn public(parameter: Option<&String>) -> Result<Vec<u8>, &'static str> {
    parameter.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(MISSING)
}

fn private(parameter: Option<&SecretString>) -> Result<Bytes, &'static str> {
    let text = parameter.ok_or(MISSING)?.expose_secret();
    let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| MISSING)?;
    bytes.truncate(length);
    Ok(bytes)
}
