//! gcp_auth: a service account, whose token is fetched over HTTP.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use gcp_auth::{CustomServiceAccount, TokenProvider};
use http::Request;
use rsa::{
    PrivateKey,
    pkcs8::{EncodePrivateKey, LineEnding},
};

use crate::{
    endpoint::Endpoint,
    peer::{Outcome, Peer, bearer, send},
    support::{self, Body},
};

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];

/// What Google gives out.
const KEY_BITS: usize = 2048;

/// Made once: to find the primes takes a while.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = PrivateKey::new(&mut getrandom::SysRng, KEY_BITS).unwrap();
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    })
}

#[derive(Clone)]
pub struct Gcp(Arc<CustomServiceAccount>);

impl Peer for Gcp {
    const NAME: &'static str = "gcp_auth token, then signed";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let account = serde_json::json!({
            "client_email": "bench@example.com",
            "private_key": key(),
            "token_uri": endpoint.url(),
        });
        Self(Arc::new(CustomServiceAccount::from_json(&account.to_string()).unwrap()))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            match self.0.token(&SCOPES).await {
                Ok(token) => send(request, bearer(token.as_str())),
                Err(_) => false,
            }
        }
    }
}
