use std::sync::{Arc, Mutex};

use http::Request;
use serde_json::json;
use support::tls::{self, Tls};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, ExposeSecret, SecretString, TokenCache,
    assertion::{self, Audience, SignedJwt, SigningKey},
    client,
    endpoint::{
        OAuth2, Rotation,
        oauth2::{ClientAuth, Issuer, RefreshTokens, ResponseFields},
    },
    sandbox::{AuthMethod, Issuance, OAuth2Client, OAuth2Server},
};

use super::{ED25519, P256, caller, client_credentials, credentials, http};

#[tokio::test]
async fn a_token_is_had_with_each_client_authentication() {
    let secret = "a secret of thirty-two bytes or more";
    let server = OAuth2Server::builder()
        .client(OAuth2Client::with_keys("signs", P256).unwrap())
        .client(OAuth2Client::with_secret("hmac", secret).method(AuthMethod::SecretJwt))
        .client(OAuth2Client::with_certificate("tls"))
        .start()
        .await
        .unwrap();
    let signed = |key| ClientAuth::assertion(SignedJwt::new(key));
    let id = |id: &str| Credentials::new(id, "");
    for (method, credentials, auth) in [
        (AuthMethod::Basic, credentials(), ClientAuth::Basic),
        (AuthMethod::Post, credentials(), ClientAuth::Post),
        (AuthMethod::PrivateKeyJwt, id("signs"), signed(SigningKey::from_jwk(P256).unwrap())),
        (AuthMethod::SecretJwt, id("hmac"), signed(SigningKey::hs256(secret).unwrap())),
        (AuthMethod::Tls, id("tls"), ClientAuth::Tls),
    ] {
        let client_id = credentials.client_id().to_owned();
        let endpoint = client_credentials(&server)
            .credentials(credentials)
            .client_auth(auth)
            .issuer(server.issuer())
            .scope("write read")
            .audience("https://api.example.com")
            .resource("https://files.example.com")
            .build()
            .unwrap();
        let (status, seen) = caller(&server, &AuthLayer::oauth2(endpoint)).call().await;
        assert_eq!(status, 200, "{method:?}");
        assert_eq!(seen["client_id"], client_id);
        assert_eq!(seen["scope"], "read write");
        let audience = json!(["https://api.example.com", "https://files.example.com"]);
        assert_eq!(seen["audience"], audience);
        assert_eq!(server.token_requests().last().unwrap().method(), Some(method));
    }
    assert_eq!(server.counters().token_requests_refused, 0);
}

/// The certificate of the connection says who the client is (RFC 8705, section 2).
#[tokio::test]
async fn a_client_with_a_certificate_is_known_by_its_connection_alone() {
    let client = OAuth2Client::with_certificate("tls");
    let server = OAuth2Server::builder().client(client).start().await.unwrap();
    for protocols in [&tls::HTTP1[..], &tls::BOTH] {
        with_a_certificate(&server, &Tls::serve_known_clients(server.router(), protocols).await)
            .await;
    }
}

async fn with_a_certificate(server: &OAuth2Server, tls: &Tls) {
    let before = server.counters().token_requests;
    let uri = format!("{}/token", tls.base_url());
    let endpoint = |config| {
        let (http, id) = (client::https_with(config), Credentials::new("tls", ""));
        let endpoint = OAuth2::client_credentials(&uri, http, id).client_auth(ClientAuth::Tls);
        endpoint.for_api(tls.base_url()).build().unwrap()
    };
    let stranger = TokenCache::new(endpoint(tls.trusting.clone()));
    let error = stranger.token().await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("certificate of this"), "{error}");
    assert_eq!(stranger.counters().token_requests, 1, "another attempt would end like this one");
    assert_eq!(server.counters().token_requests, before);

    let known = endpoint(tls.known.clone());
    let auth = AuthLayer::oauth2(known).layer(client::https_with(tls.known.clone()));
    let request = Request::get(format!("{}/orders", tls.base_url())).body(super::Body::default());
    assert_eq!(auth.oneshot(request.unwrap()).await.unwrap().status(), 200);
    let sent = server.token_requests().pop().unwrap();
    assert_eq!(sent.method(), Some(AuthMethod::Tls));
    assert_eq!(sent.param("client_id"), Some("tls"));
}

#[tokio::test]
async fn a_token_is_had_by_each_grant() {
    let server = OAuth2Server::builder()
        .grant("account_credentials")
        .trust("robot@example.com", ED25519)
        .unwrap()
        .subject_token("theirs")
        .takes_json()
        .start()
        .await
        .unwrap();
    let uri = server.token_uri();
    let jwt = SignedJwt::new(SigningKey::from_jwk(ED25519).unwrap())
        .issuer("robot@example.com")
        .subject("ada")
        .audience(Audience::TokenUri);
    let theirs = assertion::from_fn(|_| async { Ok("theirs".into()) });
    let kind = "urn:ietf:params:oauth:token-type:jwt";
    for (endpoint, subject) in [
        (
            OAuth2::grant(&uri, http(), "account_credentials", credentials())
                .param("account_id", "1"),
            OAuth2Server::CLIENT_ID,
        ),
        (client_credentials(&server).client_auth(ClientAuth::Post).json_request(), {
            OAuth2Server::CLIENT_ID
        }),
        (OAuth2::jwt_bearer(&uri, http(), jwt), "ada"),
        (
            OAuth2::token_exchange(&uri, http(), theirs, kind)
                .credentials(credentials())
                .client_auth(ClientAuth::Basic),
            "the subject of the exchanged token",
        ),
    ] {
        let endpoint = endpoint.for_api(server.base_url()).build().unwrap();
        let (status, seen) = caller(&server, &AuthLayer::oauth2(endpoint)).call().await;
        assert_eq!((status.as_u16(), &seen["subject"]), (200, &json!(subject)));
    }
    assert_eq!(server.token_requests()[0].param("account_id"), Some("1"));
}

#[tokio::test]
async fn a_token_that_another_process_killed_is_renewed_and_no_caller_sees_a_401() {
    let server = OAuth2Server::builder().issuance(Issuance::Exclusive).start().await.unwrap();
    let endpoint = client_credentials(&server).rotation(Rotation::Exclusive).build().unwrap();
    let auth = AuthLayer::oauth2(endpoint);
    let caller = caller(&server, &auth);
    assert_eq!(caller.call().await.1["token"], 1);
    // Another process asks for one.
    super::token(client_credentials(&server).build().unwrap()).await.unwrap();
    let (status, seen) = caller.call().await;
    assert_eq!((status.as_u16(), &seen["token"]), (200, &json!(3)));
    let counters = server.counters();
    assert_eq!((counters.token_requests, counters.tokens_issued), (3, 3));
}

#[tokio::test]
async fn a_server_that_gives_a_refused_token_again_is_not_asked_over_and_over() {
    let server = OAuth2Server::builder().issuance(Issuance::Same).start().await.unwrap();
    let auth = AuthLayer::oauth2(client_credentials(&server).build().unwrap());
    let caller = caller(&server, &auth);
    assert_eq!(caller.call().await.0, 200);
    server.refuse_at_resource(OAuth2Server::CLIENT_ID);
    for _ in 0..3 {
        assert_eq!(caller.call().await.0, 401);
    }
    let counters = server.counters();
    assert_eq!((counters.token_requests, counters.tokens_issued), (2, 1), "{counters:?}");
}

#[tokio::test]
async fn fields_of_a_providers_own_are_found() {
    let server = OAuth2Server::builder().start().await.unwrap();
    let fields = ResponseFields::default()
        .access_token("/data/token")
        .expires_in("/data/expire")
        .success_code("/code", 0);
    let endpoint = || client_credentials(&server).fields(fields.clone()).build().unwrap();
    let object = tower_reauth::sandbox::ScriptedResponse::object(http::StatusCode::OK);
    server.respond_next(object.clone().field("code", 0).field("data", json!({"token": "t"})));
    super::token(endpoint()).await.unwrap();
    server.respond_next(object.field("code", 10003).field("msg", "invalid app_id"));
    let error = super::token(endpoint()).await.unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("10003"), "{error}");
}

#[tokio::test]
async fn a_refresh_token_is_replaced_at_each_use_and_the_newest_is_kept() {
    #[derive(Clone)]
    struct Row(Arc<Mutex<String>>);

    impl RefreshTokens for Row {
        async fn load(&self) -> Result<SecretString, BoxError> {
            Ok(self.0.lock().unwrap().clone().into())
        }

        async fn store(&self, token: &SecretString, former: &SecretString) -> Result<(), BoxError> {
            let mut kept = self.0.lock().unwrap();
            if *kept == former.expose_secret() {
                *kept = token.expose_secret().to_owned();
            }
            Ok(())
        }
    }

    let server = OAuth2Server::builder()
        .refresh_token(OAuth2Server::CLIENT_ID, "first")
        .start()
        .await
        .unwrap();
    let row = Row(Arc::new(Mutex::new("first".into())));
    let endpoint = OAuth2::refresh_token(server.token_uri(), http(), credentials(), row.clone());
    let auth = AuthLayer::oauth2(endpoint.for_api(server.base_url()).build().unwrap());
    let caller = caller(&server, &auth);
    for number in 1..=3 {
        let before = row.0.lock().unwrap().clone();
        assert_eq!(caller.call().await.1["token"], number);
        let sent = server.token_requests().pop().unwrap();
        assert_eq!(sent.param("refresh_token"), Some(&*before));
        assert_ne!(*row.0.lock().unwrap(), before);
        server.revoke(OAuth2Server::CLIENT_ID);
    }
    assert_eq!(server.counters().token_requests_refused, 0);
}

#[tokio::test]
async fn the_token_endpoint_of_an_issuer_is_found_at_the_first_token() {
    for path in ["", "/tenant/1"] {
        let server = OAuth2Server::builder().issuer_path(path).start().await.unwrap();
        let issuer = Issuer::new(server.issuer());
        let endpoint = OAuth2::client_credentials(issuer, http(), credentials());
        let auth = AuthLayer::oauth2(endpoint.for_api(server.base_url()).build().unwrap());
        assert_eq!(server.counters().metadata_requests, 0, "nothing is fetched at construction");
        let caller = caller(&server, &auth);
        for number in 1..=2 {
            assert_eq!(caller.call().await.1["token"], number);
            server.revoke(OAuth2Server::CLIENT_ID);
        }
        assert_eq!(server.counters().metadata_requests, 1);
    }
    let server = OAuth2Server::builder()
        .metadata_field("issuer", "https://other.example.com")
        .start()
        .await
        .unwrap();
    let issuer = Issuer::new(server.issuer());
    let endpoint = OAuth2::client_credentials(issuer, http(), credentials());
    let error = super::token(endpoint.for_api(server.base_url()).build().unwrap()).await;
    assert!(error.unwrap_err().to_string().contains("issuer"));
    assert_eq!(server.counters().token_requests, 0);
}
