//! The counters of an authorization server.

use serde::Serialize;

/// A consistent snapshot of the counters of an [`OAuth2Server`](super::OAuth2Server). All of them
/// start at zero with the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OAuth2Counters {
    /// Requests to the token endpoint that arrived.
    pub token_requests: u64,
    /// Tokens that were issued, even if the response was lost on purpose. A token that is given
    /// again is not counted again.
    pub tokens_issued: u64,
    /// Requests to the token endpoint that broke a rule, and got an error by RFC 6749, section 5.2.
    ///
    /// Responses of a [`ScriptedResponse`](super::ScriptedResponse) do not count.
    pub token_requests_refused: u64,
    /// Requests for the metadata.
    pub metadata_requests: u64,
    /// Requests to any other path, all of which need a token.
    pub resource_requests: u64,
    /// Requests that were answered 200 because their token lives.
    pub resource_ok: u64,
    /// Requests that were answered 401 because they carried no bearer token.
    pub unauthorized_missing: u64,
    /// Requests that were answered 401 because their token is unknown, expired, replaced or
    /// revoked.
    pub unauthorized_token: u64,
}
