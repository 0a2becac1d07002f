//! What is asked of a peer to be compared.

use std::future::Future;

use http::{HeaderValue, Request, header};
use tower::Service;

use crate::{
    endpoint::Endpoint,
    support::{Body, Noop, done},
};

/// One of those compared, which shares its token with its clones.
pub trait Peer: Clone + Send + 'static {
    const NAME: &'static str;

    /// A request of the kind that the peer signs: a GET with 4 headers, unless it holds none.
    type Input: Send + 'static;

    /// Without a token, within the runtime that it will be used on.
    fn make(endpoint: &Endpoint) -> impl Future<Output = Self>;

    fn input() -> Self::Input;

    /// Signs the request and hands it to a service that does nothing. Whether that worked.
    fn call(&mut self, input: Self::Input) -> impl Future<Output = impl Outcome> + Send;
}

/// Whether a call worked, told by what the peer returns, so that none pays for a future around its
/// own.
pub trait Outcome: Send {
    fn worked(&self) -> bool;
}

impl Outcome for bool {
    fn worked(&self) -> bool {
        *self
    }
}

impl<T: Send, E: Send> Outcome for Result<T, E> {
    fn worked(&self) -> bool {
        self.is_ok()
    }
}

/// The header for a peer that gives a token out as a string.
pub fn bearer(token: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    value.set_sensitive(true);
    value
}

/// Signs, for a peer that leaves this to its caller.
pub fn send(mut request: Request<Body>, authorization: HeaderValue) -> bool {
    request.headers_mut().insert(header::AUTHORIZATION, authorization);
    // Without another await, whose future would hold the request a second time.
    done(Noop.call(request)).is_ok()
}
