//! The endpoint of OAuth 2 against the authorization server of the sandbox, over real sockets.

mod assertions;
mod grants;
mod responses;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use support::one_attempt;
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AccessToken, Auth, AuthError, AuthLayer, Credentials, TokenCache, TokenEndpoint,
    client::{self, HttpsClient},
    endpoint::{OAuth2, oauth2::OAuth2Builder},
    sandbox::OAuth2Server,
};

type Body = Full<bytes::Bytes>;

/// Keys that RFCs have published: RFC 7515, appendix A.3, and RFC 8037, appendix A.1.
pub(crate) const P256: &str = r#"{"kty": "EC", "crv": "P-256", "kid": "one",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
pub(crate) const ED25519: &str = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "two",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// The built-in client.
pub(crate) type Http = HttpsClient<Body>;

pub(crate) fn http() -> Http {
    client::https().unwrap()
}

/// The credentials of the client that every server knows.
pub(crate) fn credentials() -> Credentials {
    Credentials::new(OAuth2Server::CLIENT_ID, OAuth2Server::CLIENT_SECRET)
}

/// A grant of client credentials at this server, by that client.
pub(crate) fn client_credentials(server: &OAuth2Server) -> OAuth2Builder<Http> {
    OAuth2::client_credentials(server.token_uri(), http(), credentials()).for_api(server.base_url())
}

/// One token, by one request for it.
pub(crate) async fn token(endpoint: impl TokenEndpoint) -> Result<AccessToken, AuthError> {
    let cache = TokenCache::builder(endpoint).refresh_policy(one_attempt()).build().unwrap();
    cache.token().await
}

/// A client of the server's resource.
pub(crate) struct Caller {
    service: Auth<Http>,
    url: String,
}

pub(crate) fn caller(server: &OAuth2Server, auth: &AuthLayer) -> Caller {
    let service = auth.layer(client::https().unwrap());
    Caller { service, url: format!("{}/orders", server.base_url()) }
}

impl Caller {
    /// Returns what the resource says of the token that it saw.
    pub(crate) async fn call(&self) -> (StatusCode, Value) {
        let request = Request::get(&self.url).body(Body::default()).unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&body).unwrap_or_default())
    }
}
