//! OAuth 2: refusals, tokens of another type, and discovery.

use std::future::ready;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::one_attempt;
use tower_reauth::{
    BoxError, TokenCache, assertion,
    endpoint::{
        HttpService, OAuth2,
        oauth2::{ClientAuth, Issuer, OAuth2Builder},
    },
};

use super::{Section, credentials};

const TOKEN: &str = "https://login.example.com/token";

fn answering(status: u16, body: &'static str) -> impl HttpService {
    tower::service_fn(move |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(status);
        let response = response.header("content-type", "application/json");
        ready(Ok::<_, BoxError>(response.body(Full::<Bytes>::from(body)).unwrap()))
    })
}

async fn fault<S: HttpService>(builder: OAuth2Builder<S>) -> String {
    let cache = TokenCache::builder(builder.build().unwrap()).refresh_policy(one_attempt());
    super::chain(&cache.build().unwrap().token().await.unwrap_err())
}

pub(super) async fn failed() -> Section {
    let mut section = Section::new("OAuth 2, with the causes");
    let by =
        |status, body| OAuth2::client_credentials(TOKEN, answering(status, body), credentials());
    let refused = || by(401, r#"{"error": "invalid_client"}"#);
    section.row("the secret is refused in the header", fault(refused()).await);
    let post = refused().client_auth(ClientAuth::Post);
    section.row("the secret is refused in the form", fault(post).await);
    let raw = refused().client_auth(ClientAuth::BasicUnencoded);
    section.row("the secret is refused without encoding", fault(raw).await);
    let assertion = || assertion::from_fn(|_| async { Ok("a.b.c".into()) });
    let signed = refused().client_auth(ClientAuth::assertion(assertion()));
    section.row("the assertion of a client is refused", fault(signed).await);
    let certified = refused().client_auth(ClientAuth::Tls);
    section.row("the certificate is refused", fault(certified).await);
    let grant = r#"{"error": "invalid_grant"}"#;
    let bearer = OAuth2::jwt_bearer(TOKEN, answering(400, grant), assertion());
    section.row("an assertion as the grant is refused", fault(bearer).await);
    let less = r#"{"access_token": "a", "token_type": "bearer", "scope": "read"}"#;
    let scoped = by(200, less).scope("read").scope("write").require_scope();
    section.row("a scope is not granted", fault(scoped).await);
    for (situation, body) in [
        ("a token for DPoP", r#"{"access_token": "a", "token_type": "DPoP"}"#),
        ("a token of the type mac", r#"{"access_token": "a", "token_type": "mac"}"#),
        ("no access token", r#"{"token_type": "bearer"}"#),
        ("JSON of another shape", "[]"),
    ] {
        section.row(situation, fault(by(200, body)).await);
    }
    let issuer = Issuer::new("https://login.example.com");
    let of = |status, body| {
        OAuth2::client_credentials(issuer.clone(), answering(status, body), credentials())
    };
    section.row("no metadata", fault(of(404, "{}")).await);
    let other = r#"{"issuer": "https://evil.example", "token_endpoint": "https://evil.example/t"}"#;
    section.row("metadata of another issuer", fault(of(200, other)).await);
    let none = r#"{"issuer": "https://login.example.com"}"#;
    section.row("metadata without a token endpoint", fault(of(200, none)).await);
    section
}
