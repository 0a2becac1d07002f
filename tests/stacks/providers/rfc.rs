//! Providers that speak as RFC 6749 has it, with a trap or two.

use tower_reauth::{AuthError, Credentials, TokenCache, TokenEndpoint, endpoint::oauth2::Granted};

use super::{at, played, setups};

fn client() -> Credentials {
    Credentials::new("my-client-id", "my-client-secret")
}

async fn lifetime(endpoint: impl TokenEndpoint) -> u64 {
    TokenCache::new(endpoint).token().await.unwrap().lifetime().as_secs()
}

async fn error(endpoint: impl TokenEndpoint) -> AuthError {
    TokenCache::new(endpoint).token().await.unwrap_err()
}

const BASIC: &str = "Basic bXktY2xpZW50LWlkOm15LWNsaWVudC1zZWNyZXQ=";

#[tokio::test]
async fn auth0() {
    let (http, played_by) = played(
        200,
        r#"{"access_token": "ey.a.b", "scope": "read:users", "expires_in": 86400,
            "token_type": "Bearer"}"#,
    );
    assert_eq!(lifetime(setups::auth0(http, client()).unwrap()).await, 86400);
    assert_eq!(at(&played_by), "POST https://acme.eu.auth0.com/oauth/token");
    let asked = played_by.asked();
    assert_eq!(asked.form("audience").as_deref(), Some("https://api.acme.example"));
    assert_eq!(asked.header("authorization"), BASIC);

    // A client that is not authorized for the API, and an unknown API.
    for (status, body) in [
        (403, r#"{"error": "unauthorized_client", "error_description": "Grant type"}"#),
        (403, r#"{"error": "access_denied", "error_description": "Service not enabled"}"#),
    ] {
        let (http, _) = played(status, body);
        assert!(error(setups::auth0(http, client()).unwrap()).await.is_misconfigured());
    }
    let (http, _) = played(401, r#"{"error": "access_denied", "error_description": "Unauth"}"#);
    let error = error(setups::auth0(http, client()).unwrap()).await;
    assert_eq!(error.code(), Some("access_denied"));
}

#[tokio::test]
async fn keycloak() {
    let (http, played_by) = played(
        200,
        r#"{"access_token": "t", "expires_in": 300, "refresh_expires_in": 0,
            "token_type": "Bearer", "not-before-policy": 0, "scope": "profile email"}"#,
    );
    assert_eq!(lifetime(setups::keycloak(http, client()).unwrap()).await, 300);
    assert_eq!(played_by.asked().header("authorization"), BASIC);
    let (http, _) = played(
        401,
        r#"{"error": "unauthorized_client",
            "error_description": "Invalid client or Invalid client credentials"}"#,
    );
    let error = error(setups::keycloak(http, client()).unwrap()).await;
    assert_eq!(error.code(), Some("unauthorized_client"));
    assert!(error.to_string().contains("Invalid client credentials"), "{error}");
}

#[tokio::test]
async fn entra_id_with_a_secret() {
    for (body, expected) in [
        (
            r#"{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599,
             "access_token": "t"}"#,
            3599,
        ),
        // The first version of the endpoint sends its numbers as strings.
        (
            r#"{"token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599",
             "expires_on": "1800003599", "not_before": "1800000000", "resource": "x",
             "access_token": "t"}"#,
            3599,
        ),
        // A token of 24 hours says when it should be renewed.
        (
            r#"{"token_type": "Bearer", "expires_in": 86399, "refresh_in": 43199,
             "access_token": "t"}"#,
            86399,
        ),
    ] {
        let (http, played_by) = played(200, body);
        assert_eq!(lifetime(setups::entra_secret(http, client()).unwrap()).await, expected);
        let asked = played_by.asked();
        assert_eq!(asked.form("scope").as_deref(), Some("https://graph.microsoft.com/.default"));
        assert_eq!(asked.form("client_secret").as_deref(), Some("my-client-secret"));
    }
    // All of what is wrong is in the description.
    let (http, _) = played(
        400,
        r#"{"error": "invalid_scope", "error_description": "AADSTS70011: The provided value",
            "error_codes": [70011], "trace_id": "1"}"#,
    );
    let error = error(setups::entra_secret(http, client()).unwrap()).await;
    assert!(error.is_misconfigured() && error.to_string().contains("AADSTS70011"), "{error}");
}

#[tokio::test]
async fn zoom() {
    let (http, played_by) = played(
        200,
        r#"{"access_token": "t", "token_type": "bearer", "expires_in": 3599,
            "scope": "user:read:admin", "api_url": "https://api.zoom.us"}"#,
    );
    let endpoint = setups::zoom(http, client()).unwrap();
    assert_eq!(endpoint.rotation(), tower_reauth::endpoint::Rotation::Exclusive);
    assert_eq!(lifetime(endpoint).await, 3599);
    let asked = played_by.asked();
    assert_eq!(asked.form("grant_type").as_deref(), Some("account_credentials"));
    assert_eq!(asked.form("account_id").as_deref(), Some("my-account-id"));
    let (http, _) = played(
        400,
        r#"{"reason": "Invalid client_id or client_secret",
        "error": "invalid_client"}"#,
    );
    assert!(error(setups::zoom(http, client()).unwrap()).await.is_rejected());
    let (http, _) = played(
        400,
        r#"{"reason": "unsupported grant type",
        "error": "unsupported_grant_type"}"#,
    );
    assert!(error(setups::zoom(http, client()).unwrap()).await.is_misconfigured());
}

#[tokio::test]
async fn xero() {
    let (http, played_by) = played(
        200,
        r#"{"access_token": "t", "expires_in": 1800, "token_type": "Bearer",
            "scope": "accounting.transactions"}"#,
    );
    assert_eq!(lifetime(setups::xero(http, client()).unwrap()).await, 1800);
    assert_eq!(played_by.asked().form("scope").as_deref(), Some("accounting.transactions"));
}

#[tokio::test]
async fn paypal() {
    for body in [
        r#"{"scope": "https://uri.paypal.com/services/invoicing", "access_token": "A21",
            "token_type": "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": 31668,
            "nonce": "2020-04-03T15:35:36ZaYZlGvEkV4yVSz8g6bAKFoGSEzuy3CQcz3ljhibkOHg"}"#,
        r#"{"access_token": "A21", "token_type": "Bearer", "expires_in": "31668"}"#,
    ] {
        let (http, _) = played(200, body);
        assert_eq!(lifetime(setups::paypal(http, client()).unwrap()).await, 31668);
    }
    let (http, _) = played(
        401,
        r#"{"error": "invalid_client", "error_description": "Client Authentication failed"}"#,
    );
    assert!(error(setups::paypal(http, client()).unwrap()).await.is_rejected());
}

#[tokio::test]
async fn shopify() {
    let (http, played_by) =
        played(200, r#"{"access_token": "shpat_1", "scope": "read_orders", "expires_in": 86399}"#);
    let auth = setups::shopify(http, client()).unwrap();
    let token = auth.cache().token().await.unwrap();
    assert_eq!(token.lifetime().as_secs(), 86399);
    assert_eq!(token.header_value(), "shpat_1", "no scheme");
    assert_eq!(at(&played_by), "POST https://acme.myshopify.com/admin/oauth/access_token");
    assert_eq!(token.get::<Granted>().unwrap().scope(), Some("read_orders"));
}
