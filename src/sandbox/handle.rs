//! [`Sandbox`]: the handle of a running double.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;

use super::{
    counters::SandboxCounters, faults::AuthFault, guard, router, server::Running,
    state::SandboxState,
};

/// A running double of the Send Payments API. The [module](super) lists its rules.
///
/// It serves HTTP/1.1 and, with prior knowledge, HTTP/2, both without TLS. Dropping it closes all
/// connections at once. [`shutdown`](Self::shutdown) lets the requests in flight finish.
///
/// # Examples
///
/// ```
/// use tower_reauth::sandbox::Sandbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder().start().await?;
/// assert_eq!(sandbox.base_url(), format!("http://{}", sandbox.addr()));
///
/// // Another process asks for a token with the same credentials, so the token in use is dead.
/// let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID);
/// assert!(token.is_some());
/// # Ok(())
/// # }
/// ```
pub struct Sandbox {
    state: Arc<SandboxState>,
    server: Running,
}

impl Sandbox {
    /// The id of the client that every sandbox knows.
    pub const CLIENT_ID: &'static str = "demo_00000000-0000-4000-8000-000000000001";

    /// The secret of the client [`CLIENT_ID`](Self::CLIENT_ID).
    pub const CLIENT_SECRET: &'static str = "sandbox-client-secret";

    pub(super) fn new(state: Arc<SandboxState>, server: Running) -> Self {
        Self { state, server }
    }

    /// Returns `http://` and the address on which the sandbox listens, without a slash at the end.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// Returns the address on which the sandbox listens, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Returns the same API over the same state, to serve it behind TLS or without a socket.
    ///
    /// The faults that reset the connection need the sandbox's own listener. Through this router
    /// they answer 500 instead, and [`AuthFault::ResetAfterIssuing`] issues its token all the same.
    pub fn router(&self) -> Router {
        router::router(&self.state)
    }

    /// Returns a snapshot of the counters.
    pub fn counters(&self) -> SandboxCounters {
        self.state.tally.snapshot()
    }

    /// Makes one `POST /auth` meet `fault`.
    ///
    /// The faults of several calls are met by as many requests, in the order of the calls.
    pub fn fail_next_auth(&self, fault: AuthFault) {
        self.state.faults.push(fault);
    }

    /// Makes every `POST /auth` meet `fault`, until it is called with `None`.
    ///
    /// The faults of [`fail_next_auth`](Self::fail_next_auth) are met first.
    pub fn fail_every_auth(&self, fault: Option<AuthFault>) {
        self.state.faults.set_standing(fault);
    }

    /// Issues a token as if another process had asked for one, which kills the one in use.
    ///
    /// Returns the new token, or `None` if the client is unknown. The token is counted in
    /// [`tokens_issued`](SandboxCounters::tokens_issued) and not in
    /// [`auth_requests`](SandboxCounters::auth_requests). It meets no fault and no latency.
    pub fn issue_elsewhere(&self, client_id: &str) -> Option<String> {
        self.state
            .knows(client_id)
            .then(|| self.state.issue(client_id).ok())
            .flatten()
            .map(|issued| issued.token)
    }

    /// Kills the client's token in use without issuing a new one. Returns `true` if there was one.
    pub fn revoke(&self, client_id: &str) -> bool {
        self.state.clients.revoke(client_id)
    }

    /// Changes the client's secret. Returns `false` if the client is unknown.
    ///
    /// A `POST /auth` with the old secret is answered 401 from then on. The token in use lives on.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use tower_reauth::{Credentials, SendPayments, TokenCache, sandbox::Sandbox};
    ///
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_reauth::BoxError> {
    /// let sandbox = Sandbox::builder().start().await?;
    /// let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    /// let http = tower_reauth::client::https::<Full<Bytes>>()?;
    /// let cache = TokenCache::new(SendPayments::new(sandbox.base_url(), http, credentials)?);
    ///
    /// sandbox.change_secret(Sandbox::CLIENT_ID, "another-secret");
    /// assert!(cache.warm_up().await.is_err_and(|error| error.is_rejected()));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    pub fn change_secret(&self, client_id: &str, secret: impl Into<String>) -> bool {
        self.state.clients.change_secret(client_id, secret.into())
    }

    /// Returns `true` if `token`, without its scheme, is alive.
    ///
    /// Such a token was issued by this sandbox, has not expired, and was neither replaced nor
    /// revoked. The check is for resource servers of your own, such as a gRPC server. It counts
    /// nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::sandbox::Sandbox;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let sandbox = Sandbox::builder().start().await?;
    /// let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap_or_default();
    /// assert!(sandbox.accepts(&token));
    ///
    /// sandbox.revoke(Sandbox::CLIENT_ID);
    /// assert!(!sandbox.accepts(&token));
    /// # Ok(())
    /// # }
    /// ```
    pub fn accepts(&self, token: &str) -> bool {
        guard::accepts(&self.state, token)
    }

    /// Stops accepting connections, lets the requests in flight finish, and closes the connections.
    ///
    /// Requests that are still in flight after two seconds are cut off. The counters can be read
    /// afterwards. A second call returns at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("addr", &self.addr())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
