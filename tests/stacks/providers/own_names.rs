//! Providers whose fields have names of their own.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tower_reauth::{Credentials, TokenCache, endpoint::TokenClient};

use super::{at, played, setups};

fn app() -> Credentials {
    Credentials::new("cli_1", "its-secret")
}

#[tokio::test]
async fn lark() {
    let (http, played_by) =
        played(200, r#"{"code": 0, "msg": "ok", "tenant_access_token": "t-g1", "expire": 7140}"#);
    let token = TokenCache::new(setups::lark(http, &app()).unwrap()).token().await.unwrap();
    assert_eq!((token.expose_secret(), token.lifetime().as_secs()), ("t-g1", 7140));
    let asked = played_by.asked().json();
    assert_eq!((&asked["app_id"], &asked["app_secret"]), (&json!("cli_1"), &json!("its-secret")));
    for status in [200, 400] {
        let (http, _) = played(status, r#"{"code": 10014, "msg": "app secret invalid"}"#);
        let cache = TokenCache::new(setups::lark(http, &app()).unwrap());
        let error = cache.token().await.unwrap_err();
        assert!(error.is_rejected() && error.code() == Some("10014"), "{error}");
    }
}

#[tokio::test]
async fn wechat() {
    let (http, played_by) = played(200, r#"{"access_token": "91_x", "expires_in": 7200}"#);
    let token = TokenCache::new(setups::wechat(http, &app()).unwrap()).token().await.unwrap();
    assert_eq!(token.lifetime().as_secs(), 7200);
    let expected = json!({
        "grant_type": "client_credential", "appid": "cli_1", "secret": "its-secret"
    });
    assert_eq!(played_by.asked().json(), expected);
    let (http, _) = played(200, r#"{"errcode": 40125, "errmsg": "invalid appsecret"}"#);
    let cache = TokenCache::new(setups::wechat(http, &app()).unwrap());
    let error = cache.token().await.unwrap_err();
    assert!(error.is_rejected() && error.code() == Some("40125"), "{error}");
}

#[tokio::test]
async fn dingtalk() {
    let (http, played_by) = played(200, r#"{"accessToken": "fw8e", "expireIn": 7200}"#);
    let auth = setups::dingtalk(http, &app()).unwrap();
    let token = auth.cache().token().await.unwrap();
    assert_eq!((token.lifetime().as_secs(), token.header_value().to_str().unwrap()), {
        (7200, "fw8e")
    });
    assert_eq!(played_by.asked().json()["appKey"], "cli_1");
    let (http, _) =
        played(400, r#"{"code": "invalidClientIdOrSecret", "requestid": "1", "message": "x"}"#);
    let cache = setups::dingtalk(http, &app()).unwrap().cache().clone();
    assert_eq!(cache.token().await.unwrap_err().code(), Some("invalidClientIdOrSecret"));
}

#[tokio::test]
async fn vault() {
    let (http, played_by) = played(
        200,
        r#"{"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0,
            "data": null, "auth": {"client_token": "hvs.1", "accessor": "a", "policies": ["x"],
            "lease_duration": 1200, "renewable": true}}"#,
    );
    let auth = setups::vault(http, &app()).unwrap();
    let token = auth.cache().token().await.unwrap();
    assert_eq!((token.lifetime().as_secs(), token.header_value().to_str().unwrap()), {
        (1200, "hvs.1")
    });
    assert_eq!(at(&played_by), "POST https://vault.acme.example/v1/auth/approle/login");
    assert_eq!(played_by.asked().json()["role_id"], "cli_1");
    let (http, _) = played(400, r#"{"errors": ["invalid role or secret ID"]}"#);
    let cache = setups::vault(http, &app()).unwrap().cache().clone();
    assert!(cache.token().await.unwrap_err().is_rejected());
}

#[tokio::test]
async fn azure_managed_identity() {
    // It was issued 50 minutes ago.
    let issued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 3000;
    let (http, played_by) = played(
        200,
        format!(
            r#"{{"access_token": "ey.a.b", "refresh_token": "", "expires_in": "3600",
                "expires_on": "{}", "not_before": "{issued}",
                "resource": "https://vault.azure.net", "token_type": "Bearer"}}"#,
            issued + 3600,
        ),
    );
    let client = TokenClient::new(http).allow_plain_http();
    let token = TokenCache::new(setups::Imds { client }).token().await.unwrap();
    assert!((590..=600).contains(&token.lifetime().as_secs()), "{:?}", token.lifetime());
    let asked = played_by.asked();
    assert_eq!((asked.method.as_str(), asked.header("metadata")), ("GET", "true"));
}
