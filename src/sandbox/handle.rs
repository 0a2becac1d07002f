//! [`Sandbox`]: the handle on a running double.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::{sync::watch, task::JoinHandle};

use super::{counters::SandboxCounters, faults::AuthFault, guard, router, state::SandboxState};

/// A running double of the Send Payments API. See the [module](super) for what it does.
///
/// It serves HTTP/1.1 and, with prior knowledge, HTTP/2, without TLS. It stops when it is dropped, abruptly, or
/// with [`shutdown`](Self::shutdown), gracefully.
///
/// ```
/// use tower_reauth::sandbox::Sandbox;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let sandbox = Sandbox::builder().start().await?;
/// assert_eq!(sandbox.base_url(), format!("http://{}", sandbox.addr()));
///
/// // Another process asks for a token with the same credentials: whatever token was in use is dead now.
/// let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID);
/// assert!(token.is_some());
/// # Ok(())
/// # }
/// ```
pub struct Sandbox {
    addr: SocketAddr,
    state: Arc<SandboxState>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// The id of a client that every sandbox knows.
    pub const CLIENT_ID: &'static str = "demo_00000000-0000-4000-8000-000000000001";

    /// The secret that belongs to [`CLIENT_ID`](Self::CLIENT_ID).
    pub const CLIENT_SECRET: &'static str = "sandbox-client-secret";

    pub(super) fn new(
        addr: SocketAddr,
        state: Arc<SandboxState>,
        stop: watch::Sender<bool>,
        server: JoinHandle<()>,
    ) -> Self {
        Self { addr, state, stop, server }
    }

    /// `http://` and the address it listens on, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address it listens on, with the port that was really given.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same API over the same state, to serve it some other way: behind TLS, or without a socket.
    ///
    /// The faults that reset the connection need the sandbox's own listener. Through this router they answer 500
    /// instead; a token that they issue is issued all the same.
    pub fn router(&self) -> Router {
        router::router(&self.state)
    }

    /// What has been counted up to now.
    pub fn counters(&self) -> SandboxCounters {
        self.state.tally.snapshot()
    }

    /// Lets one `POST /auth` meet `fault`: the next one, or the one after those that earlier calls have spoken for.
    pub fn fail_next_auth(&self, fault: AuthFault) {
        self.state.faults.push(fault);
    }

    /// Lets every `POST /auth` meet `fault`, except those that [`fail_next_auth`](Self::fail_next_auth) has spoken
    /// for, until it is called with `None`.
    pub fn fail_every_auth(&self, fault: Option<AuthFault>) {
        self.state.faults.set_standing(fault);
    }

    /// Does what another process that asks for a token does: issues a new one and kills the one in use.
    ///
    /// Returns the new token; `None` when no such client is known. It is counted in
    /// [`tokens_issued`](SandboxCounters::tokens_issued), not in [`auth_requests`](SandboxCounters::auth_requests), and meets
    /// no fault and no latency.
    pub fn issue_elsewhere(&self, client_id: &str) -> Option<String> {
        self.state
            .knows(client_id)
            .then(|| self.state.issue(client_id).ok())
            .flatten()
            .map(|issued| issued.token)
    }

    /// Kills the client's token in use without issuing a new one. Returns whether there was one.
    pub fn revoke(&self, client_id: &str) -> bool {
        self.state.clients.revoke(client_id)
    }

    /// Whether `token`, without its scheme, is alive: issued here, not expired, neither replaced nor revoked. For resource
    /// servers of your own, a gRPC one say; nothing is counted.
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

    /// Stops: no new connection is taken, and what is under way has two seconds to end. After that, or when
    /// nothing is left, the connections are closed and this returns.
    ///
    /// Counters can still be read afterwards. A second call returns at once.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        // The server task holds the only receiver.
        self.stop.closed().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("addr", &self.addr)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
