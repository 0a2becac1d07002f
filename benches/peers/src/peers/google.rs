//! google-cloud-auth: a user's credentials, whose headers are merged into the request.

use std::future::Future;

use google_cloud_auth::credentials::{CacheableResource, Credentials, user_account};
use http::{Extensions, Request};
use tower::Service;

use crate::{
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    support::{self, Body, Noop, done},
};

#[derive(Clone)]
pub struct Google(Credentials);

impl Peer for Google {
    const NAME: &'static str = "google-cloud-auth headers, merged";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let user = serde_json::json!({
            "type": "authorized_user", "client_id": "id", "client_secret": "secret",
            "refresh_token": "refresh",
        });
        Self(user_account::Builder::new(user).with_token_uri(endpoint.url()).build().unwrap())
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, mut request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            match self.0.headers(Extensions::new()).await {
                Ok(CacheableResource::New { data, .. }) => {
                    request.headers_mut().extend(data);
                    done(Noop.call(request)).is_ok()
                }
                Ok(CacheableResource::NotModified) | Err(_) => false,
            }
        }
    }
}
