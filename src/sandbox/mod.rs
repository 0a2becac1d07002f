//! A double of the Send Payments API in this process, on a real socket, for tests and demonstrations.
//!
//! What it keeps to:
//!
//! * `POST /auth` checks its request as the API reference says and answers 201 with a signed JWT; 400 or 401
//!   otherwise. It needs no token; every other path but [`/_sandbox/counters`](#counters) does.
//! * Tokens are *exclusive*: issuing one kills the one before it of the same client. A token is dead from its
//!   `exp` on, by the sandbox's own clock, which can be set wrong.
//! * A `POST /auth` that has arrived is carried out, even when its caller has gone by then. The same holds for a
//!   request to a resource.
//! * The token of a request is judged when the [resource latency](SandboxBuilder::resource_latency) is over, so a
//!   token that is replaced while a slow request is under way costs that request a 401.
//! * A request that is answered 401 is never applied.
//! * Every answer carries a `Date`, and every error the documented body.
//! * Request bodies are limited to 1 MiB (413 beyond). What is stored is limited too, see
//!   [`POST /accounts`](#accounts).
//!
//! # Accounts
//!
//! `POST /accounts` takes a JSON object with a `name` string and answers 201 with `id`, `name` and `createdAt`;
//! `GET /accounts/{id}` answers 200 with the same, or 404. Each client sees its own accounts only. With an
//! `idempotency` header the first answer is stored: the same key and the same body bytes get that answer again and
//! make no second account, the same key with another body gets a 409. An empty key counts as none. The oldest
//! accounts and the oldest keys are forgotten beyond 100 000 or 16 MiB of each.
//!
//! # Counters
//!
//! `GET /_sandbox/counters` answers with [`SandboxCounters`] as JSON, for a sandbox that runs in another process.
//! [`Sandbox::counters`] is the same from inside.
//!
//! # Faults
//!
//! [`Sandbox::fail_next_auth`] and [`Sandbox::fail_every_auth`] let `POST /auth` go wrong in the ways of
//! [`AuthFault`].
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_reauth::sandbox::{AuthFault, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let sandbox = Sandbox::builder().token_lifetime(Duration::from_secs(60)).start().await?;
//! sandbox.fail_next_auth(AuthFault::ResetAfterIssuing);
//!
//! // Point the client under test at `sandbox.base_url()`, with `Sandbox::CLIENT_ID` and
//! // `Sandbox::CLIENT_SECRET`; then ask how it went.
//! assert!(sandbox.base_url().starts_with("http://127.0.0.1:"));
//! assert_eq!(sandbox.counters().auth_requests, 0);
//!
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::{sync::watch, task::JoinHandle};

use self::state::Shared;

pub use self::{builder::SandboxBuilder, counters::SandboxCounters, faults::AuthFault};

mod accounts;
mod auth;
mod bounded;
mod builder;
mod clients;
mod clock;
mod counters;
mod damage;
mod faults;
mod guard;
mod problem;
mod server;
mod state;
mod token;

/// A running double of the Send Payments API. See the [module](self) for what it does.
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
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// The id of a client that every sandbox knows.
    pub const CLIENT_ID: &'static str = "demo_00000000-0000-4000-8000-000000000001";

    /// The secret that belongs to [`CLIENT_ID`](Self::CLIENT_ID).
    pub const CLIENT_SECRET: &'static str = "sandbox-client-secret";

    /// Starts from the defaults; see each setter for them.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::new()
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
        state::router(&self.shared)
    }

    /// What has been counted up to now.
    pub fn counters(&self) -> SandboxCounters {
        self.shared.tally.snapshot()
    }

    /// Lets one `POST /auth` meet `fault`: the next one, or the one after those that earlier calls have spoken for.
    pub fn fail_next_auth(&self, fault: AuthFault) {
        self.shared.faults.push(fault);
    }

    /// Lets every `POST /auth` meet `fault`, except those that [`fail_next_auth`](Self::fail_next_auth) has spoken
    /// for, until it is called with `None`.
    pub fn fail_every_auth(&self, fault: Option<AuthFault>) {
        self.shared.faults.set_standing(fault);
    }

    /// Does what another process that asks for a token does: issues a new one and kills the one in use.
    ///
    /// Returns the new token; `None` when no such client is known. It is counted in
    /// [`tokens_issued`](SandboxCounters::tokens_issued), not in [`auth_requests`](SandboxCounters::auth_requests), and meets
    /// no fault and no latency.
    pub fn issue_elsewhere(&self, client_id: &str) -> Option<String> {
        self.shared
            .knows(client_id)
            .then(|| self.shared.issue(client_id).ok())
            .flatten()
            .map(|issued| issued.token)
    }

    /// Kills the client's token in use without issuing a new one. Returns whether there was one.
    pub fn revoke(&self, client_id: &str) -> bool {
        self.shared.clients.revoke(client_id)
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
        guard::accepts(&self.shared, token)
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
