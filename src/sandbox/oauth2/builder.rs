//! [`OAuth2ServerBuilder`]: the settings of a server, and its start.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    client::{OAuth2Client, read_keys},
    handle::OAuth2Server,
    issuance::Issuance,
    router,
    state::{Settings, State},
};
use crate::{
    error::BoxError,
    sandbox::{
        clock::{Clock, Offset},
        server::Running,
    },
};

// In this file, because the builder imports `OAuth2Server` and the import must not run both ways.
impl OAuth2Server {
    /// Returns a builder with the defaults that its setters state.
    pub fn builder() -> OAuth2ServerBuilder {
        OAuth2ServerBuilder::new()
    }
}

/// Builds an [`OAuth2Server`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tower_reauth::sandbox::{Issuance, OAuth2Client, OAuth2Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// // A server in the manner of Zoom.
/// let server = OAuth2Server::builder()
///     .client(OAuth2Client::with_secret("zoom-client", "its-secret"))
///     .grant("account_credentials")
///     .issuance(Issuance::Exclusive)
///     .token_lifetime(Duration::from_secs(3600))
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct OAuth2ServerBuilder {
    clients: BTreeMap<String, OAuth2Client>,
    grants: BTreeSet<String>,
    audiences: BTreeSet<String>,
    resources: BTreeSet<String>,
    issuers: HashMap<String, Vec<Jwk>>,
    subject_tokens: HashSet<String>,
    refresh_tokens: HashMap<String, String>,
    metadata: Vec<(String, Option<Value>)>,
    issuer_path: String,
    token_lifetime: Duration,
    assertion_lifetime: Duration,
    latency: Duration,
    issuance: Issuance,
    jwt_tokens: bool,
    takes_json: bool,
    token_uri_audience: bool,
    offset: Offset,
    bind: SocketAddr,
}

impl OAuth2ServerBuilder {
    fn new() -> Self {
        let client =
            OAuth2Client::with_secret(OAuth2Server::CLIENT_ID, OAuth2Server::CLIENT_SECRET);
        Self {
            clients: BTreeMap::from([(client.id.clone(), client)]),
            grants: BTreeSet::new(),
            audiences: BTreeSet::new(),
            resources: BTreeSet::new(),
            issuers: HashMap::new(),
            subject_tokens: HashSet::new(),
            refresh_tokens: HashMap::new(),
            metadata: Vec::new(),
            issuer_path: String::new(),
            token_lifetime: Duration::from_secs(3600),
            assertion_lifetime: Duration::from_secs(600),
            latency: Duration::ZERO,
            issuance: Issuance::Overlapping,
            jwt_tokens: false,
            takes_json: false,
            token_uri_audience: false,
            offset: Offset::Ahead(Duration::ZERO),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }

    /// Adds a client, or replaces the one with its id.
    ///
    /// Defaults to [`OAuth2Server::CLIENT_ID`] alone, with a secret.
    pub fn client(mut self, client: OAuth2Client) -> Self {
        self.clients.insert(client.id.clone(), client);
        self
    }

    /// Adds a grant by its name, beside those of RFC 6749, 7523 and 8693. It checks the client and
    /// its scopes, and no parameter of its own.
    pub fn grant(mut self, grant_type: impl Into<String>) -> Self {
        self.grants.insert(grant_type.into());
        self
    }

    /// Adds an audience. From then on, a request that names none, or another, is an
    /// `invalid_target`. Defaults to any `audience`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.insert(audience.into());
        self
    }

    /// Adds a resource (RFC 8707). From then on, a request that names another is an
    /// `invalid_target`. Defaults to any absolute URI without a fragment.
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.resources.insert(uri.into());
        self
    }

    /// Trusts the assertions of `issuer`, which become grants (RFC 7523, section 2.1), with its
    /// public keys as a JWK or a JWK set.
    ///
    /// # Errors
    ///
    /// Returns an error if `keys` is neither.
    pub fn trust(mut self, issuer: impl Into<String>, keys: &str) -> Result<Self, BoxError> {
        self.issuers.insert(issuer.into(), read_keys(keys)?);
        Ok(self)
    }

    /// Adds a token that can be exchanged (RFC 8693).
    pub fn subject_token(mut self, token: impl Into<String>) -> Self {
        self.subject_tokens.insert(token.into());
        self
    }

    /// Adds a refresh token of a client. It can be used once, and each response has the next one.
    pub fn refresh_token(
        mut self,
        client_id: impl Into<String>,
        refresh_token: impl Into<String>,
    ) -> Self {
        self.refresh_tokens.insert(refresh_token.into(), client_id.into());
        self
    }

    /// Sets a field of the metadata, such as an `issuer` that is not the server's.
    pub fn metadata_field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.push((name.into(), Some(value.into())));
        self
    }

    /// Leaves a field of the metadata out.
    pub fn without_metadata_field(mut self, name: impl Into<String>) -> Self {
        self.metadata.push((name.into(), None));
        self
    }

    /// Sets the path of the issuer, such as `/tenant`, under which its metadata is found. Defaults
    /// to none.
    pub fn issuer_path(mut self, path: impl Into<String>) -> Self {
        self.issuer_path = path.into();
        self
    }

    /// Sets the lifetime of tokens, in whole seconds. Defaults to one hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Sets how far ahead the `exp` of an assertion may be, and how old its `iat`. Defaults to ten
    /// minutes.
    pub fn assertion_lifetime(mut self, lifetime: Duration) -> Self {
        self.assertion_lifetime = lifetime;
        self
    }

    /// Sets how long each request for a token waits before it is decided on. Defaults to zero.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the effect of a request on the token in use. Defaults to [`Issuance::Overlapping`].
    pub fn issuance(mut self, issuance: Issuance) -> Self {
        self.issuance = issuance;
        self
    }

    /// Issues JWTs by RFC 9068. Defaults to random tokens.
    pub fn jwt_tokens(mut self) -> Self {
        self.jwt_tokens = true;
        self
    }

    /// Takes requests in JSON too, as Auth0 does. Defaults to forms alone.
    pub fn takes_json(mut self) -> Self {
        self.takes_json = true;
        self
    }

    /// Takes the token endpoint for the audience of a client's assertion, beside the issuer, as
    /// older servers do (CVE-2025-27370). Defaults to the issuer alone.
    pub fn token_uri_audience(mut self) -> Self {
        self.token_uri_audience = true;
        self
    }

    /// Sets the server's clock this far ahead of the real time. The last call of this and
    /// [`clock_behind`](Self::clock_behind) counts. Defaults to zero.
    pub fn clock_ahead(mut self, by: Duration) -> Self {
        self.offset = Offset::Ahead(by);
        self
    }

    /// Sets the server's clock this far behind the real time. Defaults to zero.
    pub fn clock_behind(mut self, by: Duration) -> Self {
        self.offset = Offset::Behind(by);
        self
    }

    /// Sets the address on which the server listens. With port 0 the system chooses a free port.
    /// Defaults to `127.0.0.1:0`.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// Binds the address and serves it on a task of the current Tokio runtime, whose I/O and time
    /// must be enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if the address can't be bound, for example because it is in use.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, and on one without I/O.
    pub async fn start(self) -> io::Result<OAuth2Server> {
        // For the reason that `SandboxBuilder::start` gives.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();

        let listener = TcpListener::bind(self.bind).await?;
        let addr = listener.local_addr()?;
        let settings = Settings {
            issuer: format!("http://{addr}{}", self.issuer_path),
            token_uri: format!("http://{addr}/token"),
            token_lifetime: self.token_lifetime,
            assertion_lifetime: self.assertion_lifetime,
            latency: self.latency,
            issuance: self.issuance,
            jwt_tokens: self.jwt_tokens,
            takes_json: self.takes_json,
            token_uri_audience: self.token_uri_audience,
            grants: self.grants,
            audiences: self.audiences,
            resources: self.resources,
            issuers: self.issuers,
            subject_tokens: self.subject_tokens,
            metadata: self.metadata,
        };
        let clock = Clock::new(self.offset);
        let state = Arc::new(State::new(settings, clock, self.clients, self.refresh_tokens));
        let server = Running::start(listener, addr, router::router(&state));
        Ok(OAuth2Server::new(state, server))
    }
}

impl fmt::Debug for OAuth2ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2ServerBuilder")
            .field("clients", &self.clients.keys())
            .field("issuance", &self.issuance)
            .field("token_lifetime", &self.token_lifetime)
            .field("clock", &self.offset)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}
