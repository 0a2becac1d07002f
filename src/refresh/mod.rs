//! One refresh: when it is due, how long the token lives that it brings, how often attempts are repeated, and what a
//! failure or a refusal holds back. All of it pure but the flight, which makes the attempts.

pub(crate) mod attempts;
pub(crate) mod backoff;
pub(crate) mod cooldown;
pub(crate) mod gate;
mod policy;

pub use self::policy::RefreshPolicy;
