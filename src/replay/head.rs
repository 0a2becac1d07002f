//! [`KeptHead`]: a copy of a request's head that costs less than a clone of it.

use std::{cell::RefCell, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{self, Authority, PathAndQuery, Scheme},
};

/// A request's method, URI, version and headers: without an allocation (but for a long method of one's own), and without a
/// reference count that cores would compete for, in a place that this thread has used before. They become what they were
/// only if there is a replay.
///
/// One pointer, because it is moved several times before it comes to rest.
/// Empty if nothing is kept.
#[derive(Default)]
pub struct KeptHead(Option<Box<Head>>);

#[derive(Default)]
struct Head {
    method: Method,
    version: Version,
    /// No bytes for http and https.
    scheme: Option<Scheme>,
    /// Pairs, one after the other, each with its lengths before it: authority and path, each empty if there is none; then names
    /// and values.
    pairs: Vec<u8>,
}

/// Stands in the length of a value that is marked sensitive. Nothing is so long that its length has this bit.
const SENSITIVE: usize = 1 << (usize::BITS - 1);

/// Enough for nearly all requests.
const CAPACITY: usize = 512;

/// One with a larger buffer is not kept for another request.
const LARGEST_SPARE: usize = 8 * CAPACITY;

/// As many requests of one thread as are usually under way; those beyond allocate theirs.
const MOST_SPARE: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    static SPARE: RefCell<Vec<Box<Head>>> = const { RefCell::new(Vec::new()) };
}

impl KeptHead {
    /// Of a request that is rarely seen: apart from the code for those that are seen often.
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
        let mut head = spare().unwrap_or_else(|| Box::new(Head::fresh()));
        head.method = method.clone();
        head.version = version;
        head.scheme = uri.scheme().cloned();
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        let path = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
        put(&mut head.pairs, authority.as_bytes(), path.as_bytes(), 0);
        for (name, value) in headers {
            look(name);
            let mark = if value.is_sensitive() { SENSITIVE } else { 0 };
            put(&mut head.pairs, name.as_str().as_bytes(), value.as_bytes(), mark);
        }
        Self(Some(head))
    }

    /// A request with this head. `None` if it can't be made again, which none is that was made without `unsafe`.
    pub(super) fn restore<B>(&self, body: B) -> Option<Request<B>> {
        let head = self.0.as_ref()?;
        let mut pairs = &head.pairs[..];
        let (authority, path, _) = take(&mut pairs)?;
        let mut parts = uri::Parts::default();
        parts.scheme.clone_from(&head.scheme);
        if !authority.is_empty() {
            parts.authority = Some(Authority::try_from(authority).ok()?);
        }
        if !path.is_empty() {
            parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
        }
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.version_mut() = head.version;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        while !pairs.is_empty() {
            let (name, value, mark) = take(&mut pairs)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(mark == SENSITIVE);
            request.headers_mut().try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
        }
        Some(request)
    }
}

impl fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the head: some carry a secret in a header, or in the URI.
        f.debug_struct("KeptHead").finish_non_exhaustive()
    }
}

/// One without pairs; the rest is what the last request left.
#[inline]
fn spare() -> Option<Box<Head>> {
    SPARE.try_with(|spare| spare.try_borrow_mut().ok()?.pop()).ok().flatten()
}

impl Head {
    #[cold]
    fn fresh() -> Self {
        Self { pairs: Vec::with_capacity(CAPACITY), ..Self::default() }
    }
}

impl Drop for KeptHead {
    #[inline]
    fn drop(&mut self) {
        let Some(mut head) = self.0.take() else { return };
        if head.pairs.capacity() > LARGEST_SPARE {
            return;
        }
        head.pairs.clear();
        // A thread that ends has none any more, and then it is freed.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < MOST_SPARE
            {
                spare.push(head);
            }
        });
    }
}

/// Once for all pairs, as a function of its own: in a real client nothing of this is in the first-level cache, and each line of
/// code takes longer to come than to run.
#[inline(never)]
fn put(pairs: &mut Vec<u8>, first: &[u8], second: &[u8], mark: usize) {
    let lengths = [first.len(), second.len() | mark].map(usize::to_ne_bytes);
    pairs.extend_from_slice(lengths.as_flattened());
    pairs.extend_from_slice(first);
    pairs.extend_from_slice(second);
}

/// What [`put`] has put there.
fn take<'a>(pairs: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8], usize)> {
    let [first, second] = [take_length(pairs)?, take_length(pairs)?];
    let mark = second & SENSITIVE;
    Some((take_bytes(pairs, first)?, take_bytes(pairs, second & !SENSITIVE)?, mark))
}

fn take_length(from: &mut &[u8]) -> Option<usize> {
    let (length, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(usize::from_ne_bytes(*length))
}

fn take_bytes<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
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
        // The last one is too long to be kept without an allocation.
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
            (prop_oneof![Just("http"), Just("https"), Just("HTTPS"), Just("coap+tcp")], authority, path)
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
    fn buffers_are_used_again_unless_they_are_large_or_many() {
        std::thread::spawn(|| {
            let headers = |length| {
                let mut headers = HeaderMap::new();
                headers.insert(header::COOKIE, HeaderValue::try_from("x".repeat(length)).unwrap());
                headers
            };
            let uri = Uri::from_static("/");
            let kept = |length| KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers(length));
            let place = |kept: &KeptHead| kept.0.as_ref().unwrap().pairs.as_ptr();
            let many: Vec<_> = (0..=MOST_SPARE).map(|_| kept(10)).collect();
            let first = place(&many[0]);
            drop(many);
            let spares = || SPARE.with_borrow(Vec::len);
            assert_eq!(spares(), MOST_SPARE);
            let again: Vec<_> = (0..MOST_SPARE).map(|_| kept(10)).collect();
            assert_eq!((spares(), place(&again[MOST_SPARE - 1])), (0, first));
            let large = kept(100_000);
            assert_eq!(*large.restore(()).unwrap().headers(), headers(100_000));
            drop(large);
            assert_eq!(spares(), 0);
        })
        .join()
        .unwrap();
    }
}
