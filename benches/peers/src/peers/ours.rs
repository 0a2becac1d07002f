//! tower-reauth.

use std::future::Future;

use http::{Request, Uri};
use tower::Layer;
use tower_reauth::{
    Auth, AuthError, AuthLayer, TokenCache, TokenEndpoint,
    endpoint::{IssuedToken, Rotation},
    replay::{NoReplay, ReplayOnce},
};

use super::plain::ready;
use crate::{
    answer::LIFETIME,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    support::{self, Body, Noop},
};

struct InProcess {
    endpoint: Endpoint,
    uri: Uri,
}

impl TokenEndpoint for InProcess {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let token = self.endpoint.fetch().await.map_err(AuthError::rejected)?;
        Ok(IssuedToken::new(token).expires_in(LIFETIME))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }

    fn uri(&self) -> Option<&Uri> {
        Some(&self.uri)
    }
}

fn layer(endpoint: &Endpoint) -> AuthLayer {
    let uri = support::get(0).into_parts().0.uri;
    AuthLayer::new(TokenCache::new(InProcess { endpoint: endpoint.clone(), uri }))
}

#[derive(Clone)]
pub struct Ours(Auth<Noop, ReplayOnce>);

impl Peer for Ours {
    const NAME: &'static str = "tower-reauth";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        Self(layer(endpoint).layer(Noop))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct OursWithoutReplay(Auth<Noop, NoReplay>);

impl Peer for OursWithoutReplay {
    const NAME: &'static str = "tower-reauth, no replay";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        Self(layer(endpoint).without_replay().layer(Noop))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        ready(&mut self.0, request)
    }
}
