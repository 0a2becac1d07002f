//! Claims that nobody has verified.

use serde::de::DeserializeOwned;

/// Returns the claims of `token`, if it is a JWT whose claims fit `T`.
pub(crate) fn unverified_claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    jsonwebtoken::dangerous::insecure_decode_claims(token).ok()
}

/// The error for a token that is not a JWT, or whose claims do not fit the type asked for.
///
/// It has no source, because a parser's message may quote what it read, and that is a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the access token is not a JWT whose claims fit the type asked for; check the type's fields"
)]
pub struct ClaimsError(());

impl ClaimsError {
    pub(super) fn new() -> Self {
        Self(())
    }
}
