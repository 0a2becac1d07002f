//! The size of a response future beyond what it can't do without.

use std::mem::size_of;

use http::Request;
use tower::Service;
use tower_reauth::{
    ResponseFuture,
    replay::{NoReplay, Replay, ReplayOnce},
};

use super::{Body, Noop};

/// The bytes of the future of a request with the body `Full<Bytes>`, less those of the inner future
/// and of the kept request.
pub fn beyond_what_it_needs() -> usize {
    size_of::<ResponseFuture<Noop, Body, ReplayOnce>>()
        - size_of::<<Noop as Service<Request<Body>>>::Future>()
        - size_of::<<ReplayOnce as Replay<Body>>::Kept>()
}

/// The bytes of the future of a request that is not replayed, less those of the inner future.
pub fn without_replay() -> usize {
    size_of::<ResponseFuture<Noop, Body, NoReplay>>()
        - size_of::<<Noop as Service<Request<Body>>>::Future>()
}
