//! The errors of this crate.
//!
//! | error | of |
//! |---|---|
//! | [`Error`] | the service |
//! | [`AuthError`] | everything that obtains a token |
//! | [`ConfigError`] | the builders |
//!
//! The `Display` text of each level says what happened and, where the user can act, what to do.
//! It does not repeat its cause, which [`source()`](std::error::Error::source) returns. No text
//! holds a secret, a token, or the raw body of a response of the token endpoint.

mod auth;
mod boxed;
mod config;
mod kind;
mod predicates;
mod service;
mod uri;

#[cfg(feature = "client")]
pub(crate) use self::uri::host_and_port;
pub use self::{auth::AuthError, boxed::BoxError, config::ConfigError, service::Error};
pub(crate) use self::{
    kind::{Fate, Kind},
    uri::{endpoint_at, foreign_line, foreign_line_of, line_of, request_line, shown},
};
