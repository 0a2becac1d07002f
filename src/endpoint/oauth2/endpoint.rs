//! [`OAuth2`]: OAuth 2's token endpoint for machines.

use std::{fmt, time::SystemTime};

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::{
    super::{
        client::TokenClient,
        http_service::HttpService,
        response::TokenResponse,
        token_endpoint::{Rotation, TokenEndpoint},
    },
    address::Address,
    discovery::Discovery,
    refresh_token::Kept,
    refusal,
    request::{self, Supplied},
    response::{self, NoToken, TokenFields},
    server_clock::ServerClock,
    settings::{Settings, Target},
};
use crate::{
    assertion::{AssertionAsk, AssertionSource, BoxAssertionSource},
    credentials::{self, BoxCredentialsSource, Credentials, Watched},
    error::{AuthError, Kind, shown},
    origin::ApiOrigins,
    token::{Identity, IssuedToken},
};

/// OAuth 2's token endpoint for machines (RFC 6749, section 4.4, and its relatives).
///
/// The [module](super) tells what is sent, how a response is read, and what a refusal
/// means. Each constructor is one grant and returns an
/// [`OAuth2Builder`](super::OAuth2Builder) with the other settings.
///
/// - The tokens are [overlapping](Rotation::Overlapping), unless
///   [said otherwise](super::OAuth2Builder::rotation).
/// - The authorization server does not see the tokens, only the API that was
///   [named](super::OAuth2Builder::for_api).
/// - Processes share a token only if client id, grant, scope, resource, audience, parameters,
///   headers and subject are the same. Secrets and the keys of assertions may differ, because the
///   token is the client's.
/// - A refused secret holds back only the processes that have the same secret. A refused assertion
///   holds back all that share the token until back-off is over, because a source does not tell
///   which key it signs with.
/// - A call makes one request. If the server refuses an assertion that was dated by a clock more
///   than 30 seconds off the server's, or whose key has changed since, it makes one more, with a
///   new assertion that is dated by the other clock.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_reauth::{AuthLayer, client, credentials::EnvCredentials, endpoint::OAuth2};
///
/// let credentials = EnvCredentials::new("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET");
/// let token_uri = "https://login.example.com/oauth/token";
/// let endpoint = OAuth2::client_credentials(token_uri, client::https()?, credentials)
///     .scope("orders.read orders.write")
///     .for_api("https://api.example.com")
///     .build()?;
/// let auth = AuthLayer::oauth2(endpoint);
/// # Ok(())
/// # }
/// ```
pub struct OAuth2<S> {
    client: TokenClient<S>,
    /// `None` for a grant that needs no client.
    credentials: Option<Watched<BoxCredentialsSource>>,
    settings: Settings,
    clock: ServerClock,
}

/// The values that the sources supplied for one request, and when.
struct Supplies {
    credentials: Credentials,
    client_assertion: Option<SecretString>,
    grant: Option<SecretString>,
    /// The date of the assertions. `None` if there are none.
    dated: Option<SystemTime>,
}

impl<S: HttpService> OAuth2<S> {
    pub(super) fn new(
        client: TokenClient<S>,
        credentials: Option<BoxCredentialsSource>,
        settings: Settings,
    ) -> Self {
        let credentials = credentials.map(Watched::new);
        Self { client, credentials, settings, clock: ServerClock::default() }
    }

    /// Makes one attempt, with one request. Returns with an error what was sent, if anything was.
    async fn attempt(&self) -> Result<IssuedToken, (AuthError, Option<Supplies>)> {
        let target = self.target().await.map_err(|error| (error, None))?;
        let supplies = self.supplies(&target).await;
        let supplies = supplies.inspect_err(|_| self.failed()).map_err(|error| (error, None))?;
        match self.send(&target, &supplies).await {
            Ok(token) => {
                Ok(token.issued_to(self.settings.identity(supplies.credentials.client_id())))
            }
            Err(error) => Err((error, Some(supplies))),
        }
    }

    /// Returns where the request goes. The metadata of an issuer may have to be fetched for that.
    async fn target(&self) -> Result<Target, AuthError> {
        let settings = &self.settings;
        let discovery = match &settings.address {
            Address::Fixed(uri) => return Ok(Target { uri: uri.clone(), wants_post: false }),
            Address::Discovered(discovery) => discovery,
        };
        let metadata = discovery.metadata(&self.client).await?;
        Ok(Target {
            uri: metadata.token_endpoint.clone(),
            wants_post: settings.is_auth_open && metadata.wants_post,
        })
    }

    /// Asks the sources.
    async fn supplies(&self, target: &Target) -> Result<Supplies, AuthError> {
        let credentials = self.credentials().await?;
        if self.settings.client_auth.needs_secret() {
            credentials.check()?;
        } else if self.settings.client_auth.needs_client_id() {
            credentials.check_client_id()?;
        }
        let now = self.clock.now();
        let mut ask = AssertionAsk::new(credentials.client_id(), &target.uri, now);
        let issuer = self.settings.address.discovery().map(Discovery::issuer);
        ask.issuer = self.settings.issuer.as_deref().or(issuer);
        let (mut client_assertion, mut grant) = (None, None);
        if let Some(source) = self.settings.client_auth.source() {
            client_assertion = Some(assertion(source, &ask).await?);
        }
        if let Some(source) = self.settings.grant.source() {
            grant = Some(assertion(source, &ask).await?);
        }
        if let Some(kept) = self.settings.grant.refresh_token() {
            grant = Some(kept.newest().await?);
        }
        let is_asked = self.settings.sources().next().is_some();
        let dated = is_asked.then_some(now);
        Ok(Supplies { credentials, client_assertion, grant, dated })
    }

    /// Returns the credentials as they are now, or none at all if the grant needs no client.
    async fn credentials(&self) -> Result<Credentials, AuthError> {
        match &self.credentials {
            Some(credentials) => credentials.ask().await,
            None => Ok(Credentials::new("", String::new())),
        }
    }

    /// Sends the request and reads its response.
    async fn send(&self, target: &Target, supplies: &Supplies) -> Result<IssuedToken, AuthError> {
        let values = Supplied {
            credentials: &supplies.credentials,
            client_assertion: supplies.client_assertion.as_ref().map(ExposeSecret::expose_secret),
            grant: supplies.grant.as_ref().map(ExposeSecret::expose_secret),
        };
        let request = request::request(&self.settings, target, values);
        let request = request.inspect_err(|_| self.failed())?;
        if let Some(credentials) = &self.credentials {
            credentials.sending(&supplies.credentials);
        }
        let discovery = self.settings.address.discovery();
        let response = self.client.exchange(request, &self.secrets(values)).await;
        let response = response.inspect_err(|error| {
            if error.is_permanent() || error.kind() == Kind::Unresolved {
                discovery.into_iter().for_each(Discovery::doubt);
            }
        })?;
        response.date().into_iter().for_each(|date| self.clock.note(date));
        if matches!(response.status().as_u16(), 404 | 405 | 410) {
            discovery.into_iter().for_each(Discovery::doubt);
        }
        self.keep_refresh_token(&response, values.grant).await?;
        self.token(target, &response)
    }

    /// Keeps the refresh token that a response brings. It comes before all else that is read of the
    /// response, because the one that was sent may be dead, even if the access token is of no use.
    async fn keep_refresh_token(
        &self,
        response: &TokenResponse,
        sent: Option<&str>,
    ) -> Result<(), AuthError> {
        let Some(kept) = self.settings.grant.refresh_token() else { return Ok(()) };
        let body = response.value().ok().filter(|_| response.status().is_success());
        let brought = body.and_then(|it| response::refresh_token(&it.0, &self.settings.fields));
        match (brought, sent) {
            (Some(new), Some(sent)) if new.expose_secret() != sent => {
                kept.keep(new, sent.into()).await
            }
            _ => Ok(()),
        }
    }

    /// Returns everything that no error may show.
    fn secrets<'a>(&'a self, values: Supplied<'a>) -> Vec<&'a str> {
        let assertions = [values.client_assertion, values.grant].into_iter().flatten();
        let params = self.settings.params.iter().map(|(_, value)| value.expose_secret());
        let headers = self.settings.headers.values().filter(|value| value.is_sensitive());
        [values.credentials.expose_secret()]
            .into_iter()
            .chain(assertions)
            .chain(params)
            .chain(headers.filter_map(|value| value.to_str().ok()))
            .collect()
    }

    /// Returns the token of a response.
    fn token(&self, target: &Target, response: &TokenResponse) -> Result<IssuedToken, AuthError> {
        let advise = |kind: Kind, code: Option<&str>| {
            refusal::advice(&self.settings.grant, self.settings.auth(target), kind, code)
        };
        if !response.status().is_success() {
            return Err(response.refused(self.code(response), advise));
        }
        let body = response.value()?;
        let fields = match response::read(&body.0, &self.settings.fields) {
            Ok(fields) => fields,
            Err(NoToken::Refused { code }) => {
                return Err(response.refused(Some((code, None)), advise));
            }
            Err(NoToken::RefusedByOwn { code, is_transient }) => {
                let kind = if is_transient { Kind::Transient } else { Kind::Rejected };
                return Err(response.refused(Some((code, Some(kind))), advise));
            }
            Err(NoToken::Found(found)) => {
                return Err(response.unusable(Kind::InvalidResponse, found));
            }
        };
        self.settings.check_scope(&fields.granted, response)?;
        let TokenFields { secret, expires_in, expires_at, renew_in, granted } = fields;
        let mut token = IssuedToken::new(secret)
            .expires_at(expires_at)
            .server_date(response.date())
            .assumed_lifetime(self.settings.assumed_lifetime)
            .with(granted);
        if let Some(lifetime) = expires_in {
            token = token.expires_in(lifetime);
        }
        if let Some(after) = renew_in {
            token = token.renew_in(after);
        }
        Ok(token)
    }

    /// Returns the error code of a response that is no success, and the kind of error that it means
    /// if that is known.
    fn code(&self, response: &TokenResponse) -> Option<(String, Option<Kind>)> {
        if response.status().is_redirection() {
            return None;
        }
        let (body, fields) = (response.value().ok()?, &self.settings.fields);
        if let Some(own) = fields.own_code(&body.0) {
            return Some((own.code, own.is_transient.then_some(Kind::Transient)));
        }
        fields.code(&body.0).map(|code| (code.to_owned(), None))
    }

    /// Returns whether a new assertion may be accepted after this refusal.
    async fn is_worth_another(&self, error: &AuthError, sent: &Supplies) -> bool {
        let refused = matches!(error.code(), Some("invalid_client" | "invalid_grant"));
        // Another process may have had the refresh token replaced.
        refused
            && (sent.dated.is_some_and(|dated| self.clock.refused(dated))
                || self.is_source_changed().await)
    }

    async fn is_source_changed(&self) -> bool {
        if let Some(kept) = self.settings.grant.refresh_token()
            && kept.is_changed().await
        {
            return true;
        }
        for source in self.settings.sources() {
            if source.changed().await {
                return true;
            }
        }
        false
    }

    /// Notes that a source failed.
    fn failed(&self) {
        self.credentials.iter().for_each(Watched::failed);
    }
}

async fn assertion(
    source: &BoxAssertionSource,
    ask: &AssertionAsk<'_>,
) -> Result<SecretString, AuthError> {
    let assertion = credentials::within(source.assertion(ask)).await?;
    if assertion.expose_secret().is_empty() {
        let text = "the assertion is empty; check where it comes from";
        return Err(AuthError::new(Kind::Credentials, text));
    }
    Ok(assertion)
}

impl<S: HttpService> TokenEndpoint for OAuth2<S> {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        match self.attempt().await {
            Err((error, Some(sent))) if self.is_worth_another(&error, &sent).await => {
                self.attempt().await.map_err(|(error, _)| error)
            }
            first => first.map_err(|(error, _)| error),
        }
    }

    fn rotation(&self) -> Rotation {
        self.settings.rotation
    }

    fn uri(&self) -> Option<&Uri> {
        self.settings.address.fixed()
    }

    fn is_shareable(&self) -> bool {
        self.settings.grant.refresh_token().is_none_or(Kept::is_shared)
    }

    fn api_origins(&self) -> ApiOrigins {
        self.settings.origins.clone()
    }

    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        let grant = &self.settings.grant;
        let is_of_subject = grant.source().is_some() || grant.refresh_token().is_some();
        // An assertion or a refresh token does not show here whose token it brings.
        if is_of_subject && self.settings.subject.is_none() {
            return Ok(None);
        }
        let credentials = self.credentials().await?;
        let identity = self.settings.identity(credentials.client_id());
        let is_sent = self.settings.client_auth.needs_secret();
        Ok(Some(if is_sent { identity.with_secret(credentials.expose_secret()) } else { identity }))
    }

    async fn credentials_changed(&self) -> bool {
        let changed = match &self.credentials {
            Some(credentials) => credentials.changed().await,
            None => None,
        };
        let auth = &self.settings.client_auth;
        let is_sendable = |credentials: Credentials| {
            if auth.needs_secret() {
                credentials.check().is_ok()
            } else {
                credentials.check_client_id().is_ok()
            }
        };
        changed.is_some_and(is_sendable) || self.is_source_changed().await
    }
}

impl<S> fmt::Debug for OAuth2<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2")
            .field("uri", &shown(self.settings.address.first()))
            .field("grant", &self.settings.grant)
            .field("scope", &self.settings.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
