//! [`classify`]: tells whether a response accepts its request's token, refuses it, or neither.
//! Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::challenge;

/// The meaning of a response for the token of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classification {
    /// The resource accepted the token.
    Accepted,
    /// The response says nothing about the token. It is the caller's.
    Neutral,
    /// The resource refused the token, and has not applied the request (RFC 9110, section 15.5.2).
    TokenRefused,
}

/// The status of a gRPC call. In the *headers* of a response (gRPC's "Trailers-Only") it says that
/// the call ended before any message. After a message it is in the trailers, which only
/// `GrpcLayer` checks.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The gRPC status code `UNAUTHENTICATED`.
pub(super) const UNAUTHENTICATED: &str = "16";

/// Every content type of gRPC begins with these bytes.
const GRPC: &[u8] = b"application/grpc";

/// Classifies a response by its head alone, so that no response is delayed.
///
/// Only 2xx says that the token lives, and 304, which answers a request as 200 would. Another
/// redirect is often a login page, a 4xx often comes before authentication, and a 5xx says nothing.
///
/// Only 401, and its gRPC counterpart, speaks against the token. A 401 that
/// [blames the request](challenge::blames_token) does not. 403 says that the credentials are known
/// and not enough (RFC 9110, section 15.5.4). 407 speaks of a proxy (section 15.5.8).
#[inline]
pub(crate) fn classify<B>(response: &Response<B>) -> Classification {
    let (status, headers) = (response.status(), response.headers());
    if status == StatusCode::OK {
        // Up to about 15 headers, comparing each name is quicker than a lookup, which hashes the
        // name byte for byte.
        if headers.keys().any(|name| *name == GRPC_STATUS) && is_grpc_unauthenticated(headers) {
            return Classification::TokenRefused;
        }
        return Classification::Accepted;
    }
    classify_slow(status, headers)
}

#[cold]
fn classify_slow(status: StatusCode, headers: &HeaderMap) -> Classification {
    match status {
        StatusCode::UNAUTHORIZED if challenge::blames_token(headers) => {
            Classification::TokenRefused
        }
        StatusCode::NOT_MODIFIED => Classification::Accepted,
        status if status.is_success() => Classification::Accepted,
        _ => Classification::Neutral,
    }
}

/// Returns whether the response ends a gRPC call as unauthenticated. The status counts only in a
/// response of gRPC's own type, because anybody may give a header that name.
#[cold]
fn is_grpc_unauthenticated(headers: &HeaderMap) -> bool {
    let is_refused = headers.get(GRPC_STATUS).is_some_and(|status| status == UNAUTHENTICATED);
    is_refused && headers.get(header::CONTENT_TYPE).is_some_and(is_grpc)
}

/// Returns whether a content type is one of gRPC's, such as `application/grpc+proto`.
pub(super) fn is_grpc(content_type: &HeaderValue) -> bool {
    let start = content_type.as_bytes().get(..GRPC.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_speaks_against_the_token_and_only_2xx_and_304_for_it() {
        for (status, expected) in [
            (100, Classification::Neutral),
            (200, Classification::Accepted),
            (201, Classification::Accepted),
            (204, Classification::Accepted),
            (206, Classification::Accepted),
            (301, Classification::Neutral),
            (302, Classification::Neutral),
            (304, Classification::Accepted),
            (400, Classification::Neutral),
            (401, Classification::TokenRefused),
            (402, Classification::Neutral),
            (403, Classification::Neutral),
            (404, Classification::Neutral),
            (407, Classification::Neutral),
            (409, Classification::Neutral),
            (429, Classification::Neutral),
            (498, Classification::Neutral),
            (500, Classification::Neutral),
            (503, Classification::Neutral),
        ] {
            let response = Response::builder().status(status).body(()).unwrap();
            assert_eq!(classify(&response), expected, "{status}");
        }
    }

    #[test]
    fn a_401_that_blames_the_request_says_nothing_about_the_token() {
        for (challenge, expected) in [
            (r#"Bearer error="invalid_token""#, Classification::TokenRefused),
            (r#"Bearer error="insufficient_scope""#, Classification::Neutral),
            (r#"Basic realm="proxy""#, Classification::TokenRefused),
        ] {
            let response = Response::builder()
                .status(401)
                .header("www-authenticate", challenge)
                .body(())
                .unwrap();
            assert_eq!(classify(&response), expected, "{challenge}");
        }
    }

    #[test]
    fn a_trailers_only_unauthenticated_speaks_against_the_token() {
        let grpc = "application/grpc";
        for (status, content_type, expected) in [
            ("16", grpc, Classification::TokenRefused),
            ("16", "application/grpc+proto", Classification::TokenRefused),
            ("16", "Application/gRPC; charset=x", Classification::TokenRefused),
            ("16", "application/grpc-web", Classification::TokenRefused),
            ("16", "application/json", Classification::Accepted),
            ("16", "", Classification::Accepted),
            ("0", grpc, Classification::Accepted),
            ("7", grpc, Classification::Accepted),
            ("1", grpc, Classification::Accepted),
            ("160", grpc, Classification::Accepted),
        ] {
            let mut response = Response::builder().header("grpc-status", status);
            if !content_type.is_empty() {
                response = response.header("content-type", content_type);
            }
            let response = response.body(()).unwrap();
            assert_eq!(classify(&response), expected, "{status} {content_type}");
        }
    }
}
