//! [`SigningKey`]: a private key in memory.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
        RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    jwk::{self, Jwk},
    pair::{Pair, ecdsa},
    pem,
    signer::{Algorithm, Signer},
};
use crate::error::{BoxError, ConfigError};

/// A private key that signs JWTs, or a secret that does.
///
/// Clones share the key, which is wiped from memory with the last of them. `Debug` shows the
/// algorithm and the names of the key only. The text that the key was read from is the caller's to
/// wipe.
///
/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes a new key for
/// [`es256_pem`](Self::es256_pem). [`public_jwk`](Self::public_jwk) returns the half that the
/// provider registers.
///
/// # Examples
///
/// ```
/// use tower_reauth::assertion::SigningKey;
///
/// # fn main() -> Result<(), tower_reauth::ConfigError> {
/// let key = SigningKey::hs256("a secret of at least thirty-two bytes")?.with_kid("2026-11");
/// assert!(!format!("{key:?}").contains("secret"));
///
/// let mistake = SigningKey::es256_pem("-----BEGIN PUBLIC KEY-----").unwrap_err();
/// assert!(mistake.to_string().contains("private key"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Arc<Pair>,
    kid: Option<Arc<str>>,
    x5t_s256: Option<Arc<str>>,
}

impl SigningKey {
    /// Reads an RSA key that signs by RS256, from PEM: PKCS #8 or PKCS #1, 2,048 to 8,192 bits.
    ///
    /// A certificate in the same text gives the [`x5t#S256`](Self::with_certificate_pem). This
    /// holds for each constructor that reads PEM.
    ///
    /// # Errors
    ///
    /// Returns an error if the text has no such key, or if the key is encrypted. The error shows
    /// nothing of the text.
    pub fn rs256_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::from_pem(Algorithm::Rs256, pem)
    }

    /// Reads an RSA key that signs by PS256, from PEM: PKCS #8 or PKCS #1, 2,048 to 8,192 bits.
    ///
    /// # Errors
    ///
    /// Those of [`rs256_pem`](Self::rs256_pem).
    pub fn ps256_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::from_pem(Algorithm::Ps256, pem)
    }

    /// Reads a key of the curve P-256, from PEM: PKCS #8 or SEC 1.
    ///
    /// # Errors
    ///
    /// Those of [`rs256_pem`](Self::rs256_pem).
    pub fn es256_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::from_pem(Algorithm::Es256, pem)
    }

    /// Reads a key of the curve P-384, from PEM: PKCS #8 or SEC 1.
    ///
    /// # Errors
    ///
    /// Those of [`rs256_pem`](Self::rs256_pem).
    pub fn es384_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::from_pem(Algorithm::Es384, pem)
    }

    /// Reads an Ed25519 key, from PEM: PKCS #8.
    ///
    /// # Errors
    ///
    /// Those of [`rs256_pem`](Self::rs256_pem).
    pub fn ed25519_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::from_pem(Algorithm::EdDsa, pem)
    }

    /// Creates a key from a secret that the server knows too, for `client_secret_jwt`. Its octets
    /// in UTF-8 are the key (OpenID Connect Core, section 9).
    ///
    /// A secret should have at least 32 bytes (RFC 7518, section 3.2). Shorter ones are taken,
    /// because there are servers that issue them.
    ///
    /// # Errors
    ///
    /// Returns an error if the secret is empty.
    pub fn hs256(secret: impl Into<SecretString>) -> Result<Self, ConfigError> {
        let secret = secret.into();
        if secret.expose_secret().is_empty() {
            return Err(ConfigError::InvalidSigningKey(
                "the secret is empty; give the one that the server has",
            ));
        }
        Ok(Self::new(Algorithm::Hs256, Pair::hmac(secret.expose_secret().as_bytes())))
    }

    /// Reads a private JWK (RFC 7517): RSA with all its parameters, EC, OKP or oct.
    ///
    /// `alg` chooses the algorithm. Without it, an RSA key signs by RS256. `kid` and `x5t#S256` are
    /// kept.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is no such key. The error shows nothing of it.
    pub fn from_jwk(json: &str) -> Result<Self, ConfigError> {
        // The parser's message may quote the key.
        let jwk: Jwk = serde_json::from_str(json).map_err(|_| {
            ConfigError::InvalidSigningKey(
                "it is not the JSON of one JWK; give one key, and no set of keys",
            )
        })?;
        let (algorithm, pair) = jwk::read(&jwk).map_err(ConfigError::InvalidSigningKey)?;
        let x5t_s256 = jwk.x5t_s256.map(Arc::from);
        Ok(Self { x5t_s256, kid: jwk.kid.map(Arc::from), ..Self::new(algorithm, pair) })
    }

    /// Reads a private key of this algorithm, from PEM. [`Algorithm::Hs256`] has no PEM.
    ///
    /// # Errors
    ///
    /// Those of [`rs256_pem`](Self::rs256_pem).
    pub(super) fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, ConfigError> {
        let invalid = ConfigError::InvalidSigningKey;
        let blocks = pem::blocks(text);
        let key = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")).ok_or(
            invalid("there is no PEM block of a private key; give the private key itself"),
        )?;
        if key.label == "ENCRYPTED PRIVATE KEY" || key.der.is_empty() {
            return Err(invalid("it is encrypted or damaged; decrypt it, for example by openssl"));
        }
        let rejected =
            |_| invalid("it is not a key for this algorithm; check its type, curve and length");
        let pair = match (algorithm, key.label) {
            (Algorithm::Rs256 | Algorithm::Ps256, "RSA PRIVATE KEY") => {
                RsaKeyPair::from_der(&key.der).map(Pair::Rsa)
            }
            (Algorithm::Rs256 | Algorithm::Ps256, _) => {
                RsaKeyPair::from_pkcs8(&key.der).map(Pair::Rsa)
            }
            (Algorithm::Es256 | Algorithm::Es384, _) => {
                EcdsaKeyPair::from_private_key_der(ecdsa(algorithm), &key.der).map(Pair::Ecdsa)
            }
            (Algorithm::EdDsa, _) => Ed25519KeyPair::from_pkcs8(&key.der).map(Pair::Ed25519),
            (Algorithm::Hs256, _) => return Err(invalid("a secret for HS256 is not PEM")),
        };
        let key = Self::new(algorithm, pair.map_err(rejected)?);
        let certificate = blocks.iter().find(|block| block.label == "CERTIFICATE");
        let x5t_s256 = certificate.map(|block| thumbprint(&block.der));
        Ok(Self { x5t_s256, ..key })
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Self {
        Self { algorithm, pair: Arc::new(pair), kid: None, x5t_s256: None }
    }

    /// Sets the name of the key, the `kid` of the header. Defaults to that of the JWK, or none.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into().into());
        self
    }

    /// Sets the `x5t#S256` of the header to the SHA-256 of this certificate, as Entra ID wants it.
    ///
    /// # Errors
    ///
    /// Returns an error if the text has no PEM block of a certificate.
    pub fn with_certificate_pem(mut self, pem: &str) -> Result<Self, ConfigError> {
        let blocks = pem::blocks(pem);
        let certificate =
            blocks.iter().find(|block| block.label == "CERTIFICATE" && !block.der.is_empty());
        let certificate = certificate.ok_or(ConfigError::InvalidSigningKey(
            "there is no PEM block of a certificate; give the certificate itself",
        ))?;
        self.x5t_s256 = Some(thumbprint(&certificate.der));
        Ok(self)
    }

    /// Returns the public half as a JWK, to register it with the server. `None` for a secret.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), tower_reauth::ConfigError> {
    /// use tower_reauth::assertion::SigningKey;
    ///
    /// // The key of RFC 8037, appendix A.1.
    /// let key = SigningKey::from_jwk(
    ///     r#"{"kty": "OKP", "crv": "Ed25519",
    ///         "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    ///         "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    /// )?;
    /// let public = key.with_kid("one").public_jwk().unwrap();
    /// assert!(public.contains("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
    /// assert!(!public.contains("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn public_jwk(&self) -> Option<String> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &*self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({
                    "kty": "RSA",
                    "n": encode(n.big_endian_without_leading_zero()),
                    "e": encode(e.big_endian_without_leading_zero()),
                })
            }
            Pair::Ecdsa(pair) => {
                // Uncompressed: a byte 4, then x and y.
                let (_, point) = pair.public_key().as_ref().split_first()?;
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if self.algorithm == Algorithm::Es256 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Pair::Hmac(_) => return None,
        };
        let fields = jwk.as_object_mut()?;
        fields.insert("alg".into(), self.algorithm.name().into());
        fields.insert("use".into(), "sig".into());
        for (name, value) in [("kid", &self.kid), ("x5t#S256", &self.x5t_s256)] {
            if let Some(value) = value {
                fields.insert(name.into(), Value::from(&**value));
            }
        }
        Some(jwk.to_string())
    }
}

impl Signer for SigningKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn x5t_s256(&self) -> Option<&str> {
        self.x5t_s256.as_deref()
    }

    async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, BoxError> {
        let failed = |_| BoxError::from("the key could not sign; check that it is not damaged");
        match &*self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding = match self.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), input, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), input).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.try_sign(input).map_err(failed)?.as_ref().to_vec()),
            Pair::Hmac(key) => Ok(hmac::sign(key, input).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .field("x5t_s256", &self.x5t_s256)
            .finish_non_exhaustive()
    }
}

/// Returns the thumbprint of a certificate (RFC 7515, section 4.1.8).
fn thumbprint(der: &[u8]) -> Arc<str> {
    URL_SAFE_NO_PAD.encode(Sha256::digest(der)).into()
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
