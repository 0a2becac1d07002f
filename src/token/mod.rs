//! A token: whose it is, how it was issued, how long it lives, and when it is renewed.

mod access_token;
mod claims;
mod identity;
mod issued;
pub(crate) mod lifetime;
pub(crate) mod schedule;
#[cfg(feature = "verify")]
mod verify;

pub(crate) use self::claims::unverified_claims;
pub use self::{
    access_token::AccessToken, claims::ClaimsError, identity::Identity, issued::IssuedToken,
};
pub(crate) use self::{
    access_token::{Times, Unsendable, is_scheme, wiped_header},
    identity::{Fingerprint, in_hex},
    schedule::Windows,
};
