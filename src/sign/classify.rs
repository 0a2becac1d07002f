//! [`Classify`]: tells whether a response accepts its request's token, refuses it, or neither.
//! Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::challenge;

/// Tells whether a response accepts its request's token, refuses it, or neither. A type parameter
/// of [`AuthLayer`](crate::AuthLayer), by default [`Unauthorized`].
///
/// The [module](crate::refusal) lists the implementations. One of your own sees the head of each
/// response to a signed request once, before the caller does. It runs on the caller's task, so it
/// must not block.
///
/// # Examples
///
/// An API that names an expired token in a header of its own, and says 401 otherwise:
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_reauth::{
///     AuthLayer, TokenCache,
///     refusal::{Classification, Classify, Unauthorized},
/// };
///
/// #[derive(Clone)]
/// struct SessionHeader;
///
/// impl Classify for SessionHeader {
///     fn classify<B>(&self, response: &Response<B>) -> Classification {
///         let is_expired = response.headers().get("x-session").is_some_and(|it| it == "expired");
///         if is_expired && response.status() == StatusCode::FORBIDDEN {
///             return Classification::TokenRefused;
///         }
///         Unauthorized.classify(response)
///     }
/// }
///
/// fn layer(cache: TokenCache) -> AuthLayer<tower_reauth::replay::ReplayOnce, SessionHeader> {
///     AuthLayer::new(cache).refusals(SessionHeader)
/// }
/// ```
pub trait Classify: Clone + Send + Sync + 'static {
    /// Returns the meaning of `response` for the token of its request.
    fn classify<B>(&self, response: &Response<B>) -> Classification;

    /// Adds the refusals of `other`. A response that `self` does not call a refusal is one if
    /// `other` calls it one. For any other response the classification of `self` stands.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::refusal::{self, Classify, Unauthorized};
    ///
    /// # fn f(auth: tower_reauth::AuthLayer) -> Result<(), tower_reauth::ConfigError> {
    /// let auth = auth.refusals(Unauthorized.or(refusal::statuses([419])?).or(refusal::marked()));
    /// # Ok(())
    /// # }
    /// ```
    fn or<C: Classify>(self, other: C) -> Or<Self, C> {
        Or { first: self, second: other }
    }
}

/// The meaning of a response for the token of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Classification {
    /// The resource accepted the token.
    Accepted,
    /// The response says nothing about the token. It is the caller's.
    Neutral,
    /// The resource refused the token, and has not applied the request (as with a 401: RFC 9110,
    /// section 15.5.2). The token is marked as refused, and the request is sent again, once
    /// with a newer one.
    TokenRefused,
    /// The resource refused the request for what stands beside the token, such as a DPoP proof
    /// without its nonce (RFC 9449, section 9), and has not applied it. The request is sent once
    /// more with the same token. The token is not marked, and costs no refresh.
    ProofRefused,
}

impl Classification {
    /// Returns whether the request is to be sent again.
    fn is_refusal(self) -> bool {
        matches!(self, Self::TokenRefused | Self::ProofRefused)
    }
}

/// Classifies responses by RFC 6750, RFC 9110 and RFC 9449. The default.
///
/// | response | classification |
/// |---|---|
/// | 2xx, 304 | accepted |
/// | 200 of type `application/grpc*` with `grpc-status: 16` in its headers | the token is refused |
/// | 401 with `DPoP error="use_dpop_nonce"` and the header `DPoP-Nonce` | the proof is refused |
/// | 401 with a `Bearer` challenge whose error is not `invalid_token` | neutral |
/// | any other 401 | the token is refused |
/// | anything else, such as 403 and 407 | neutral |
///
/// # Examples
///
/// ```
/// use tower_reauth::refusal::{Classification, Classify, Unauthorized};
///
/// let response = http::Response::builder().status(401).body(()).unwrap();
/// assert_eq!(Unauthorized.classify(&response), Classification::TokenRefused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unauthorized;

/// The status of a gRPC call. In the *headers* of a response (gRPC's "Trailers-Only") it says that
/// the call ended before any message. After a message it is in the trailers, which only
/// `GrpcLayer` checks.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The gRPC status code `UNAUTHENTICATED`.
pub(super) const UNAUTHENTICATED: &str = "16";

/// Every content type of gRPC begins with these bytes.
const GRPC: &[u8] = b"application/grpc";

// Only 2xx says that the token lives, and 304, which answers a request as 200 would. Another
// redirect is often a login page, a 4xx often comes before authentication, and a 5xx says nothing.
//
// Only 401, and its gRPC counterpart, speaks against the token. 403 says that the credentials are
// known and not enough (RFC 9110, section 15.5.4). 407 speaks of a proxy (section 15.5.8).
impl Classify for Unauthorized {
    #[inline]
    fn classify<B>(&self, response: &Response<B>) -> Classification {
        let (status, headers) = (response.status(), response.headers());
        if status == StatusCode::OK {
            // Up to about 15 headers, comparing each name is quicker than a lookup, which hashes
            // the name byte for byte.
            if headers.keys().any(|name| *name == GRPC_STATUS) && is_grpc_unauthenticated(headers) {
                return Classification::TokenRefused;
            }
            return Classification::Accepted;
        }
        classify_slow(status, headers)
    }
}

#[cold]
fn classify_slow(status: StatusCode, headers: &HeaderMap) -> Classification {
    if status != StatusCode::UNAUTHORIZED {
        return unless_refused(status);
    }
    if challenge::asks_for_nonce(headers) {
        Classification::ProofRefused
    } else if challenge::blames_token(headers) {
        Classification::TokenRefused
    } else {
        Classification::Neutral
    }
}

/// Returns the meaning of a status that refuses nothing.
pub(super) fn unless_refused(status: StatusCode) -> Classification {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        Classification::Accepted
    } else {
        Classification::Neutral
    }
}

/// Classifies by two classifications. Made by [`Classify::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A: Classify, B: Classify> Classify for Or<A, B> {
    fn classify<T>(&self, response: &Response<T>) -> Classification {
        let first = self.first.classify(response);
        if first.is_refusal() {
            return first;
        }
        let second = self.second.classify(response);
        if second.is_refusal() { second } else { first }
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
            assert_eq!(Unauthorized.classify(&response), expected, "{status}");
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
            assert_eq!(Unauthorized.classify(&response), expected, "{challenge}");
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
            assert_eq!(Unauthorized.classify(&response), expected, "{status} {content_type}");
        }
    }
}
