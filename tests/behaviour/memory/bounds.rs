//! Bounds of the memory that requests cost beside their own: bodies cut into many frames, full
//! header maps, and extensions.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use http_body::{Body, Frame};
use support::{Endpoint, URI, get, ok};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, BoxError, Error, TokenCache, replay::ReplayBody};

const CAP: usize = 64 * 1024;

/// A body of this many frames, which are made when they are read.
struct Frames<F> {
    left: usize,
    make: F,
}

impl<F: FnMut(usize) -> Frame<Bytes> + Unpin> Body for Frames<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok((self.make)(left))))
    }
}

/// Returns how many frames of a body pass, and how many bytes are held when all have.
fn held(frames: usize, make: impl FnMut(usize) -> Frame<Bytes> + Unpin) -> (usize, i64) {
    let mut body = ReplayBody::new(Frames { left: frames, make }, CAP);
    let mut passed = 0;
    let info = measure(|| {
        let cx = &mut Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(cx) {
            frame.unwrap();
            passed += 1;
        }
    });
    (passed, info.bytes_current)
}

#[test]
fn the_memory_of_a_kept_body_is_bounded_by_its_cap_however_it_is_cut() {
    let buffer = Bytes::from(vec![7; 1 << 20]);
    let slice = |length: usize| {
        let buffer = buffer.clone();
        move |_| Frame::data(buffer.slice(..length))
    };
    // A reader that gives a small part of a large buffer of its own each time.
    let part = |length: usize| move |_| Frame::data(Bytes::from(vec![7; CAP]).slice(..length));
    let alternating = |number: usize| {
        // The short ones are parts of large buffers.
        let (length, buffer) = if number.is_multiple_of(2) { (1, CAP) } else { (1024, 1024) };
        Frame::data(Bytes::from(vec![7; buffer]).slice(..length))
    };
    let bound = 3 * i64::try_from(CAP).unwrap();
    for (what, frames, (passed, held)) in [
        ("one frame", 1, held(1, part(CAP))),
        ("frames of one byte", CAP, held(CAP, slice(1))),
        ("parts of one byte", CAP, held(CAP, part(1))),
        ("parts of 100 bytes", CAP / 100, held(CAP / 100, part(100))),
        ("just too short to be kept as they are", 64, held(64, part(1023))),
        ("short and long ones in turn", 2 * (CAP / 1025), held(2 * (CAP / 1025), alternating)),
        ("empty frames", 2_000_000, held(2_000_000, slice(0))),
        ("more than the cap", 2 * CAP, held(2 * CAP, slice(1))),
    ] {
        assert_eq!(passed, frames, "{what}: the body itself goes on as it is");
        assert!(held <= bound, "{what}: {held} bytes held");
    }
}

#[test]
fn the_memory_of_kept_trailers_is_bounded_too() {
    let header = |number: usize, length: usize| {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        (name, HeaderValue::try_from("x".repeat(length)).unwrap())
    };
    let many =
        move |_| Frame::trailers((0..2000).map(|number| header(number, 10)).collect::<HeaderMap>());
    let long = move |_| Frame::trailers(HeaderMap::from_iter([header(0, 1 << 20)]));
    let empty = |_| Frame::trailers(HeaderMap::new());
    let spacious = |_| Frame::trailers(HeaderMap::with_capacity(20_000));
    for (what, (passed, held)) in [
        ("many headers", held(1, many)),
        ("a long header", held(1, long)),
        ("many frames", held(100_000, empty)),
        ("a large empty map", held(1, spacious)),
    ] {
        assert!(passed > 0);
        assert!(held <= 32 * 1024, "{what}: {held} bytes held");
    }
}

fn full_of_headers() -> Request<String> {
    let mut request = get(URI);
    let mut number = 0;
    let one = HeaderValue::from_static("1");
    while request
        .headers_mut()
        .try_insert(HeaderName::try_from(format!("x-{number}")).unwrap(), one.clone())
        .is_ok()
    {
        number += 1;
    }
    request
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_place_for_the_token_is_a_typed_error_and_is_not_sent() {
    for (has_token, replays) in [(false, true), (false, false), (true, true), (true, false)] {
        let cache = TokenCache::new(Endpoint::exclusive());
        if has_token {
            cache.token().await.unwrap();
        }
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let inner = service_fn(move |_: Request<String>| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, BoxError>(ok()))
        });
        let auth = AuthLayer::new(cache.clone());
        let result = if replays {
            auth.layer(inner.clone()).oneshot(full_of_headers()).await
        } else {
            auth.without_replay().layer(inner.clone()).oneshot(full_of_headers()).await
        };
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Auth { error: auth, .. } if !auth.is_transient()),
            "{error:?}"
        );
        assert!(error.as_auth().unwrap().to_string().contains("headers"), "{error:?}");
        assert_eq!(sent.load(Ordering::SeqCst), 0);
        // The token is none the worse, and no request counts as in flight.
        cache.refresh().await.unwrap();
        assert_eq!(cache.counters().drains_timed_out, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_request_whose_own_header_is_replaced_is_signed() {
    let cache = TokenCache::new(Endpoint::exclusive());
    cache.token().await.unwrap();
    let inner = service_fn(|request: Request<String>| async move {
        assert_eq!(request.headers().get_all("authorization").iter().count(), 1);
        Ok::<_, BoxError>(if support::authorization(&request) == "Bearer token-2" {
            ok()
        } else {
            support::unauthorized()
        })
    });
    let mut request = full_of_headers();
    let (headers, one) = (request.headers_mut(), HeaderValue::from_static("1"));
    headers.remove("x-0");
    headers.remove("x-1");
    headers.append("authorization", HeaderValue::from_static("Basic eDp5"));
    headers.append("authorization", HeaderValue::from_static("Basic eDp6"));
    headers.insert("x-0", one.clone());
    assert!(headers.try_insert("x-1", one).is_err(), "it is full again");
    let response = AuthLayer::new(cache.clone()).layer(inner).oneshot(request).await.unwrap();
    assert_eq!((response.status(), cache.counters().replays), (http::StatusCode::OK, 1));
}

#[derive(Clone)]
struct Extension(#[expect(dead_code, reason = "only its size matters")] [u64; 4]);

#[test]
fn extensions_cost_what_cloning_them_costs_and_nothing_if_there_are_none() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let cache = TokenCache::new(Endpoint::exclusive());
    runtime.block_on(cache.token()).unwrap();
    let inner = service_fn(|_: Request<String>| std::future::ready(Ok::<_, BoxError>(ok())));
    let mut service = AuthLayer::new(cache).layer(inner);
    let none: fn(&mut Extensions) = |_| ();
    let emptied: fn(&mut Extensions) = |extensions| {
        extensions.insert(7_u64);
        extensions.remove::<u64>();
    };
    let one: fn(&mut Extensions) = |extensions| {
        extensions.insert(Extension([1; 4]));
    };
    let three: fn(&mut Extensions) = |extensions| {
        extensions.insert(Extension([1; 4]));
        extensions.insert(7_u64);
        extensions.insert("x");
    };
    let mut call = |fill: fn(&mut Extensions)| {
        let make = || {
            let mut request = get(URI);
            fill(request.extensions_mut());
            request
        };
        let response = service.call(make());
        drop(response);
        let (request, mut response) = (make(), None);
        measure(|| response = Some(service.call(request))).count_total
    };
    let clone = |fill: fn(&mut Extensions)| {
        let (mut extensions, mut clone) = (Extensions::new(), None);
        fill(&mut extensions);
        measure(|| clone = Some(extensions.clone())).count_total
    };
    let without = call(none);
    assert_eq!(call(emptied), without);
    for fill in [one, three] {
        assert!(clone(fill) > 0);
        assert_eq!(call(fill), without + clone(fill));
    }
}
