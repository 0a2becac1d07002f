//! [`classify`]: reads from a response whether the token of its request was refused. Pure.

use http::{HeaderMap, HeaderName, Response, StatusCode};

/// The meaning of a response for the token of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classification {
    /// The resource did not refuse the token. The response is the caller's.
    Accepted,
    /// The resource refused the token, and has not applied the request (RFC 9110, section 15.5.2).
    TokenRefused,
}

/// The status of a gRPC call. In the *headers* of a response (gRPC's "Trailers-Only") it says that
/// the call ended before any message. After a message it is in the trailers, which nobody checks.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The gRPC status code `UNAUTHENTICATED`.
const UNAUTHENTICATED: &str = "16";

/// Classifies a response by its head alone, so that no response is delayed.
///
/// Only 401, and its gRPC counterpart, speaks of the token. 403 says that the credentials are known
/// and not enough (RFC 9110, section 15.5.4). 407 speaks of a proxy (section 15.5.8).
#[inline]
pub(crate) fn classify<B>(response: &Response<B>) -> Classification {
    match response.status() {
        StatusCode::UNAUTHORIZED => Classification::TokenRefused,
        StatusCode::OK if says_unauthenticated(response.headers()) => Classification::TokenRefused,
        _ => Classification::Accepted,
    }
}

#[inline]
fn says_unauthenticated(headers: &HeaderMap) -> bool {
    // Up to about 15 headers, comparing each name is quicker than a lookup, which hashes the name
    // byte for byte.
    headers.keys().any(|name| *name == GRPC_STATUS) && is_unauthenticated(headers)
}

#[cold]
fn is_unauthenticated(headers: &HeaderMap) -> bool {
    headers.get(GRPC_STATUS).is_some_and(|status| status == UNAUTHENTICATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_speaks_of_the_token() {
        for status in
            [100, 200, 201, 204, 301, 400, 402, 403, 404, 407, 409, 429, 498, 500, 503, 511]
        {
            let response = Response::builder().status(status).body(()).unwrap();
            assert_eq!(classify(&response), Classification::Accepted, "{status}");
        }
        let refused = Response::builder().status(401).body(()).unwrap();
        assert_eq!(classify(&refused), Classification::TokenRefused);
    }

    #[test]
    fn a_trailers_only_unauthenticated_speaks_of_the_token() {
        for (status, expected) in [
            ("16", Classification::TokenRefused),
            ("0", Classification::Accepted),
            ("7", Classification::Accepted),
            ("1", Classification::Accepted),
            ("160", Classification::Accepted),
        ] {
            let response = Response::builder().header("grpc-status", status).body(()).unwrap();
            assert_eq!(classify(&response), expected, "{status}");
        }
    }
}
