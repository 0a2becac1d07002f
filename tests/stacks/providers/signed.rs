//! Providers to which a key or a file speaks for the client.

use std::{fs, time::Duration};

use jsonwebtoken::{Algorithm, dangerous::insecure_decode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_reauth::{TokenCache, TokenEndpoint, assertion::SigningKey, endpoint::TokenClient};

use super::{at, played, setups};

const RFC: &str = r#"{"access_token": "t", "token_type": "Bearer", "expires_in": 3599}"#;

fn key() -> SigningKey {
    SigningKey::from_jwk(crate::oauth2::P256).unwrap()
}

async fn token(endpoint: impl TokenEndpoint) -> tower_reauth::AccessToken {
    TokenCache::new(endpoint).token().await.unwrap()
}

fn claims(token: &tower_reauth::AccessToken) -> Value {
    insecure_decode::<Value>(token.expose_secret()).unwrap().claims
}

fn span(claims: &Value) -> u64 {
    claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap()
}

#[tokio::test]
async fn okta() {
    let (http, played_by) = played(200, RFC);
    token(setups::okta(http, "0oa1", key()).unwrap()).await;
    let asked = played_by.asked();
    assert_eq!(at(&played_by), "POST https://acme.okta.com/oauth2/v1/token");
    let claims = asked.claims("client_assertion");
    assert_eq!(claims["aud"], "https://acme.okta.com/oauth2/v1/token");
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("0oa1"), &json!("0oa1")));
    assert_eq!(asked.jwt_header("client_assertion").kid.as_deref(), Some("one"));
    assert_eq!(asked.form("scope").as_deref(), Some("okta.users.read"));

    let dpop = r#"{"error": "invalid_dpop_proof", "error_description": "The header is missing."}"#;
    let (http, _) = played(400, dpop);
    let error = TokenCache::new(setups::okta(http, "0oa1", key()).unwrap()).token().await;
    assert!(error.unwrap_err().is_misconfigured());
}

#[tokio::test]
async fn entra_id_with_a_certificate() {
    let (http, played_by) = played(200, RFC);
    let both = concat!(include_str!("rsa-key.pem"), include_str!("rsa-certificate.pem"));
    token(setups::entra_certificate(http, "app", both).unwrap()).await;
    let asked = played_by.asked();
    let header = asked.jwt_header("client_assertion");
    assert_eq!(header.alg, Algorithm::PS256);
    assert_eq!(header.x5t_s256.unwrap().len(), 43);
    let claims = asked.claims("client_assertion");
    assert_eq!(claims["aud"], "https://login.microsoftonline.com/my-tenant/v2.0");
}

#[tokio::test]
async fn entra_id_with_a_federated_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("azure-identity-token");
    let (http, played_by) = played(200, RFC);
    let endpoint = setups::entra_federated(http, "app", &path).unwrap();
    // Kubernetes replaces the file, and each request has what is in it then.
    for written in ["first.jwt.x", "second.jwt.x"] {
        fs::write(&path, written).unwrap();
        endpoint.issue().await.unwrap();
        let asked = played_by.asked();
        assert_eq!(asked.form("client_assertion").as_deref(), Some(written));
        assert_eq!(asked.form("client_id").as_deref(), Some("app"));
        assert_eq!(asked.form("client_secret"), None);
    }
}

#[tokio::test]
async fn google() {
    let (http, played_by) = played(200, RFC);
    token(setups::google(http, "robot@acme.iam.gserviceaccount.com", key()).unwrap()).await;
    let asked = played_by.asked();
    assert_eq!(
        asked.form("grant_type").as_deref(),
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
    );
    let claims = asked.claims("assertion");
    assert_eq!(claims["iss"], "robot@acme.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/devstorage.read_only");
    assert!(claims.get("sub").is_none());
    assert_eq!((asked.header("authorization"), asked.form("client_id")), ("", None));
}

#[tokio::test]
async fn salesforce() {
    let (http, played_by) = played(
        200,
        r#"{"access_token": "00Dx!AQ", "scope": "web api", "token_type": "Bearer",
            "instance_url": "https://acme.my.salesforce.com", "id": "https://login/id/00Dx"}"#,
    );
    let endpoint = setups::salesforce(http, "3MVG9", "ada@acme.example", key()).unwrap();
    let token = token(endpoint).await;
    assert_eq!(token.lifetime(), Duration::from_secs(7200), "assumed");
    let claims = played_by.asked().claims("assertion");
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("3MVG9"), &json!("ada@acme.example")));
    assert_eq!(claims["aud"], "https://login.salesforce.com");
    assert!(span(&claims) <= 180);
    let granted = token.get::<tower_reauth::endpoint::oauth2::Granted>().unwrap();
    assert!(format!("{granted:?}").contains("instance_url"));
}

#[tokio::test]
async fn github_app_and_its_installation() {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let body = json!({
        "token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        // As in `2016-07-11T22:14:10Z`.
        "expires_at": format!("{end:.0}"),
        "permissions": {"issues": "write"},
    });
    let (http, played_by) = played(201, body.to_string());
    let app = setups::github_app("Iv1.1", key()).unwrap();
    let uri = "https://api.github.com/app/installations/1/access_tokens".parse().unwrap();
    let as_app = TokenClient::new(app.layer(http));
    let token = token(setups::Installation { as_app, uri }).await;
    assert!((3590..=3600).contains(&token.lifetime().as_secs()), "{:?}", token.lifetime());
    let asked = played_by.asked();
    let jwt = asked.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
    let claims = insecure_decode::<Value>(jwt).unwrap().claims;
    assert_eq!(claims["iss"], "Iv1.1");
    assert!(span(&claims) <= 600);
    assert_eq!(played_by.count(), 1);
}

#[tokio::test]
async fn kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "opaque\n").unwrap();
    let auth = setups::kubernetes(&path).unwrap();
    let (http, played_by) = played(200, "{}");
    let request = http::Request::get("https://kubernetes.default.svc/api/v1/pods");
    let request = request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    auth.layer(http).oneshot(request).await.unwrap();
    assert_eq!(played_by.asked().header("authorization"), "Bearer opaque");
}

#[tokio::test]
async fn apple_push() {
    let auth = setups::apns("DEF123GHIJ", key().with_kid("ABC123DEFG")).unwrap();
    let token = auth.cache().token().await.unwrap();
    let claims = claims(&token);
    // Nothing but these two, by the documentation.
    assert_eq!(claims, json!({"iss": "DEF123GHIJ", "iat": claims["iat"]}));
    let header = jsonwebtoken::decode_header(token.expose_secret()).unwrap();
    assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::ES256, Some("ABC123DEFG")));
    assert!(token.lifetime() >= Duration::from_secs(40 * 60));
}

#[tokio::test]
async fn app_store_connect() {
    let auth = setups::app_store_connect("57246542", key()).unwrap();
    let claims = claims(&auth.cache().token().await.unwrap());
    assert_eq!(claims["iss"], "57246542");
    assert_eq!(claims["aud"], "appstoreconnect-v1");
    assert!(span(&claims) <= 1200);
}

#[tokio::test]
async fn snowflake() {
    let auth = setups::snowflake("ACME.ADA", "SHA256:abc=", key()).unwrap();
    let claims = claims(&auth.cache().token().await.unwrap());
    assert_eq!(claims["iss"], "ACME.ADA.SHA256:abc=");
    assert_eq!(claims["sub"], "ACME.ADA");
    assert!(span(&claims) <= 3600);
    assert_eq!(setups::snowflake_header().1, "KEYPAIR_JWT");
}
