//! What must not grow unseen: the size of a response future, and the allocations of a call. The benches print the same.

#[path = "../benches/support/mod.rs"]
mod support;

use allocation_counter::measure;
use http::{Request, Response};
use support::{Body, Noop, call, future_size, get, layer, post, secret};
use tower::{Layer, Service};

/// What the project promises.
const MOST_BYTES: usize = 200;

/// What it is today, on a machine of 64 bits. Each request carries it about, so it is raised only for a reason that is
/// worth that, and the reason goes into the commit.
const BYTES: usize = 96;

/// The same without replay, where the room of a waiting request is all that there is.
const BYTES_WITHOUT_REPLAY: usize = 192;

#[test]
fn the_future_is_as_small_as_it_was() {
    let bytes = future_size::beyond_what_it_needs();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes, and {MOST_BYTES} are promised");
    if cfg!(target_pointer_width = "64") {
        assert!(bytes <= BYTES, "{bytes} bytes, and it was {BYTES}");
        let bytes = future_size::without_replay();
        assert!(bytes <= BYTES_WITHOUT_REPLAY, "{bytes} bytes, and it was {BYTES_WITHOUT_REPLAY}");
    }
}

#[test]
fn a_call_without_replay_does_not_allocate() {
    for token in [200, 2048].map(secret) {
        for make in [|| get(4), || get(8), || get(12), post, relative] {
            assert_eq!(allocations(layer(&token).without_replay().layer(Noop), make), 0);
        }
    }
}

#[test]
fn a_call_with_replay_does_not_allocate_up_to_eight_headers() {
    for token in [200, 2048].map(secret) {
        for make in [|| get(4), || get(8), post, relative] {
            assert_eq!(allocations(layer(&token).layer(Noop), make), 0);
        }
    }
}

/// As gRPC channels and hyper's own connections have it.
fn relative() -> Request<Body> {
    let mut request = post();
    *request.uri_mut() = http::Uri::from_static("/accounts/1234/payments");
    request
}

/// Of one call, after one that may set things up.
fn allocations<S>(mut service: S, make: fn() -> Request<Body>) -> u64
where
    S: Service<Request<Body>, Response = Response<()>>,
{
    call(&mut service, make());
    let request = make();
    measure(|| call(&mut service, request)).count_total
}
