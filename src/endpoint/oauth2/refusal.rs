//! The advice after a refusal (RFC 6749, section 5.2). Pure.
//!
//! The [table of codes and statuses](super::super::refusal) says what a refusal means. What is to
//! be done about it depends on how the client said who it is, and on the grant.

use super::{client_auth::ClientAuth, settings::Grant};
use crate::error::Kind;

/// Returns the advice after a refusal of this kind with this code, or `None` where the table's own
/// is right.
pub(super) fn advice(
    grant: &Grant,
    auth: &ClientAuth,
    kind: Kind,
    code: Option<&str>,
) -> Option<&'static str> {
    if kind != Kind::Rejected {
        return None;
    }
    if code == Some("invalid_grant") {
        return of_grant(grant);
    }
    Some(match auth {
        ClientAuth::Basic => {
            "check the client id and the secret; if both are right, the server may want them in \
             the form (ClientAuth::Post) or without encoding (ClientAuth::BasicUnencoded)"
        }
        ClientAuth::BasicUnencoded => {
            "check the client id and the secret; if both are right, the server may want them \
             encoded (ClientAuth::Basic) or in the form (ClientAuth::Post)"
        }
        ClientAuth::Post => {
            "check the client id and the secret; if both are right, the server may want them in \
             the header (ClientAuth::Basic)"
        }
        ClientAuth::Assertion(_) => {
            "check the client id, and the key, the audience and the clock of its assertion"
        }
        ClientAuth::Tls => "check the client id and the certificate of the HTTP client",
        ClientAuth::None if code == Some("invalid_client") => {
            "the server wants to know the client; give an OAuth2Builder::client_auth"
        }
        ClientAuth::None => return of_grant(grant),
    })
}

fn of_grant(grant: &Grant) -> Option<&'static str> {
    match grant {
        Grant::Named(_) => None,
        Grant::JwtBearer(_) => Some(
            "the assertion was not accepted; check its key, its subject, its audience and the \
             clock",
        ),
        Grant::RefreshToken(_) => Some(
            "the refresh token was not accepted: it has expired, was revoked, or was used before; \
             it has to be allowed anew",
        ),
        Grant::TokenExchange { .. } => {
            Some("the subject token was not accepted; check where it comes from, and its audience")
        }
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
