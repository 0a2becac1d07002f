//! What must not grow unseen: the size of a response future, and the allocations of a call. The
//! benches print the same.

#[path = "../../../benches/support/mod.rs"]
mod benched;

use std::task::{Context, Poll};

use self::benched::{Body, Noop, call, future_size, get, layer, post, secret, shared_layer};
use allocation_counter::measure;
use http::{Request, Response};
use tower::{Layer, Service};
use tower_reauth::{
    ResponseFuture,
    replay::{NoReplay, ReplayOnce},
};

/// What the project promises.
const MOST_BYTES: usize = 200;

/// What it is today, on a machine of 64 bits. Each request carries it about, so it is raised only
/// for a reason that is worth that, and the reason goes into the commit.
const BYTES: usize = 16;

/// The same without replay. The future has the place for a route, because nothing else is kept of
/// the request that could be asked which resource has refused it.
const BYTES_WITHOUT_REPLAY: usize = 24;

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
fn the_future_does_not_carry_the_service_about() {
    /// As a real client: hyper's has 304 bytes.
    #[derive(Clone)]
    struct Large {
        _state: [u8; 304],
    }

    impl Service<Request<Body>> for Large {
        type Response = <Noop as Service<Request<Body>>>::Response;
        type Error = <Noop as Service<Request<Body>>>::Error;
        type Future = <Noop as Service<Request<Body>>>::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Service::<Request<Body>>::poll_ready(&mut Noop, cx)
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            Noop.call(request)
        }
    }

    fn size<S: Service<Request<Body>>>() -> [usize; 2] {
        [
            size_of::<ResponseFuture<S, Body, ReplayOnce>>(),
            size_of::<ResponseFuture<S, Body, NoReplay>>(),
        ]
    }
    assert_eq!(size::<Large>(), size::<Noop>());
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

#[test]
fn a_call_with_a_shared_token_allocates_no_more() {
    let token = secret(200);
    for make in [|| get(4), || get(8), || get(12), post, relative] {
        let alone = allocations(layer(&token).layer(Noop), make);
        assert_eq!(allocations(shared_layer(&token).layer(Noop), make), alone);
        assert_eq!(allocations(shared_layer(&token).without_replay().layer(Noop), make), 0);
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
