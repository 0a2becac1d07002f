//! [`Signer`]: signs, with a key in memory or far away. [`SignerSource`]: supplies the signer that
//! is in use now.

use std::future::Future;

use crate::error::BoxError;

/// An algorithm of a signature (RFC 7518, section 3.1, and RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5 padding and SHA-256.
    Rs256,
    /// RSA with PSS padding and SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256, by a secret that both sides know.
    Hs256,
}

impl Algorithm {
    /// Returns the registered name, as in the `alg` of a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

/// Signs the bytes of a JWT. [`SigningKey`](super::SigningKey) does so in memory. Implement this
/// for a key that never leaves a key management service. A signer that is `Clone` can be given to
/// [`SignedJwt::new`](super::SignedJwt::new) and
/// [`SelfSigned::new`](crate::endpoint::SelfSigned::new).
///
/// # Examples
///
/// ```
/// use tower_reauth::{
///     BoxError,
///     assertion::{Algorithm, SignedJwt, Signer},
/// };
///
/// #[derive(Clone)]
/// struct Kms {
///     key_version: String,
/// }
///
/// impl Signer for Kms {
///     fn algorithm(&self) -> Algorithm {
///         Algorithm::Es256
///     }
///
///     fn kid(&self) -> Option<&str> {
///         Some(&self.key_version)
///     }
///
///     async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, BoxError> {
///         // Asks the service. It returns r and s, 32 bytes each.
///         # let _ = input;
///         Ok(vec![0; 64])
///     }
/// }
///
/// let assertions = SignedJwt::new(Kms { key_version: "billing/3".into() });
/// # let _ = assertions;
/// ```
pub trait Signer: Send + Sync + 'static {
    /// Returns the algorithm, which fits the key.
    fn algorithm(&self) -> Algorithm;

    /// Returns the name of the key, by which the server finds its public half. Defaults to none.
    fn kid(&self) -> Option<&str> {
        None
    }

    /// Returns the SHA-256 thumbprint of the key's certificate, in base64url without padding
    /// (RFC 7515, section 4.1.8). Defaults to none.
    fn x5t_s256(&self) -> Option<&str> {
        None
    }

    /// Returns the signature of `input` as RFC 7518, section 3, has it. That of ECDSA is `r` and
    /// `s` at their full length, and no ASN.1.
    ///
    /// # Errors
    ///
    /// Any error becomes the cause of an
    /// [`AuthError::is_credentials`](crate::AuthError::is_credentials). Its text is shown to users
    /// and logged, so it must hold no secret.
    fn sign(&self, input: &[u8]) -> impl Future<Output = Result<Vec<u8>, BoxError>> + Send;
}

/// Supplies the signer that is in use now, each time something is signed. The name of a key comes
/// with it, so both are rotated at once.
///
/// Every [`Signer`] that is `Clone` supplies itself. [`key_file`](super::key_file) reads a file.
pub trait SignerSource: Send + Sync + 'static {
    /// The signer.
    type Signer: Signer;

    /// Returns the signer that is in use now. It must not block the thread.
    ///
    /// # Errors
    ///
    /// Any error becomes the cause of an
    /// [`AuthError::is_credentials`](crate::AuthError::is_credentials). Its text is shown to users
    /// and logged, so it must hold no secret.
    fn signer(&self) -> impl Future<Output = Result<Self::Signer, BoxError>> + Send;

    /// Returns `true` if the signer differs from the last one. See
    /// [`AssertionSource::changed`](super::AssertionSource::changed). Defaults to `false`.
    fn changed(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

impl<S: Signer + Clone> SignerSource for S {
    type Signer = S;

    async fn signer(&self) -> Result<S, BoxError> {
        Ok(self.clone())
    }
}
