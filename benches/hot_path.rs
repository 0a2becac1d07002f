//! What signing a request costs when there is a valid token, as a multiple of what putting a static header on costs (2),
//! and that with a clone of the request kept (3). `cargo bench --bench hot_path`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a bench")]

mod support;

use std::convert::Infallible;

use http::{Request, Response, header};
use support::{Body, Contender, Noop, call, get, layer, medians, post, secret, static_header};
use tower::{Layer, retry::Policy};
use tower_http::set_header::SetRequestHeader;

/// Retries nothing, but keeps a clone of each request, as every policy that may retry does.
#[derive(Clone)]
struct KeepsAClone;

impl Policy<Request<Body>, Response<()>, Infallible> for KeepsAClone {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        _: &mut Result<Response<()>, Infallible>,
    ) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

fn main() {
    for length in [200, 2048] {
        for (work, make) in [
            ("GET, 4 headers", (|| get(4)) as fn() -> Request<Body>),
            ("GET, 12 headers", || get(12)),
            ("POST, 1 KiB", post),
        ] {
            measure(work, length, make);
        }
    }
}

fn measure(work: &str, token_length: usize, make: fn() -> Request<Body>) {
    let token = secret(token_length);
    let value = static_header(&token);
    let set = |inner| SetRequestHeader::overriding(inner, header::AUTHORIZATION, value.clone());
    let mut bare = Noop;
    let mut signed = set(Noop);
    let mut kept = set(Noop);
    let mut retried = tower::retry::RetryLayer::new(KeepsAClone).layer(set(Noop));
    let mut ours = layer(&token).layer(Noop);
    let mut ours_without_replay = layer(&token).without_replay().layer(Noop);

    let mut contenders = [
        Contender::new("bare no-op service", make, |request| call(&mut bare, request)),
        Contender::new("(2) static header", make, |request| call(&mut signed, request)),
        Contender::new("(3) static header, clone kept", make, |request: Request<Body>| {
            let clone = std::hint::black_box(request.clone());
            call(&mut kept, request);
            drop(std::hint::black_box(clone));
        }),
        Contender::new("tower Retry over (2)", make, |request| call(&mut retried, request)),
        Contender::new("tower-reauth", make, |request| call(&mut ours, request)),
        Contender::new("tower-reauth, no replay", make, |request| call(&mut ours_without_replay, request)),
    ];
    let medians = medians(300, 100, &mut contenders);
    println!("{work}, token of {token_length} bytes");
    for (contender, ns) in contenders.iter().zip(&medians) {
        let (to_signed, to_kept) = (ns / medians[1], ns / medians[2]);
        println!("  {:30} {ns:7.1} ns  {to_signed:5.2} x(2)  {to_kept:5.2} x(3)", contender.name);
    }
}
