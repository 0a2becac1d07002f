//! [`SandboxBuilder`]: the settings of a sandbox, and its start.

use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    clock::{Clock, Offset},
    handle::Sandbox,
    log::Log,
    router,
    server::Running,
    state::SandboxState,
    token::Signer,
};

// In this file, because the builder imports `Sandbox` and the import must not run both ways.
impl Sandbox {
    /// Returns a builder with the defaults that its setters state.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::new()
    }
}

/// Builds a [`Sandbox`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tower_reauth::sandbox::Sandbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder()
///     .client("acme_0a1b2c3d-0000-4000-8000-0123456789ab", "its-secret")
///     .token_lifetime(Duration::from_secs(10))
///     .auth_latency(Duration::from_millis(50))
///     .clock_ahead(Duration::from_secs(3600))
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct SandboxBuilder {
    clients: HashMap<String, String>,
    token_lifetime: Duration,
    auth_latency: Duration,
    resource_latency: Duration,
    offset: Offset,
    bind: SocketAddr,
    log: Option<Log>,
}

impl SandboxBuilder {
    fn new() -> Self {
        Self {
            clients: HashMap::from([(
                Sandbox::CLIENT_ID.to_owned(),
                Sandbox::CLIENT_SECRET.to_owned(),
            )]),
            token_lifetime: Duration::from_secs(300),
            auth_latency: Duration::ZERO,
            resource_latency: Duration::ZERO,
            offset: Offset::Ahead(Duration::ZERO),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            log: None,
        }
    }

    /// Adds a client that may ask for tokens, or replaces the secret of a known id.
    ///
    /// `POST /auth` answers 400 for an id that breaks the pattern of the API reference, even if the
    /// client is known. An id needs 38 to 100 characters. They must contain four lower-case
    /// letters, an underscore and a lower-case UUID in a row.
    ///
    /// Defaults to [`Sandbox::CLIENT_ID`] alone.
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.clients.insert(id.into(), secret.into());
        self
    }

    /// Sets the lifetime of tokens, rounded up to whole seconds.
    ///
    /// `iat` is the second in which a token is issued, and `exp` is `iat` plus the lifetime. A
    /// token therefore lives up to one second less. With zero, tokens are dead when they are
    /// issued.
    ///
    /// Defaults to 300 seconds.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Sets how long each `POST /auth` waits before it issues a token or refuses.
    ///
    /// Defaults to zero.
    pub fn auth_latency(mut self, latency: Duration) -> Self {
        self.auth_latency = latency;
        self
    }

    /// Sets how long each request to a resource waits before its token is checked.
    ///
    /// Defaults to zero.
    pub fn resource_latency(mut self, latency: Duration) -> Self {
        self.resource_latency = latency;
        self
    }

    /// Sets the sandbox's clock this far ahead of the real time.
    ///
    /// `Date`, `expiresAt`, `iat` and `exp` move together. The last call of this and
    /// [`clock_behind`](Self::clock_behind) counts.
    ///
    /// Defaults to zero.
    pub fn clock_ahead(mut self, by: Duration) -> Self {
        self.offset = Offset::Ahead(by);
        self
    }

    /// Sets the sandbox's clock this far behind the real time.
    ///
    /// `Date`, `expiresAt`, `iat` and `exp` move together. The last call of this and
    /// [`clock_ahead`](Self::clock_ahead) counts.
    ///
    /// Defaults to zero.
    pub fn clock_behind(mut self, by: Duration) -> Self {
        self.offset = Offset::Behind(by);
        self
    }

    /// Sets the address on which the sandbox listens. With port 0 the system chooses a free port.
    ///
    /// Defaults to `127.0.0.1:0`.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// Hands one line for each request to `log`, when the response is there, or when there will be
    /// none. It must not block, and it must not panic.
    ///
    /// A line has the method, the path and the status, and says why a request was refused, as in
    /// `GET /accounts/1 401 Unauthorized: the token has expired`. It is for people, and may change.
    /// No token, no secret and no query is in it.
    ///
    /// Defaults to no log.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::sandbox::Sandbox;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// // The harness shows it if the test fails.
    /// let sandbox = Sandbox::builder().on_request(|line| eprintln!("{line}")).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_request(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
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
    pub async fn start(self) -> io::Result<Sandbox> {
        // If another crate of the build has enabled a second cryptography backend, `jsonwebtoken`
        // panics at its first use until one is chosen. An earlier choice of the process stands.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();

        let listener = TcpListener::bind(self.bind).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(SandboxState::new(
            Clock::new(self.offset),
            Signer::new(self.token_lifetime),
            self.clients,
            self.log,
            self.auth_latency,
            self.resource_latency,
        ));
        let server = Running::start(listener, addr, router::router(&state));
        Ok(Sandbox::new(state, server))
    }
}

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBuilder")
            .field("clients", &self.clients.len())
            .field("token_lifetime", &self.token_lifetime)
            .field("auth_latency", &self.auth_latency)
            .field("resource_latency", &self.resource_latency)
            .field("clock", &self.offset)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}
