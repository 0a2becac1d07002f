//! An authorization server by RFC 6749 and its relatives, which is strict, and can be told to
//! answer otherwise.

mod assertion;
mod authenticate;
mod builder;
mod client;
mod counters;
mod form;
mod grant;
mod grant_type;
mod handle;
mod issuance;
mod refusal;
mod request;
mod router;
mod scripted;
mod state;
mod token;
mod tokens;

pub use self::{
    builder::OAuth2ServerBuilder,
    client::{AuthMethod, OAuth2Client},
    counters::OAuth2Counters,
    handle::OAuth2Server,
    issuance::Issuance,
    request::TokenRequest,
    scripted::ScriptedResponse,
};
