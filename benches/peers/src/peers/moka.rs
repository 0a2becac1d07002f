//! moka: a future cache of one entry as the token cache, `try_get_with` as the single flight.

use std::future::Future;

use http::{HeaderValue, Request};
use moka::future::Cache;

use crate::{
    answer::{LIFETIME, Refused},
    endpoint::Endpoint,
    peer::{Outcome, Peer, bearer, send},
    support::{self, Body},
};

#[derive(Clone)]
pub struct Moka {
    cache: Cache<(), HeaderValue>,
    endpoint: Endpoint,
}

impl Peer for Moka {
    const NAME: &'static str = "moka try_get_with";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let cache = Cache::builder().max_capacity(1).time_to_live(LIFETIME).build();
        Self { cache, endpoint: endpoint.clone() }
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            let fetch = async { Ok::<_, Refused>(bearer(&self.endpoint.fetch().await?)) };
            match self.cache.try_get_with((), fetch).await {
                Ok(header) => send(request, header),
                Err(_) => false,
            }
        }
    }
}
