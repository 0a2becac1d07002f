//! A refresh: its policy, its attempts, the pauses between them, the back-off after a failure, and
//! the cool-down after a token was refused. All of it is pure except for the attempts.

pub(crate) mod attempts;
pub(crate) mod backoff;
pub(crate) mod cooldown;
pub(crate) mod doubt;
pub(crate) mod gate;
pub(crate) mod outage;
mod policy;

pub use self::policy::RefreshPolicy;
