//! What is fetched: how long that takes, and what comes of it.

use std::{future::Future, time::Duration};

use crate::support;

/// How long one fetch takes.
pub const FETCH: Duration = Duration::from_millis(5);

/// How long a token lives: longer than any of these benches, and than any margin that a peer keeps.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

const TOKEN_LENGTH: usize = 200;

pub fn token() -> String {
    support::secret(TOKEN_LENGTH)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Token,
    /// The credentials are wrong: no peer has a reason to try again.
    Refusal,
}

#[derive(Debug)]
pub struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrong credentials")
    }
}

impl std::error::Error for Refused {}

/// Issues tokens, or refuses to.
pub trait Issuer: Send + Sync + 'static {
    fn issue(&self) -> impl Future<Output = Result<String, Refused>> + Send;
}
