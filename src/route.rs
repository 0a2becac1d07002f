//! [`Route`]: the requests that a resource answers alike. Pure.

use std::{
    hash::{DefaultHasher, Hasher},
    num::NonZero,
};

use http::Request;

/// The least length of a part of a path segment that is an id because it has letters and digits.
/// A shorter one is more likely a word of the API, such as `v1` or `oauth2`.
const ID_LENGTH: usize = 8;

/// The lowest bit, which is no route's: the token was accepted.
pub(crate) const ACCEPTED: u64 = 1;

/// The next bit, which is no route's: requests that are not kept note their routes.
pub(crate) const TRACED: u64 = 2;

/// The bits of all routes.
pub(crate) const EVERY_ROUTE: u64 = !(ACCEPTED | TRACED);

/// The method, origin and path template of a request, as a hash.
///
/// Segments of the path that look like ids are one segment in the template: numbers, dates, UUIDs,
/// hashes, and words with an id after them, such as `cus_1Nv0FGQ9`. Names are no ids, such as
/// `settlements-v2`, and nothing with a dot is one, such as gRPC's `bank.v1.Accounts`. The query is
/// left out.
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
    let has = |part: &str, kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
    if segment.contains('.') || !has(segment, u8::is_ascii_digit) {
        return false;
    }
    if !has(segment, u8::is_ascii_alphabetic) {
        return true;
    }
    let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if segment.len() >= ID_LENGTH && segment.bytes().all(is_hex) {
        return true;
    }
    // A word may end in a version.
    let is_word = |part: &str| {
        let name = part.trim_end_matches(|it: char| it.is_ascii_digit());
        part.len() - name.len() <= 2 && !has(name, u8::is_ascii_digit)
    };
    let is_long = |part: &str| part.len() >= ID_LENGTH || !has(part, u8::is_ascii_alphabetic);
    segment.split(['-', '_']).any(|part| !is_word(part) && is_long(part))
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
            ("/customers/cus_1Nv0FGQ9RKHg", "/customers/cus_7h3xFGQ9RKHg"),
            ("/payments/payment-100234", "/payments/payment-100235"),
            ("/files/a8Kd03jfLs0dk2", "/files/Zk39dkLs02kdLq"),
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
            ("/settlements-v2", "/statements-v2"),
            ("/acme.admin.v1.Audit/List", "/acme.billing.v1.Invoices/List"),
            ("/oauth2-clients", "/oauth2-grants"),
            ("/s3-buckets", "/k8s-clusters"),
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
