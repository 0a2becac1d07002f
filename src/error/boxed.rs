//! [`BoxError`]: an error of any type.

/// A boxed error, as Tower's own middleware uses it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
