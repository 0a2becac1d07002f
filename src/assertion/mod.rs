//! Sources of signed assertions, by which a client says who it is without a secret (RFC 7523).
//!
//! | source | for |
//! |---|---|
//! | [`file()`] | a file that somebody else writes: workload identity |
//! | [`from_fn`] | an async function: a service that signs a whole JWT, a cloud's identity token |
//! | `SignedJwt` (feature `sign`) | a private key in memory, in a file, or in your own service |
//!
//! An [`AssertionSource`] is asked each time an assertion is sent, and each time for a new one. A
//! rotated key or a changed file is therefore used from the next refresh on, and a server that
//! takes each `jti` once (RFC 7523, section 3) never sees one twice.

mod file;
mod from_fn;
#[cfg(feature = "sign")]
mod jwk;
#[cfg(feature = "sign")]
pub(crate) mod jwt;
#[cfg(feature = "sign")]
mod key;
#[cfg(feature = "sign")]
mod key_file;
#[cfg(feature = "sign")]
mod pair;
#[cfg(feature = "sign")]
mod pem;
#[cfg(feature = "sign")]
mod signed;
#[cfg(feature = "sign")]
mod signer;
mod source;
#[cfg(all(test, feature = "sign"))]
mod test_keys;

pub use self::{
    file::{FileAssertion, file},
    from_fn::{FromFn, from_fn},
    source::{AssertionAsk, AssertionSource, BoxAssertionSource},
};
#[cfg(feature = "sign")]
#[cfg_attr(docsrs, doc(cfg(feature = "sign")))]
pub use self::{
    key::SigningKey,
    key_file::{KeyFile, key_file},
    signed::{Audience, SignedJwt},
    signer::{Algorithm, Signer, SignerSource},
};
