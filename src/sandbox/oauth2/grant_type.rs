//! The names of the grants (RFC 6749, 7523 and 8693), each a `grant_type`.

pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// The grants that every server knows.
pub(super) const KNOWN: [&str; 4] = [CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE, REFRESH_TOKEN];
