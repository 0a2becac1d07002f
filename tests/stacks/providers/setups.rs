//! The code of docs/providers.md. A test checks that each block there is in this file.

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use tower_reauth::{
    AuthError, AuthLayer, ConfigError, Credentials, RefreshPolicy, TokenCache, TokenEndpoint,
    assertion::{self, Audience, SignedJwt, SigningKey},
    credentials::ClientId,
    endpoint::{
        HttpService, IssuedToken, OAuth2, Rotation, SelfSigned, TokenClient, TokenFile,
        oauth2::{ClientAuth, ResponseFields},
        parse_rfc3339,
    },
    refusal::{self, Statuses},
    replay::ReplayOnce,
};

pub(super) fn auth0(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    OAuth2::client_credentials("https://acme.eu.auth0.com/oauth/token", http, client)
        .audience("https://api.acme.example")
        .for_api("https://api.acme.example")
        .build()
}

pub(super) fn okta(
    http: impl HttpService,
    client_id: &str,
    key: SigningKey,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let jwt = SignedJwt::new(key).audience(Audience::TokenUri);
    let client = ClientId::new(client_id);
    OAuth2::client_credentials("https://acme.okta.com/oauth2/v1/token", http, client)
        .client_auth(ClientAuth::assertion(jwt))
        .scope("okta.users.read")
        .for_api("https://acme.okta.com")
        .build()
}

pub(super) fn keycloak(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let uri = "https://sso.acme.example/realms/acme/protocol/openid-connect/token";
    OAuth2::client_credentials(uri, http, client).for_api("https://api.acme.example").build()
}

pub(super) fn entra_secret(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let uri = "https://login.microsoftonline.com/my-tenant/oauth2/v2.0/token";
    OAuth2::client_credentials(uri, http, client)
        .client_auth(ClientAuth::Post)
        .scope("https://graph.microsoft.com/.default")
        .for_api("https://graph.microsoft.com")
        .build()
}

pub(super) fn entra_certificate(
    http: impl HttpService,
    client_id: &str,
    key_and_certificate: &str,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let key = SigningKey::ps256_pem(key_and_certificate)?;
    let uri = "https://login.microsoftonline.com/my-tenant/oauth2/v2.0/token";
    OAuth2::client_credentials(uri, http, ClientId::new(client_id))
        .client_auth(ClientAuth::assertion(SignedJwt::new(key)))
        .issuer("https://login.microsoftonline.com/my-tenant/v2.0")
        .scope("https://graph.microsoft.com/.default")
        .for_api("https://graph.microsoft.com")
        .build()
}

pub(super) fn entra_federated(
    http: impl HttpService,
    client_id: &str,
    token_file: &Path,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let uri = "https://login.microsoftonline.com/my-tenant/oauth2/v2.0/token";
    OAuth2::client_credentials(uri, http, ClientId::new(client_id))
        .client_auth(ClientAuth::assertion(assertion::file(token_file)))
        .scope("https://graph.microsoft.com/.default")
        .for_api("https://graph.microsoft.com")
        .build()
}

pub(super) struct Imds<S> {
    pub(super) client: TokenClient<S>,
}

#[derive(Deserialize)]
struct ImdsToken {
    access_token: String,
    expires_on: String,
}

impl<S: HttpService> TokenEndpoint for Imds<S> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let uri = "http://169.254.169.254/metadata/identity/oauth2/token\
                   ?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
        let request = Request::get(uri).header("metadata", "true").body(Full::default());
        let request = request.map_err(AuthError::permanent)?;
        let response = self.client.exchange(request, &[]).await?;
        if !response.status().is_success() {
            return Err(response.refusal());
        }
        let token: ImdsToken = response.json()?;
        let seconds = token.expires_on.parse().map_err(AuthError::invalid_response)?;
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Ok(IssuedToken::new(token.access_token).expires_at(end).server_date(response.date()))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }
}

pub(super) fn google(
    http: impl HttpService,
    email: &str,
    key: SigningKey,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let jwt = SignedJwt::new(key)
        .issuer(email)
        .without_subject()
        .audience(Audience::TokenUri)
        .claim("scope", "https://www.googleapis.com/auth/devstorage.read_only");
    OAuth2::jwt_bearer("https://oauth2.googleapis.com/token", http, jwt)
        .for_api("https://storage.googleapis.com")
        .build()
}

pub(super) fn github_app(client_id: &str, key: SigningKey) -> Result<AuthLayer, ConfigError> {
    let token = SelfSigned::new(key).claim("iss", client_id).skew(Duration::from_secs(60));
    AuthLayer::new(TokenCache::new(token)).allow_origin("https://api.github.com")
}

pub(super) struct Installation<S> {
    /// A client whose requests the layer of the app signs.
    pub(super) as_app: TokenClient<S>,
    pub(super) uri: Uri,
}

#[derive(Deserialize)]
struct InstallationToken {
    token: String,
    expires_at: String,
}

impl<S: HttpService> TokenEndpoint for Installation<S> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let request = Request::post(&self.uri).header("accept", "application/vnd.github+json");
        let request = request.body(Full::default()).map_err(AuthError::permanent)?;
        let response = self.as_app.exchange(request, &[]).await?;
        if !response.status().is_success() {
            return Err(response.refusal());
        }
        let token: InstallationToken = response.json()?;
        let end = parse_rfc3339(&token.expires_at);
        Ok(IssuedToken::new(token.token).expires_at(end).server_date(response.date()))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Overlapping
    }

    fn uri(&self) -> Option<&Uri> {
        Some(&self.uri)
    }
}

pub(super) fn zoom(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    OAuth2::grant("https://zoom.us/oauth/token", http, "account_credentials", client)
        .param("account_id", "my-account-id")
        .rotation(Rotation::Exclusive)
        .for_api("https://api.zoom.us")
        .build()
}

pub(super) fn salesforce(
    http: impl HttpService,
    client_id: &str,
    user: &str,
    key: SigningKey,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let jwt = SignedJwt::new(key)
        .issuer(client_id)
        .subject(user)
        .audience(Audience::Other("https://login.salesforce.com".into()));
    OAuth2::jwt_bearer("https://login.salesforce.com/services/oauth2/token", http, jwt)
        .assumed_lifetime(Duration::from_secs(2 * 3600))
        .for_api("https://acme.my.salesforce.com")
        .build()
}

pub(super) fn xero(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    OAuth2::client_credentials("https://identity.xero.com/connect/token", http, client)
        .scope("accounting.transactions")
        .for_api("https://api.xero.com")
        .build()
}

pub(super) fn paypal(
    http: impl HttpService,
    client: Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    OAuth2::client_credentials("https://api-m.paypal.com/v1/oauth2/token", http, client)
        .for_api("https://api-m.paypal.com")
        .build()
}

pub(super) fn shopify(
    http: impl HttpService,
    client: Credentials,
) -> Result<AuthLayer, ConfigError> {
    let uri = "https://acme.myshopify.com/admin/oauth/access_token";
    let endpoint = OAuth2::client_credentials(uri, http, client)
        .client_auth(ClientAuth::Post)
        .for_api("https://acme.myshopify.com")
        .build()?;
    let auth = AuthLayer::new(TokenCache::builder(endpoint).scheme("").build()?);
    Ok(auth.header_name(HeaderName::from_static("x-shopify-access-token")))
}

pub(super) fn lark(
    http: impl HttpService,
    app: &Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let uri = "https://open.larksuite.com/open-apis/auth/v3/tenant_access_token/internal";
    let fields = ResponseFields::default()
        .access_token("/tenant_access_token")
        .expires_in("/expire")
        .success_code("/code", 0);
    OAuth2::client_credentials(uri, http, app.clone())
        .client_auth(ClientAuth::None)
        .param("app_id", app.client_id())
        .param("app_secret", app.expose_secret())
        .json_request()
        .fields(fields)
        .for_api("https://open.larksuite.com")
        .build()
}

pub(super) fn wechat(
    http: impl HttpService,
    app: &Credentials,
) -> Result<OAuth2<impl HttpService>, ConfigError> {
    let uri = "https://api.weixin.qq.com/cgi-bin/stable_token";
    OAuth2::grant(uri, http, "client_credential", app.clone())
        .client_auth(ClientAuth::None)
        .param("appid", app.client_id())
        .param("secret", app.expose_secret())
        .json_request()
        .fields(ResponseFields::default().success_code("/errcode", 0).transient_codes([-1]))
        .build()
}

pub(super) fn dingtalk(
    http: impl HttpService,
    app: &Credentials,
) -> Result<AuthLayer, ConfigError> {
    let uri = "https://api.dingtalk.com/v1.0/oauth2/accessToken";
    let fields = ResponseFields::default()
        .access_token("/accessToken")
        .expires_in("/expireIn")
        .error("/code");
    let endpoint = OAuth2::client_credentials(uri, http, app.clone())
        .client_auth(ClientAuth::None)
        .param("appKey", app.client_id())
        .param("appSecret", app.expose_secret())
        .json_request()
        .fields(fields)
        .for_api("https://api.dingtalk.com")
        .build()?;
    let auth = AuthLayer::new(TokenCache::builder(endpoint).scheme("").build()?);
    Ok(auth.header_name(HeaderName::from_static("x-acs-dingtalk-access-token")))
}

pub(super) fn vault(
    http: impl HttpService,
    role: &Credentials,
) -> Result<AuthLayer<ReplayOnce, Statuses<1>>, ConfigError> {
    let fields = ResponseFields::default()
        .access_token("/auth/client_token")
        .expires_in("/auth/lease_duration");
    let uri = "https://vault.acme.example/v1/auth/approle/login";
    let endpoint = OAuth2::client_credentials(uri, http, role.clone())
        .client_auth(ClientAuth::None)
        .param("role_id", role.client_id())
        .param("secret_id", role.expose_secret())
        .json_request()
        .fields(fields)
        .for_api("https://vault.acme.example")
        .build()?;
    let auth = AuthLayer::new(TokenCache::builder(endpoint).scheme("").build()?);
    let auth = auth.header_name(HeaderName::from_static("x-vault-token"));
    Ok(auth.refusals(refusal::statuses([403])?))
}

pub(super) fn kubernetes(token_file: &Path) -> Result<AuthLayer, ConfigError> {
    AuthLayer::new(TokenCache::new(TokenFile::new(token_file)))
        .allow_origin("https://kubernetes.default.svc")
}

pub(super) fn apns(
    team_id: &str,
    key: SigningKey,
) -> Result<AuthLayer<ReplayOnce, Statuses<1>>, ConfigError> {
    let token = SelfSigned::new(key)
        .claim("iss", team_id)
        .lifetime(Duration::from_secs(50 * 60))
        .without_exp();
    let policy = RefreshPolicy::default().cooldown_base(Duration::from_secs(20 * 60));
    let policy = policy.cooldown_cap(Duration::from_secs(60 * 60));
    let cache = TokenCache::builder(token).refresh_policy(policy).build()?;
    let auth = AuthLayer::new(cache).allow_origin("https://api.push.apple.com")?;
    Ok(auth.refusals(refusal::statuses([403])?))
}

pub(super) fn app_store_connect(
    issuer_id: &str,
    key: SigningKey,
) -> Result<AuthLayer, ConfigError> {
    let token = SelfSigned::new(key)
        .claim("iss", issuer_id)
        .claim("aud", "appstoreconnect-v1")
        .lifetime(Duration::from_secs(20 * 60));
    AuthLayer::new(TokenCache::new(token)).allow_origin("https://api.appstoreconnect.apple.com")
}

pub(super) fn snowflake(
    account_and_user: &str,
    fingerprint: &str,
    key: SigningKey,
) -> Result<AuthLayer, ConfigError> {
    let token = SelfSigned::new(key)
        .claim("iss", format!("{account_and_user}.{fingerprint}"))
        .claim("sub", account_and_user)
        .lifetime(Duration::from_secs(3600));
    AuthLayer::new(TokenCache::new(token)).allow_origin("https://acme.snowflakecomputing.com")
}

/// Tells Snowflake what kind the token is of. Of each request, by a layer of yours.
pub(super) fn snowflake_header() -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_static("x-snowflake-authorization-token-type");
    (name, HeaderValue::from_static("KEYPAIR_JWT"))
}
