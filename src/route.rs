//! [`Route`]: the requests that a resource answers alike. Pure.

use std::{
    hash::{DefaultHasher, Hasher},
    num::NonZero,
};

use http::Request;

/// The least length of a path segment that is an id because it holds a digit.
///
/// A shorter one with a letter is more likely a word of the API, such as `v1` or `oauth2`.
const ID_LENGTH: usize = 8;

/// The method, origin and path template of a request, as a hash.
///
/// Segments of the path that look like ids are one segment in the template: numbers, dates, UUIDs,
/// hashes, and any other that has a digit and at least [`ID_LENGTH`] bytes. The query is left out.
///
/// Two routes with one hash would be taken for one, which costs their callers a 401 at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(NonZero<u64>);

impl Route {
    /// Returns the route of a request. Never inlined, because few requests come here.
    #[inline(never)]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let uri = request.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = uri.scheme_str().unwrap_or_default();
        Self::new(request.method().as_str(), scheme, authority, uri.path())
    }

    /// Returns the route of the parts of a request. A query in `path` is left out.
    pub(crate) fn new(method: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        // A byte that no part holds ends each of them, so no two lists of parts run together.
        let mut part = |part: &[u8]| {
            hasher.write(part);
            hasher.write_u8(0);
        };
        part(method.as_bytes());
        part(scheme.as_bytes());
        part(authority.to_ascii_lowercase().as_bytes());
        let path = path.split('?').next().unwrap_or_default();
        for segment in path.split('/') {
            part(if is_id(segment) { b"\x01" } else { segment.as_bytes() });
        }
        Self(NonZero::new(hasher.finish()).unwrap_or(NonZero::<u64>::MIN))
    }

    /// Returns the bit of this route in a filter of routes. It is none of the two lowest bits.
    pub(crate) fn bit(self) -> u64 {
        4 << (self.0.get() % 62)
    }
}

fn is_id(segment: &str) -> bool {
    let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
    has_digit
        && (segment.len() >= ID_LENGTH || !segment.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Route {
        Route::new("GET", "https", "api.example.com", path)
    }

    #[test]
    fn ids_are_one_and_words_are_not() {
        for (one, other) in [
            ("/accounts/1", "/accounts/2"),
            ("/accounts/1/payments", "/accounts/44213/payments"),
            (
                "/payments/6f1c0d7e-3b0a-4f0e-9a9b-0c1d2e3f4a5b",
                "/payments/00000000-0000-0000-0000-000000000000",
            ),
            ("/commits/9fceb02d0ae598e9", "/commits/1b2c3d4e"),
            ("/reports/2026-11-25", "/reports/2026-11-26"),
            ("/customers/cus_1Nv0FGQ9RKHg", "/customers/cus_7h3x"),
            ("/accounts/1?page=2", "/accounts/3?page=9"),
            ("/accounts/1", "/accounts/1?x"),
        ] {
            assert_eq!(get(one), get(other), "{one} {other}");
        }
        for (one, other) in [
            ("/accounts/1", "/payments/1"),
            ("/v1/accounts", "/v2/accounts"),
            ("/oauth1/x", "/oauth2/x"),
            ("/accounts", "/accounts/"),
            ("/accounts/1", "/accounts/1/limits"),
            ("/payment-initiation-requests", "/payment-initiation-consents"),
        ] {
            assert_ne!(get(one), get(other), "{one} {other}");
        }
    }

    #[test]
    fn method_and_origin_count() {
        assert_ne!(get("/a"), Route::new("POST", "https", "api.example.com", "/a"));
        assert_ne!(get("/a"), Route::new("GET", "http", "api.example.com", "/a"));
        assert_ne!(get("/a"), Route::new("GET", "https", "api.example.org", "/a"));
        assert_eq!(get("/a"), Route::new("GET", "https", "API.example.com", "/a"));
        let request = Request::get("https://api.example.com/a?b=c").body(()).unwrap();
        assert_eq!(get("/a"), Route::of(&request));
    }

    #[test]
    fn the_two_lowest_bits_are_no_routes() {
        for path in 0..200 {
            let bit = get(&format!("/{}", "x".repeat(path))).bit();
            assert!(bit.is_power_of_two() && bit > 2);
        }
    }
}
