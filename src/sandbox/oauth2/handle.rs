//! [`OAuth2Server`]: the handle of a running server.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;

use super::{
    counters::OAuth2Counters, request::TokenRequest, router, scripted::ScriptedResponse,
    state::State,
};
use crate::sandbox::server::Running;

/// A running double of an authorization server. The [module](crate::sandbox#oauth-2) lists its
/// rules.
///
/// It serves HTTP/1.1 and, with prior knowledge, HTTP/2, both without TLS. Dropping it closes all
/// connections at once. [`shutdown`](Self::shutdown) lets the requests in flight finish.
pub struct OAuth2Server {
    state: Arc<State>,
    server: Running,
}

impl OAuth2Server {
    /// The id of the client that every server knows. It has a space and a slash, so that a client
    /// which does not encode it for Basic is found out.
    pub const CLIENT_ID: &'static str = "demo client/1";

    /// The secret of the client [`CLIENT_ID`](Self::CLIENT_ID). It has a colon, a percent sign and
    /// a plus sign.
    pub const CLIENT_SECRET: &'static str = "sandbox:secret%+";

    pub(super) fn new(state: Arc<State>, server: Running) -> Self {
        Self { state, server }
    }

    /// Returns `http://` and the address on which the server listens, without a slash at the end.
    /// Each path but the token endpoint's is a resource.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// Returns the address on which the server listens, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Returns the URI of the token endpoint.
    pub fn token_uri(&self) -> String {
        self.state.settings.token_uri.clone()
    }

    /// Returns the identifier of the server, which is the audience of assertions.
    pub fn issuer(&self) -> String {
        self.state.settings.issuer.clone()
    }

    /// Returns the same server over the same state, to serve it behind TLS or without a socket.
    ///
    /// The responses that reset the connection need the server's own listener. Through this router
    /// they are a 500.
    pub fn router(&self) -> Router {
        router::router(&self.state)
    }

    /// Returns a snapshot of the counters.
    pub fn counters(&self) -> OAuth2Counters {
        self.state.counters()
    }

    /// Returns the last 1,000 requests for a token, the oldest first.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.state.requests()
    }

    /// Answers one request for a token with `response`.
    ///
    /// The responses of several calls are for as many requests, in the order of the calls.
    pub fn respond_next(&self, response: ScriptedResponse) {
        self.state.script().queue.push_back(response);
    }

    /// Answers every request for a token with `response`, until it is called with `None`.
    ///
    /// The responses of [`respond_next`](Self::respond_next) come first.
    pub fn respond_every(&self, response: Option<ScriptedResponse>) {
        self.state.script().standing = response;
    }

    /// Kills all tokens that the client has got so far. For a grant without a client, `client_id`
    /// is the subject.
    pub fn revoke(&self, client_id: &str) {
        self.state.tokens().kill(client_id);
    }

    /// Changes the client's secret. Returns `false` if the client is unknown, or has no secret.
    ///
    /// A request with the old secret, or with an assertion that is signed with it, is an
    /// `invalid_client` from then on. The tokens of the client live on.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::sandbox::OAuth2Server;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let server = OAuth2Server::builder().start().await?;
    /// assert!(server.change_secret(OAuth2Server::CLIENT_ID, "another-secret"));
    /// assert!(!server.change_secret("nobody", "another-secret"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn change_secret(&self, client_id: &str, secret: impl Into<String>) -> bool {
        self.state.change_secret(client_id, secret.into())
    }

    /// Makes the resource refuse all tokens that the client has got so far, although the token
    /// endpoint takes them for living. With [`Issuance::Same`](super::Issuance::Same) the client
    /// gets a refused token again.
    pub fn refuse_at_resource(&self, client_id: &str) {
        self.state.tokens().refuse(client_id);
    }

    /// Returns the number of a token, without its scheme, if the resource accepts it. The first
    /// token that the server issued has the number 1.
    ///
    /// It is for resource servers of your own, and counts nothing.
    pub fn token_number(&self, token: &str) -> Option<u64> {
        self.state.tokens().accepted(token, self.state.clock.now()).map(|token| token.number)
    }

    /// Stops accepting connections, lets the requests in flight finish, and closes the connections.
    ///
    /// Requests that are still in flight after two seconds are cut off. A second call returns at
    /// once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

impl fmt::Debug for OAuth2Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2Server")
            .field("addr", &self.addr())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
