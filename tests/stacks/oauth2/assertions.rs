//! Promise 103: each send has a new assertion, made with the key that its source gives now.

use std::{collections::HashSet, fs, time::Duration};

use tower_reauth::{
    AuthLayer, ConfigError, Credentials, TokenEndpoint,
    assertion::{self, Algorithm, Audience, SignedJwt, SigningKey},
    endpoint::{
        OAuth2,
        oauth2::{ClientAuth, OAuth2Builder},
    },
    sandbox::{OAuth2Client, OAuth2Server, OAuth2ServerBuilder},
};

use super::{ED25519, P256, caller, http, token};

fn builder() -> OAuth2ServerBuilder {
    let keys = format!(r#"{{"keys": [{P256}, {ED25519}]}}"#);
    OAuth2Server::builder().client(OAuth2Client::with_keys("signs", &keys).unwrap())
}

fn endpoint(server: &OAuth2Server, auth: ClientAuth) -> OAuth2Builder<super::Http> {
    OAuth2::client_credentials(server.token_uri(), http(), Credentials::new("signs", ""))
        .client_auth(auth)
        .issuer(server.issuer())
        .for_api(server.base_url())
}

#[tokio::test]
async fn each_request_has_an_assertion_of_its_own() {
    let server = builder().start().await.unwrap();
    let signed = SignedJwt::new(SigningKey::from_jwk(P256).unwrap());
    let endpoint = endpoint(&server, ClientAuth::assertion(signed)).build().unwrap();
    let auth = AuthLayer::oauth2(endpoint);
    let caller = caller(&server, &auth);
    for number in 1..=3 {
        assert_eq!(caller.call().await.1["token"], number);
        server.revoke("signs");
    }
    let requests = server.token_requests();
    let sent: HashSet<_> = requests.iter().map(|it| it.param("client_assertion")).collect();
    assert_eq!(sent.len(), 3);
}

#[tokio::test]
async fn a_rotated_key_is_used_from_the_next_request_on() {
    let server = builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.jwk");
    fs::write(&path, P256).unwrap();
    let signed = SignedJwt::new(assertion::key_file(&path, Algorithm::Es256));
    let endpoint = endpoint(&server, ClientAuth::assertion(signed)).build().unwrap();
    let auth = AuthLayer::oauth2(endpoint);
    let caller = caller(&server, &auth);
    assert_eq!(caller.call().await.0, 200);
    fs::write(&path, ED25519).unwrap();
    server.revoke("signs");
    assert_eq!(caller.call().await.0, 200);
    let kids: Vec<_> = server.token_requests().iter().map(kid).collect();
    assert_eq!(kids, ["one", "two"]);
}

fn kid(request: &tower_reauth::sandbox::TokenRequest) -> String {
    jsonwebtoken::decode_header(request.param("client_assertion").unwrap()).unwrap().kid.unwrap()
}

#[tokio::test]
async fn a_file_that_changes_is_read_at_the_next_refresh() {
    let server = OAuth2Server::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "first").unwrap();
    let endpoint = endpoint(&server, ClientAuth::assertion(assertion::file(&path)));
    let endpoint = endpoint.build().unwrap();
    for assertion in ["first", "second"] {
        fs::write(&path, assertion).unwrap();
        // They are no JWTs, so the server refuses them.
        assert!(endpoint.issue().await.unwrap_err().is_rejected());
        let requests = server.token_requests();
        assert_eq!(requests.last().unwrap().param("client_assertion"), Some(assertion));
    }
}

#[tokio::test]
async fn a_server_whose_clock_is_off_gets_dates_by_its_own() {
    let hour = Duration::from_secs(3600);
    for builder in [builder().clock_ahead(hour), builder().clock_behind(hour)] {
        let server = builder.start().await.unwrap();
        let signed = SignedJwt::new(SigningKey::from_jwk(P256).unwrap());
        let endpoint = endpoint(&server, ClientAuth::assertion(signed)).build().unwrap();
        let auth = AuthLayer::oauth2(endpoint);
        let caller = caller(&server, &auth);
        assert_eq!(caller.call().await.0, 200);
        server.revoke("signs");
        assert_eq!(caller.call().await.0, 200);
        let counters = server.counters();
        assert_eq!((counters.token_requests, counters.token_requests_refused), (3, 1));
    }
}

#[tokio::test]
async fn the_audience_is_the_issuer_and_without_one_nothing_is_built() {
    let server = builder().start().await.unwrap();
    let signed = || SignedJwt::new(SigningKey::from_jwk(P256).unwrap());
    let unknown =
        OAuth2::client_credentials(server.token_uri(), http(), Credentials::new("signs", ""))
            .client_auth(ClientAuth::assertion(signed()))
            .build();
    assert!(matches!(unknown, Err(ConfigError::InvalidSetting { .. })));
    // The server takes no other audience.
    let other = signed().audience(Audience::TokenUri);
    let refused = endpoint(&server, ClientAuth::assertion(other)).build().unwrap();
    assert!(token(refused).await.unwrap_err().is_rejected());
}
