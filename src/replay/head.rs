//! [`KeptHead`]: a copy of a request's head that costs less than a clone of it.

use std::{cell::RefCell, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{self, Authority, PathAndQuery, Scheme},
};

/// A request's method, URI, version and headers: without an allocation (but for more than there is `INLINE` for), and without a
/// reference count that cores would compete for, in a place that this thread has used before. They become what they were
/// only if there is a replay.
///
/// One pointer, because it is moved several times before it comes to rest. Empty if nothing is kept.
#[derive(Default)]
pub struct KeptHead(Option<Box<Head>>);

struct Head {
    version: Version,
    used: usize,
    /// Pairs, one after the other, each with its [lengths](LENGTHS) before it: method and scheme, authority and path, each empty
    /// if there is none; then names and values.
    inline: [u8; INLINE],
    /// The pairs from the first one on that the room is too small for.
    overflow: Vec<u8>,
}

/// Enough for nearly all requests. With the rest, and what an allocator adds, it is 1 KiB.
const INLINE: usize = 976;

/// One with more than this beside its room is not kept for another request.
const MAX_POOLED_OVERFLOW: usize = 4096;

/// As many requests of one thread as are usually under way; those beyond allocate theirs.
const MAX_POOLED: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    static POOL: RefCell<Vec<Box<Head>>> = const { RefCell::new(Vec::new()) };
}

impl KeptHead {
    /// For those who need not look: once, apart from the code that nearly every request needs.
    #[inline(never)]
    pub(crate) fn of(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Self {
        Self::looking_at(|_| (), method, uri, version, headers)
    }

    /// `look` is shown the name of each header: whoever looks for one need not go through them a second time.
    #[inline]
    pub(crate) fn looking_at(
        mut look: impl FnMut(&HeaderName),
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        let mut head = pooled().unwrap_or_else(|| Box::new(Head::new()));
        head.version = version;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        let path = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
        let (mut left, overflow) = (&mut head.inline[..], &mut head.overflow);
        let (mut used, mut too_long) = (0, 0);
        let mut taken;
        for (first, second) in [(method.as_str(), scheme), (authority, path)] {
            too_long |= excess(first.as_bytes(), second.as_bytes());
            (left, taken) = put(left, overflow, first.as_bytes(), second.as_bytes(), false);
            used += taken;
        }
        for (name, value) in headers {
            look(name);
            let (name, value, is_sensitive) =
                (name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
            too_long |= excess(name, value);
            (left, taken) = put(left, overflow, name, value, is_sensitive);
            used += taken;
        }
        head.used = used;
        let kept = Self(Some(head));
        if too_long == 0 { kept } else { Self::default() }
    }

    /// A request with this head. `None` if it can't be made again, because a part of it was too long.
    pub(super) fn restore<B>(&self, body: B) -> Option<Request<B>> {
        let head = self.0.as_ref()?;
        let (mut inline, mut overflow) = (&head.inline[..head.used], &head.overflow[..]);
        let mut next = || if inline.is_empty() { take(&mut overflow) } else { take(&mut inline) };
        let ((method, scheme, _), (authority, path, _)) = (next()?, next()?);
        let mut parts = uri::Parts::default();
        if !scheme.is_empty() {
            parts.scheme = Some(Scheme::try_from(scheme).ok()?);
        }
        if !authority.is_empty() {
            parts.authority = Some(Authority::try_from(authority).ok()?);
        }
        if !path.is_empty() {
            parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
        }
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(method).ok()?;
        *request.version_mut() = head.version;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        while let Some((name, value, is_sensitive)) = next() {
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(is_sensitive);
            request.headers_mut().try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
        }
        // Nothing that could not be read is left.
        (inline.is_empty() && overflow.is_empty()).then_some(request)
    }
}

impl fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the head: some carry a secret in a header, or in the URI.
        f.debug_struct("KeptHead").finish_non_exhaustive()
    }
}

/// One with room for everything; the rest is what the last request left.
#[inline]
fn pooled() -> Option<Box<Head>> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop()).ok().flatten()
}

impl Head {
    #[cold]
    fn new() -> Self {
        Self { version: Version::default(), used: 0, inline: [0; INLINE], overflow: Vec::new() }
    }
}

impl Drop for KeptHead {
    #[inline]
    fn drop(&mut self) {
        let Some(mut head) = self.0.take() else { return };
        if head.overflow.capacity() > MAX_POOLED_OVERFLOW {
            return;
        }
        head.overflow.clear();
        // A thread that ends has none any more, and then it is freed.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < MAX_POOLED
            {
                pool.push(head);
            }
        });
    }
}

/// Puts a pair into the room that is `left`. Returns what is left then, and how much was taken of it; from the first pair on that
/// it is too small for, none is left.
#[expect(
    clippy::inline_always,
    reason = "a call for each pair takes 40 cycles of a request's 240, measured in hyper's client"
)]
#[inline(always)]
fn put<'a>(
    left: &'a mut [u8],
    overflow: &mut Vec<u8>,
    first: &[u8],
    second: &[u8],
    is_sensitive: bool,
) -> (&'a mut [u8], usize) {
    let length = LENGTHS + first.len() + second.len();
    if let Some((place, left)) = left.split_at_mut_checked(length) {
        write(place, first, second, is_sensitive);
        (left, length)
    } else {
        put_overflow(overflow, length, first, second, is_sensitive);
        (&mut [], 0)
    }
}

#[cold]
fn put_overflow(
    overflow: &mut Vec<u8>,
    length: usize,
    first: &[u8],
    second: &[u8],
    is_sensitive: bool,
) {
    let start = overflow.len();
    overflow.resize(start + length, 0);
    write(&mut overflow[start..], first, second, is_sensitive);
}

/// The bytes before each pair: the length of its first, whether it is marked sensitive, and the length of its second.
const LENGTHS: usize = size_of::<u64>();
const FIRST_BITS: u32 = 16;
const SECOND_BITS: u32 = 47;
const SENSITIVE: u64 = 1 << SECOND_BITS;

/// 0, unless one of the two is too long for its bits: such an authority has to be put together, since a parsed URI is shorter.
#[inline]
fn excess(first: &[u8], second: &[u8]) -> u64 {
    (first.len() as u64) >> FIRST_BITS | (second.len() as u64) >> SECOND_BITS
}

#[inline]
fn write(place: &mut [u8], first: &[u8], second: &[u8], is_sensitive: bool) {
    let mark = if is_sensitive { SENSITIVE } else { 0 };
    let lengths = (first.len() as u64) << (u64::BITS - FIRST_BITS) | mark | second.len() as u64;
    let (start, pair) = place.split_at_mut(LENGTHS);
    start.copy_from_slice(&lengths.to_ne_bytes());
    let (first_place, second_place) = pair.split_at_mut(first.len());
    first_place.copy_from_slice(first);
    second_place.copy_from_slice(second);
}

/// What [`put`] has put there, from the first on that has not been taken yet.
fn take<'a>(pairs: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8], bool)> {
    let (lengths, rest) = pairs.split_first_chunk()?;
    let lengths = u64::from_ne_bytes(*lengths);
    let (first, rest) =
        rest.split_at_checked(usize::try_from(lengths >> (u64::BITS - FIRST_BITS)).ok()?)?;
    let second = lengths & (SENSITIVE - 1);
    let (second, rest) = rest.split_at_checked(usize::try_from(second).ok()?)?;
    *pairs = rest;
    Some((first, second, lengths & SENSITIVE != 0))
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Names of both kinds, some of them twice; values of any length and of any byte that may be sent.
    fn headers() -> impl Strategy<Value = HeaderMap> {
        let name = prop_oneof![
            Just(header::CONTENT_TYPE),
            Just(header::COOKIE),
            "[a-z][a-z0-9-]{0,40}".prop_map(|name| HeaderName::try_from(name).unwrap()),
        ];
        let byte = any::<u8>().prop_map(|byte| if byte == 127 || byte < 32 { b'\t' } else { byte });
        let value = (vec(byte, 0..120), any::<bool>()).prop_map(|(bytes, sensitive)| {
            let mut value = HeaderValue::from_bytes(&bytes).unwrap();
            value.set_sensitive(sensitive);
            value
        });
        vec((name, value), 0..12).prop_map(|pairs| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            headers
        })
    }

    fn method() -> impl Strategy<Value = Method> {
        // The last one allocates, in itself.
        proptest::sample::select(&["GET", "POST", "PURGE", "VERSION-CONTROL-CHECKIN"])
            .prop_map(|method| Method::try_from(method).unwrap())
    }

    fn version() -> impl Strategy<Value = Version> {
        prop_oneof![Just(Version::HTTP_10), Just(Version::HTTP_11), Just(Version::HTTP_2)]
    }

    /// Of all forms: absolute, origin, authority, `*`; with user information, IPv6, a port, a query, and none of these.
    fn uri() -> impl Strategy<Value = Uri> {
        let authority = "([a-z]{1,5}(:[a-z]{0,3})?@)?([a-zA-Z0-9.-]{1,20}|\\[::1\\])(:[0-9]{1,5})?";
        let path = "(/[a-zA-Z0-9%._~é!-]{0,12}){0,4}(\\?[a-z0-9=&/?%é]{0,20})?";
        prop_oneof![
            (
                prop_oneof![Just("http"), Just("https"), Just("HTTPS"), Just("coap+tcp")],
                authority,
                path
            )
                .prop_map(|(scheme, authority, path)| format!("{scheme}://{authority}{path}")),
            path.prop_map(|path| format!("/{path}")),
            authority.prop_map(String::from),
            Just("*".to_owned()),
        ]
        .prop_filter_map("not a URI", |uri| uri.parse().ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn what_was_kept_is_what_there_was(
            method in method(),
            uri in uri(),
            version in version(),
            headers in headers(),
        ) {
            let restored = KeptHead::of(&method, &uri, version, &headers).restore(()).unwrap();
            let (restored, ()) = restored.into_parts();
            prop_assert_eq!((restored.method, restored.version), (method, version));
            prop_assert_eq!(restored.uri.to_string(), uri.to_string());
            prop_assert_eq!(restored.uri.into_parts().path_and_query, uri.into_parts().path_and_query);
            let restored = restored.headers;
            prop_assert_eq!(&restored, &headers);
            let all = |headers: &HeaderMap| {
                headers.iter().map(|(name, value)| (name.clone(), value.is_sensitive())).collect::<Vec<_>>()
            };
            prop_assert_eq!(all(&restored), all(&headers));
        }
    }

    #[test]
    fn what_does_not_fit_inline_is_kept_in_the_overflow() {
        // The first pair that does not fit, wherever it is: short ones come after it.
        for lengths in [
            [INLINE, 1, 1],
            [1, INLINE, 1],
            [INLINE - 100, 100, 1],
            [1, 1, 100_000],
            [300, 300, 300],
        ] {
            let mut headers = HeaderMap::new();
            for length in lengths {
                headers.append(header::COOKIE, HeaderValue::try_from("x".repeat(length)).unwrap());
            }
            for path in [10, INLINE, 60_000] {
                let uri = Uri::try_from(format!("https://host/{}", "p".repeat(path))).unwrap();
                let restored = KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers)
                    .restore(())
                    .unwrap();
                assert_eq!((restored.uri(), restored.headers()), (&uri, &headers));
            }
        }
    }

    #[test]
    fn a_part_that_is_too_long_to_be_kept_is_not_taken_for_a_shorter_one() {
        // A parsed URI has an end, and one that is put together has none. This one would go on at `evil.example`.
        let authority = format!("evil.example{}@host", "*".repeat(1 << FIRST_BITS));
        let uri = Uri::builder().scheme("https").authority(&*authority).path_and_query("*").build();
        let method = Method::try_from(&*"M".repeat(1 << FIRST_BITS)).unwrap();
        for (method, uri) in [(Method::GET, uri.unwrap()), (method, Uri::from_static("/"))] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/html"))]);
            let kept = KeptHead::of(&method, &uri, Version::HTTP_11, &headers);
            assert!(kept.restore(()).is_none());
        }
    }

    #[test]
    fn a_head_is_pooled_unless_it_is_large_or_the_pool_is_full() {
        std::thread::spawn(|| {
            let headers = |length| {
                let mut headers = HeaderMap::new();
                headers.insert(header::COOKIE, HeaderValue::try_from("x".repeat(length)).unwrap());
                headers
            };
            let uri = Uri::from_static("/");
            let kept =
                |length| KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers(length));
            let place = |kept: &KeptHead| std::ptr::from_ref(&**kept.0.as_ref().unwrap());
            let many: Vec<_> = (0..=MAX_POOLED).map(|_| kept(10)).collect();
            let first = place(&many[0]);
            drop(many);
            let pooled = || POOL.with_borrow(Vec::len);
            assert_eq!(pooled(), MAX_POOLED);
            let again: Vec<_> = (0..MAX_POOLED).map(|_| kept(10)).collect();
            assert_eq!((pooled(), place(&again[MAX_POOLED - 1])), (0, first));
            drop(kept(MAX_POOLED_OVERFLOW - 100));
            assert_eq!(pooled(), 1);
            // What was left in it is not of the next request.
            assert_eq!(*kept(10).restore(()).unwrap().headers(), headers(10));
            drop(kept(100_000));
            assert_eq!(pooled(), 0);
        })
        .join()
        .unwrap();
    }
}
