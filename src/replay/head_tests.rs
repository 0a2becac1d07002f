use http::header;
use proptest::{collection::vec, prelude::*};

use super::*;

/// Headers with known and other names, some of them twice. Values are of any length, and of any
/// byte that may be sent.
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
    // `Method` itself allocates for the last one.
    proptest::sample::select(&["GET", "POST", "PURGE", "VERSION-CONTROL-CHECKIN"])
        .prop_map(|method| Method::try_from(method).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::HTTP_10), Just(Version::HTTP_11), Just(Version::HTTP_2)]
}

/// URIs of all forms (absolute, origin, authority, `*`), some with user information, an IPv6
/// address, a port or a query.
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
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    })]

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
        let (restored_uri, uri) = (restored.uri.into_parts(), uri.into_parts());
        prop_assert_eq!(restored_uri.path_and_query, uri.path_and_query);
        let restored = restored.headers;
        prop_assert_eq!(&restored, &headers);
        let all = |headers: &HeaderMap| {
            let mark = |(name, value): (&HeaderName, &HeaderValue)| {
                (name.clone(), value.is_sensitive())
            };
            headers.iter().map(mark).collect::<Vec<_>>()
        };
        prop_assert_eq!(all(&restored), all(&headers));
    }
}

#[test]
fn what_does_not_fit_inline_is_kept_in_the_overflow() {
    // The first pair that does not fit is the first, the second or the last. Short pairs that
    // would fit come after it.
    for lengths in
        [[INLINE, 1, 1], [1, INLINE, 1], [INLINE - 100, 100, 1], [1, 1, 100_000], [300, 300, 300]]
    {
        let mut headers = HeaderMap::new();
        for length in lengths {
            headers.append(header::COOKIE, HeaderValue::try_from("x".repeat(length)).unwrap());
        }
        for path in [10, INLINE, 60_000] {
            let uri = Uri::try_from(format!("https://host/{}", "p".repeat(path))).unwrap();
            let restored =
                KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers).restore(()).unwrap();
            assert_eq!((restored.uri(), restored.headers()), (&uri, &headers));
        }
    }
}

#[test]
fn a_part_that_is_too_long_to_be_kept_is_not_taken_for_a_shorter_one() {
    // The length of a parsed URI is bounded. This one is put together from parts, and if its
    // authority were cut, the replay would go to `evil.example`.
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
        let kept = |length| KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers(length));
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
        // Bytes of an earlier request are not taken for the next one's.
        assert_eq!(*kept(10).restore(()).unwrap().headers(), headers(10));
        drop(kept(100_000));
        assert_eq!(pooled(), 0);
    })
    .join()
    .unwrap();
}

#[test]
fn what_is_marked_sensitive_is_wiped_and_nothing_else() {
    std::thread::spawn(|| {
        let of = |byte: &str, length, sensitive| {
            let mut value = HeaderValue::try_from(byte.repeat(length)).unwrap();
            value.set_sensitive(sensitive);
            value
        };
        let uri = Uri::from_static("/");
        for length in [1, 40, INLINE, 2 * INLINE] {
            let mut headers = HeaderMap::new();
            headers.append(header::ACCEPT, of("~", 40, false));
            headers.append(header::COOKIE, of("#", length, true));
            headers.append(header::COOKIE, of("#", 30, true));
            headers.append(header::ACCEPT, of("~", 40, false));
            drop(KeptHead::of(&Method::GET, &uri, Version::HTTP_11, &headers));
            let head = pooled().unwrap();
            assert!(!head.inline.contains(&b'#'), "{length}");
            assert!(head.inline.windows(40).any(|bytes| bytes == [b'~'; 40]), "{length}");
        }
    })
    .join()
    .unwrap();
}
