//! Gets tokens of OAuth 2 by assertions (RFC 7523) that are signed far away, by a key management
//! service (KMS) that never gives the key away.
//!
//! ```text
//! cargo run -p examples-stacks --example kms_assertion
//! ```
//!
//! A server on this machine stands in for two kinds of KMS. One signs a whole JWT, and its client
//! is a function. The other signs bytes, and its client is a `Signer`, around which the crate makes
//! the JWT. The sandbox's authorization server checks both, and the example prints what its
//! resource answered to the tokens.

use axum::{Json, Router, extract::State, routing::post};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, TokenCache,
    assertion::{self, Algorithm, AssertionSource, SignedJwt, Signer, SigningKey},
    client::{self, HttpsClient},
    endpoint::{OAuth2, SelfSigned, oauth2::ClientAuth},
    sandbox::{OAuth2Client, OAuth2Server},
};

const CLIENT_ID: &str = "billing";

/// In the KMS. It is that of RFC 7515, appendix A.3.
const KEY: &str = r#"{"kty": "EC", "crv": "P-256", "kid": "one",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

#[derive(Clone)]
struct Kms {
    client: HttpsClient<Full<Bytes>>,
    base_url: String,
}

impl Kms {
    async fn ask(&self, path: &str, body: Bytes) -> Result<Vec<u8>, BoxError> {
        let request = Request::post(format!("{}{path}", self.base_url));
        let request = request.header("content-type", "application/json").body(body.into())?;
        let response = self.client.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the KMS answered {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await?;
        Ok(body.to_bytes().into())
    }
}

/// For a KMS that signs bytes. A signature of ECDSA in ASN.1, as some give it, has to be turned
/// into `r` and `s` here.
impl Signer for Kms {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn kid(&self) -> Option<&str> {
        Some("one")
    }

    async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.ask("/sign", Bytes::copy_from_slice(input)).await
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let key = SigningKey::from_jwk(KEY)?;
    let public = key.public_jwk().ok_or("the key has no public half")?;
    let routes =
        Router::new().route("/sign", post(sign)).route("/sign-jwt", post(sign_jwt)).with_state(key);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, routes).await });

    let kms = Kms { client: client::https()?, base_url };
    let oauth2 = OAuth2Client::with_keys(CLIENT_ID, &public)?;
    let server = OAuth2Server::builder().client(oauth2).start().await?;

    let by_bytes = get(&server, SignedJwt::new(kms.clone())).await?;
    let by_function = assertion::from_fn(move |ask| {
        // The future can't borrow from `ask`.
        let claims = json!({"sub": ask.client_id, "aud": ask.issuer}).to_string();
        let kms = kms.clone();
        async move {
            let jwt = kms.ask("/sign-jwt", claims.into()).await?;
            Ok(String::from_utf8(jwt)?.into())
        }
    });
    let by_jwt = get(&server, by_function).await?;
    println!("by signed bytes: {by_bytes}; by a signed JWT: {by_jwt}");
    if by_bytes != 200 || by_jwt != 200 {
        return Err("not as promised".into());
    }
    println!("As promised: both assertions brought a token, and this process never had the key.");
    Ok(())
}

/// Sends a request that is signed with a token for an assertion of `source`.
async fn get(server: &OAuth2Server, source: impl AssertionSource) -> Result<StatusCode, BoxError> {
    let client = Credentials::new(CLIENT_ID, "");
    let endpoint = OAuth2::client_credentials(server.token_uri(), client::https()?, client)
        .client_auth(ClientAuth::assertion(source))
        .issuer(server.issuer())
        .for_api(server.base_url())
        .build()?;
    let request = Request::get(format!("{}/invoices", server.base_url()));
    let request = request.body(Full::<Bytes>::default())?;
    let client = AuthLayer::oauth2(endpoint).layer(client::https()?);
    Ok(client.oneshot(request).await?.status())
}

async fn sign(State(key): State<SigningKey>, input: Bytes) -> Result<Vec<u8>, String> {
    key.sign(&input).await.map_err(|error| error.to_string())
}

async fn sign_jwt(
    State(key): State<SigningKey>,
    Json(claims): Json<Value>,
) -> Result<String, String> {
    let jwt = SelfSigned::new(key)
        .claim("iss", claims["sub"].clone())
        .claim("sub", claims["sub"].clone())
        .claim("aud", claims["aud"].clone())
        .claim("jti", fastrand::u64(..).to_string());
    let jwt = TokenCache::new(jwt).token().await.map_err(|error| error.to_string())?;
    Ok(jwt.expose_secret().to_owned())
}
