//! What a response means for the token that its request was signed with. Pure.

use http::{HeaderMap, HeaderName, Response, StatusCode};

/// The verdict on one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classification {
    /// The caller's business.
    Accepted,
    /// The resource refused the token, and has not applied the request.
    TokenRefused,
}

/// In the *headers* of a response it says that there is nothing else (a gRPC "trailers-only" response): the call ended
/// before any message. After a message it is in the trailers, and nobody looks there.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// UNAUTHENTICATED.
const UNAUTHENTICATED: &str = "16";

/// 401 alone speaks of the token, and gRPC's word for it. 403 says that it is known and not enough, 407 speaks of a
/// proxy. Only the head is looked at, so no response is delayed.
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
    // Looking at each name is quicker than a lookup, up to about 15 of them: this one has to be hashed byte for byte.
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
