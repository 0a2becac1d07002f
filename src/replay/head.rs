//! [`KeptHead`]: a copy of a request's head that costs less than a clone of it.
//!
//! Every signed request is kept, and few are replayed. A clone of a `HeaderMap` allocates, and
//! writes to the reference count of each value, for which cores compete if they share the value. So
//! the head is written as plain bytes into a buffer that this thread has used before, and is parsed
//! again only if there is a replay.
//!
//! The bytes are pairs, one after the other:
//!
//! ```text
//! [lengths | method | scheme] [lengths | authority | path] [lengths | name | value] ...
//! ```
//!
//! The pairs before the first one that does not fit are inline. That one and all after it are in
//! the overflow, so their order stays. `lengths` is one `u64` in the machine's byte order: 16 bits
//! for the length of the first part, one bit for "marked sensitive", 47 bits for the length of the
//! second part.
//!
//! Values that are marked sensitive are wiped when the request ends, and before any memory that
//! holds a copy of them is freed. Other bytes stay until a later request overwrites them, because
//! wiping all of a head would take longer than keeping it.

use std::{cell::RefCell, fmt, mem};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{self, Authority, PathAndQuery, Scheme},
};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    error::{foreign_line, request_line},
    route::Route,
};

/// A request's method, URI, version and headers, kept without an allocation if they fit inline and
/// the pool is not empty.
///
/// It is one pointer, because it is moved several times before it comes to rest. Empty if nothing
/// is kept.
#[derive(Default)]
pub struct KeptHead(Option<Box<Head>>);

struct Head {
    version: Version,
    /// How many bytes of `inline` are in use. The bytes after them are an earlier request's.
    used: usize,
    /// A value is marked sensitive, so the head is wiped before it goes back to the pool.
    sensitive: bool,
    /// Pairs. The scheme, the authority and the path are empty if the URI has none.
    inline: [u8; INLINE],
    /// The pairs from the first one on that does not fit inline.
    overflow: Vec<u8>,
}

/// The inline capacity in bytes, enough for nearly all requests. With its other fields and an
/// allocator's overhead a [`Head`] takes 1 KiB.
const INLINE: usize = 976;

/// The greatest overflow capacity, in bytes, with which a head goes back to the pool. One request
/// with large headers thus does not hold on to their memory for as long as the thread lives.
const MAX_POOLED_OVERFLOW: usize = 4096;

/// The greatest number of heads in the pool of one thread: about as many as it has requests in
/// flight. A request beyond that allocates its head.
const MAX_POOLED: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "heads come and go as boxes")]
    static POOL: RefCell<Vec<Box<Head>>> = const { RefCell::new(Vec::new()) };
}

impl KeptHead {
    /// Keeps a head whose header names nobody wants to see. Never inlined, because few requests
    /// come here, and the code of the fast path stays small.
    #[inline(never)]
    pub(crate) fn of(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Self {
        Self::visiting(|_| (), method, uri, version, headers)
    }

    /// Keeps a head, and calls `look` with the name of each header. A caller that checks the names
    /// thus needs no second pass over the headers.
    #[inline]
    pub(crate) fn visiting(
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
        // Lengths that are too great are noted in `too_long`, and judged once at the end: that is
        // cheaper than a branch for each pair.
        let (mut used, mut too_long, mut sensitive) = (0, 0, false);
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
            sensitive |= is_sensitive;
            (left, taken) = put(left, overflow, name, value, is_sensitive);
            used += taken;
        }
        (head.used, head.sensitive) = (used, sensitive);
        if too_long != 0 {
            head.discard();
            return Self::default();
        }
        Self(Some(head))
    }

    /// Keeps method and URI alone.
    #[inline(never)]
    pub(crate) fn line_of(method: &Method, uri: &Uri) -> Self {
        Self::visiting(|_| (), method, uri, Version::default(), &HeaderMap::new())
    }

    /// Returns the route of the request. Returns `None` if nothing was kept.
    pub(super) fn route(&self) -> Option<Route> {
        let [method, scheme, authority, path] = self.line_parts()?;
        Some(Route::new(method, scheme, authority, path))
    }

    /// Returns the request as an error names it. Returns `None` if nothing was kept.
    #[cold]
    pub(crate) fn line(&self) -> Option<Box<str>> {
        let [method, scheme, authority, path] = self.line_parts()?;
        Some(request_line(method, scheme, authority, path))
    }

    /// Returns the request as an error names it if it is not for the API.
    #[cold]
    pub(crate) fn foreign_line(&self) -> Option<Box<str>> {
        let [method, scheme, authority, _] = self.line_parts()?;
        Some(foreign_line(method, scheme, authority))
    }

    /// Returns method, scheme, authority, and the path with its query.
    fn line_parts(&self) -> Option<[&str; 4]> {
        let head = self.0.as_ref()?;
        let (mut inline, mut overflow) = (&head.inline[..head.used], &head.overflow[..]);
        let mut next = || if inline.is_empty() { take(&mut overflow) } else { take(&mut inline) };
        let ((method, scheme, _), (authority, path, _)) = (next()?, next()?);
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some([text(method)?, text(scheme)?, text(authority)?, text(path)?])
    }

    /// Makes a request with this head and `body`. Returns `None` if nothing was kept, because a
    /// part of the head was too long.
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
            let value =
                if is_sensitive { wiped(value) } else { HeaderValue::from_bytes(value).ok() }?;
            request.headers_mut().try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
        }
        // `take` stops at a pair that it can't read. Bytes that are left would be lost headers.
        (inline.is_empty() && overflow.is_empty()).then_some(request)
    }
}

impl fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the head, because some callers have a secret in a header, or in the URI.
        f.debug_struct("KeptHead").finish_non_exhaustive()
    }
}

/// Takes a head from the pool. Its overflow is empty. Its other fields are an earlier request's.
#[inline]
fn pooled() -> Option<Box<Head>> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop()).ok().flatten()
}

impl Head {
    #[cold]
    fn new() -> Self {
        Self {
            version: Version::default(),
            used: 0,
            sensitive: false,
            inline: [0; INLINE],
            overflow: Vec::new(),
        }
    }

    /// Overwrites the values that are marked sensitive.
    #[cold]
    fn wipe(&mut self) {
        wipe(&mut self.inline[..self.used]);
        wipe(&mut self.overflow);
    }

    /// Frees a head in which a length was cut, so that its pairs can't be told apart.
    #[cold]
    fn discard(mut self: Box<Self>) {
        self.inline.zeroize();
        self.overflow.zeroize();
    }
}

/// Makes a sensitive header value, whose bytes are wiped when its last clone is dropped.
fn wiped(value: &[u8]) -> Option<HeaderValue> {
    let value = Bytes::from_owner(Zeroizing::new(value.to_vec()));
    let mut value = HeaderValue::from_maybe_shared(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Drop for KeptHead {
    #[inline]
    fn drop(&mut self) {
        let Some(mut head) = self.0.take() else { return };
        if head.sensitive {
            head.wipe();
        }
        if head.overflow.capacity() > MAX_POOLED_OVERFLOW {
            return;
        }
        head.overflow.clear();
        // A thread that is ending has no pool any longer. The head is freed then.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < MAX_POOLED
            {
                pool.push(head);
            }
        });
    }
}

/// Writes a pair into what is `left` of the inline buffer. Returns what is left then, and how many
/// bytes were taken.
///
/// A pair that does not fit goes to the overflow, and so do all pairs after it, because nothing is
/// left then. If short ones went inline again, headers would change their order.
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
    if start + length > overflow.capacity() {
        let capacity = (start + length).max(2 * overflow.capacity());
        let mut grown = Vec::with_capacity(capacity);
        grown.extend_from_slice(overflow);
        // `Vec` would free the old memory as it is.
        overflow.zeroize();
        *overflow = grown;
    }
    overflow.resize(start + length, 0);
    write(&mut overflow[start..], first, second, is_sensitive);
}

/// How many bytes before each pair hold its lengths.
const LENGTHS: usize = size_of::<u64>();
const FIRST_BITS: u32 = 16;
const SECOND_BITS: u32 = 47;
const SENSITIVE: u64 = 1 << SECOND_BITS;

/// Returns 0 if both lengths fit their bits.
///
/// A method can be too long, and an authority that was put together from parts. All of a parsed URI
/// is shorter than 65,535 bytes, as is a header name. If a length were cut, a part would end early,
/// and the replay could go to another host.
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

/// Takes the next pair that [`put`] has written: its two parts, and whether the second is marked
/// sensitive. Returns `None` at the end, or if the pair is cut short.
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

/// Overwrites the values among `pairs` that are marked sensitive.
fn wipe(mut pairs: &mut [u8]) {
    while let Some((first, second, is_sensitive)) = take(&mut &*pairs) {
        let start = LENGTHS + first.len();
        let end = start + second.len();
        let (pair, rest) = mem::take(&mut pairs).split_at_mut(end);
        if is_sensitive {
            pair[start..].zeroize();
        }
        pairs = rest;
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
