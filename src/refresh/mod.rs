//! One flight to the token endpoint: how long a token lives, when it stops being sent, how often a failed attempt
//! is repeated, and the task that does it.

pub(crate) mod backoff;
pub(crate) mod flight;
pub(crate) mod life;
mod policy;

pub use self::policy::RefreshPolicy;
