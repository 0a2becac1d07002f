//! [`OAuth2Builder`]: the settings of an OAuth 2 endpoint.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use secrecy::SecretString;

use super::{
    super::{client::TokenClient, http_service::HttpService, token_endpoint::Rotation},
    address::{Address, TokenAddress},
    client_auth::ClientAuth,
    endpoint::OAuth2,
    fields::ResponseFields,
    refresh_token::{Kept, RefreshTokens},
    request::{Supplied, parameters},
    settings::{Grant, Settings},
};
use crate::{
    assertion::{AssertionSource, BoxAssertionSource},
    credentials::{BoxCredentialsSource, Credentials, CredentialsSource},
    error::ConfigError,
    origin::{self, ApiOrigins},
};

/// The lifetime of a token of which nothing tells how long it lives.
const ASSUMED: Duration = Duration::from_secs(3600);

impl<S: HttpService> OAuth2<S> {
    /// Starts the grant `client_credentials` (RFC 6749, section 4.4): the client asks for a token
    /// of its own. It says who it is with [`ClientAuth::Basic`], unless
    /// [`client_auth`](OAuth2Builder::client_auth) says otherwise.
    pub fn client_credentials(
        address: impl Into<TokenAddress>,
        service: S,
        credentials: impl CredentialsSource,
    ) -> OAuth2Builder<S> {
        Self::grant(address, service, "client_credentials", credentials)
    }

    /// Starts any other grant by its name, such as `account_credentials` of Zoom. What else it
    /// sends is a [`param`](OAuth2Builder::param).
    ///
    /// # Examples
    ///
    /// A server-to-server app of Zoom, whose new token kills the one before it:
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_reauth::{Credentials, client, endpoint::{OAuth2, Rotation}};
    ///
    /// let credentials = Credentials::new("my-client-id", "my-client-secret");
    /// let (uri, grant) = ("https://zoom.us/oauth/token", "account_credentials");
    /// let endpoint = OAuth2::grant(uri, client::https()?, grant, credentials)
    ///     .param("account_id", "my-account-id")
    ///     .rotation(Rotation::Exclusive)
    ///     .for_api("https://api.zoom.us")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn grant(
        address: impl Into<TokenAddress>,
        service: S,
        grant_type: impl Into<String>,
        credentials: impl CredentialsSource,
    ) -> OAuth2Builder<S> {
        let grant = Grant::Named(grant_type.into().into());
        let builder = OAuth2Builder::new(address.into(), service, grant);
        builder.client(credentials)
    }

    /// Starts the grant `urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523, section 2.1): the
    /// assertion says whose token it is. The client does not say who it is, unless
    /// [`credentials`](OAuth2Builder::credentials) and
    /// [`client_auth`](OAuth2Builder::client_auth) are given.
    pub fn jwt_bearer(
        address: impl Into<TokenAddress>,
        service: S,
        assertion: impl AssertionSource,
    ) -> OAuth2Builder<S> {
        let grant = Grant::JwtBearer(BoxAssertionSource::new(assertion));
        OAuth2Builder::new(address.into(), service, grant)
    }

    /// Starts the grant `refresh_token` (RFC 6749, section 6), for an integration that a person has
    /// once allowed. `tokens` keeps the newest refresh token, before its access token is used.
    ///
    /// Processes that share the access token need a [name](OAuth2Builder::subject) for whose token
    /// it is, and `tokens` that they [share](RefreshTokens::is_shared) too.
    pub fn refresh_token(
        address: impl Into<TokenAddress>,
        service: S,
        credentials: impl CredentialsSource,
        tokens: impl RefreshTokens,
    ) -> OAuth2Builder<S> {
        let grant = Grant::RefreshToken(Kept::new(tokens));
        let builder = OAuth2Builder::new(address.into(), service, grant);
        builder.client(credentials)
    }

    /// Starts the grant `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): a token of
    /// `subject_token_type`, such as `urn:ietf:params:oauth:token-type:jwt`, is exchanged for
    /// another. The client does not say who it is, unless
    /// [`credentials`](OAuth2Builder::credentials) and
    /// [`client_auth`](OAuth2Builder::client_auth) are given.
    pub fn token_exchange(
        address: impl Into<TokenAddress>,
        service: S,
        subject_token: impl AssertionSource,
        subject_token_type: impl Into<String>,
    ) -> OAuth2Builder<S> {
        let subject = BoxAssertionSource::new(subject_token);
        let token_type = subject_token_type.into().into();
        let grant = Grant::TokenExchange { subject, token_type };
        OAuth2Builder::new(address.into(), service, grant)
    }
}

/// Builds an [`OAuth2`]. Each of the grants of `OAuth2` returns one.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_reauth::{
///     Credentials, client,
///     endpoint::{OAuth2, oauth2::ClientAuth},
/// };
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let token_uri = "https://login.example.com/oauth/token";
/// let endpoint = OAuth2::client_credentials(token_uri, client::https()?, credentials)
///     .client_auth(ClientAuth::Post)
///     .scope("orders.read")
///     .resource("https://api.example.com/orders")
///     .for_api("https://api.example.com")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder makes nothing until `build`"]
pub struct OAuth2Builder<S> {
    address: TokenAddress,
    service: S,
    credentials: Option<BoxCredentialsSource>,
    allow_plain_http: bool,
    apis: Vec<String>,
    /// Its URI and origins are those of `build`.
    settings: Settings,
}

impl<S> OAuth2Builder<S> {
    fn new(address: TokenAddress, service: S, grant: Grant) -> Self {
        Self {
            address,
            service,
            credentials: None,
            allow_plain_http: false,
            apis: Vec::new(),
            settings: Settings {
                address: Address::Fixed(Uri::default()),
                grant,
                client_auth: ClientAuth::None,
                is_auth_open: false,
                scope: Vec::new(),
                require_scope: false,
                resources: Vec::new(),
                audiences: Vec::new(),
                params: Vec::new(),
                headers: HeaderMap::new(),
                json: false,
                fields: ResponseFields::default(),
                issuer: None,
                subject: None,
                assumed_lifetime: ASSUMED,
                rotation: Rotation::Overlapping,
                origins: ApiOrigins::none(),
            },
        }
    }

    /// Sets credentials, and leaves open how the client authenticates with them. It is by
    /// [`ClientAuth::Basic`], unless a later call or the metadata of an issuer says otherwise.
    fn client(self, credentials: impl CredentialsSource) -> Self {
        let mut builder = self.credentials(credentials).client_auth(ClientAuth::Basic);
        builder.settings.is_auth_open = true;
        builder
    }

    /// Sets the source of client id and secret, for a grant that was not given one.
    pub fn credentials(mut self, credentials: impl CredentialsSource) -> Self {
        self.credentials = Some(BoxCredentialsSource::new(credentials));
        self
    }

    /// Sets how the client says who it is. Defaults to [`ClientAuth::Basic`] for a grant that was
    /// given credentials, or what the metadata of an [`Issuer`](super::Issuer) says. Else it
    /// defaults to [`ClientAuth::None`].
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        (self.settings.client_auth, self.settings.is_auth_open) = (auth, false);
        self
    }

    /// Adds scopes, separated by spaces (RFC 6749, section 3.3). They are sent sorted and without
    /// doubles. Defaults to none.
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        let scopes = &mut self.settings.scope;
        scopes.extend(scope.as_ref().split_whitespace().map(str::to_owned));
        scopes.sort_unstable();
        scopes.dedup();
        self
    }

    /// Fails the refresh if the `scope` of the response lacks one that was asked for. Defaults to
    /// not checking.
    ///
    /// A response without `scope` grants what was asked for, by RFC 6749, section 5.1. Some servers
    /// drop a scope that they do not know and say nothing, which no client can see.
    pub fn require_scope(mut self) -> Self {
        self.settings.require_scope = true;
        self
    }

    /// Adds a resource for which the token is to be good (RFC 8707, section 2). Defaults to none.
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.settings.resources.push(uri.into());
        self
    }

    /// Adds an `audience`, as Auth0, Ory and Kinde want it, and RFC 8693 has it. Defaults to none.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.settings.audiences.push(audience.into());
        self
    }

    /// Adds another parameter. They are sent in the order in which they are added, and never shown
    /// in an error. Defaults to none.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.settings.params.push((name.into(), value.into()));
        self
    }

    /// Sets another header of the request for a token. All but `Accept` and `User-Agent` are marked
    /// [sensitive](HeaderValue::is_sensitive) and never shown in an error. Defaults to none.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(name != header::ACCEPT && name != header::USER_AGENT);
        self.settings.headers.insert(name, value);
        self
    }

    /// Sets the identifier of the authorization server (RFC 8414, section 2), which is the audience
    /// of assertions. Defaults to unknown.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.settings.issuer = Some(issuer.into());
        self
    }

    /// Names the subject of the assertion or the refresh token that is the grant, such as a user's
    /// id. Processes with another subject do not share a token. Without a name such a grant has no
    /// [identity](crate::TokenEndpoint::identity). Defaults to none.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.settings.subject = Some(subject.into());
        self
    }

    /// Sets the lifetime of a token of which the response does not tell it, and that is no JWT.
    /// Defaults to one hour.
    pub fn assumed_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.assumed_lifetime = lifetime;
        self
    }

    /// Sets the effect of a new token on the one in use. Defaults to [`Rotation::Overlapping`].
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.settings.rotation = rotation;
        self
    }

    /// Adds the URL of an API that the tokens are for. Its origin may see them. A path is ignored.
    ///
    /// Defaults to none, so that every request is refused until
    /// [`AuthLayer::allow_origin`](crate::AuthLayer::allow_origin) names one. The authorization
    /// server's own origin is not among them.
    pub fn for_api(mut self, url: impl Into<String>) -> Self {
        self.apis.push(url.into());
        self
    }

    /// Sends the parameters as a JSON object instead of a form. Defaults to a form, which RFC 6749
    /// wants.
    pub fn json_request(mut self) -> Self {
        self.settings.json = true;
        self
    }

    /// Sets where a response has its fields. Defaults to RFC 6749, section 5.1.
    pub fn fields(mut self, fields: ResponseFields) -> Self {
        self.settings.fields = fields;
        self
    }

    /// Allows plain http beyond this machine for the token endpoint, where everybody on the way can
    /// read the secret and the token. The metadata of an https [`Issuer`](super::Issuer) may then
    /// name a token endpoint over plain http too. Defaults to refusing it.
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }
}

impl<S: HttpService> OAuth2Builder<S> {
    /// Builds the endpoint. It makes no request.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::InvalidUrl`] if the token URI or the URL of an API is no absolute http or
    ///   https URL.
    /// - [`ConfigError::PlainHttp`] if one of them is plain http beyond this machine, unless it is
    ///   the token URI and that was [allowed](Self::allow_plain_http).
    /// - [`ConfigError::InvalidSetting`] for a parameter that the grant sends itself or that was
    ///   given twice, for an assertion whose audience is the [issuer](Self::issuer) if none is
    ///   given, for a client authentication without [credentials](Self::credentials), for a header
    ///   that the request has itself, and for a JSON pointer that is none.
    pub fn build(mut self) -> Result<OAuth2<S>, ConfigError> {
        let has_certificate = matches!(self.settings.client_auth, ClientAuth::Tls);
        self.settings.address = self.address.checked(has_certificate)?;
        let mut client = TokenClient::new(self.service);
        if self.allow_plain_http {
            client = client.allow_plain_http();
        } else {
            let first = self.settings.address.first();
            origin::check_transport(first, "OAuth2Builder::allow_plain_http")?;
        }
        let none = ApiOrigins::none();
        self.settings.origins = self.apis.iter().try_fold(none, ApiOrigins::and)?;
        check(&self.settings, self.credentials.is_some())?;
        Ok(OAuth2::new(client, self.credentials, self.settings))
    }
}

fn check(settings: &Settings, has_credentials: bool) -> Result<(), ConfigError> {
    let invalid = |setting: String, reason| Err(ConfigError::InvalidSetting { setting, reason });
    settings.fields.check()?;
    if settings.grant.name().is_empty() {
        return invalid("the grant type".into(), "it is empty; give its name");
    }
    if let Some(name) = doubled(settings) {
        let reason = "it is in the request already; leave it out, or use the method of that name";
        return invalid(format!("the parameter {name:?}"), reason);
    }
    if settings.client_auth.needs_client_id() && !has_credentials {
        let reason = "there are no credentials; give some with OAuth2Builder::credentials";
        return invalid("the client authentication".into(), reason);
    }
    let has_issuer = settings.issuer.is_some() || settings.address.discovery().is_some();
    if !has_issuer && settings.sources().any(AssertionSource::needs_issuer) {
        let reason = "its audience is the issuer, which is not known; give it with \
                      OAuth2Builder::issuer, or the assertion another audience";
        return invalid("the assertion".into(), reason);
    }
    let is_basic = matches!(settings.client_auth, ClientAuth::Basic | ClientAuth::BasicUnencoded);
    for name in settings.headers.keys() {
        let is_own = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::HOST].contains(name);
        if is_own || is_basic && *name == header::AUTHORIZATION {
            let reason = "the request sets it itself; leave it out";
            return invalid(format!("the header {name:?}"), reason);
        }
    }
    Ok(())
}

/// Returns the name of a parameter that would be in the request twice (RFC 6749, section 3.2).
/// Resource and audience may be.
fn doubled(settings: &Settings) -> Option<String> {
    let credentials = Credentials::new("", String::new());
    let supplied = Supplied { credentials: &credentials, client_assertion: None, grant: None };
    let scope = settings.scope.join(" ");
    let parameters = parameters(settings, &settings.client_auth, supplied, &scope);
    let given = |name: &str| settings.params.iter().filter(|it| it.0 == name).count();
    let sent = |name: &str| parameters.iter().filter(|it| it.0 == name).count();
    let mut names = settings.params.iter().map(|it| it.0.as_str());
    names.find(|name| given(name) > 1 || sent(name) > given(name)).map(str::to_owned)
}

impl<S> fmt::Debug for OAuth2Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2Builder")
            .field("address", &self.address)
            .field("grant", &self.settings.grant)
            .field("scope", &self.settings.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
