//! Servers in this process, on real sockets, for tests and demonstrations: [`Sandbox`] imitates the
//! Send Payments API, and [`OAuth2Server`] is an authorization server by the RFCs.
//!
//! # Send Payments
//!
//! [`Sandbox`] keeps to these rules:
//!
//! 1. `POST /auth` checks its request by the API reference and answers 201 with a signed JWT. It
//!    answers 400 to a malformed request and 401 to wrong credentials.
//! 2. `POST /auth` and [`/_sandbox/counters`](#counters) need no token. Every other path does.
//! 3. Tokens are *exclusive*. Issuing a token kills the one before it of the same client.
//! 4. A token is dead from its `exp` on, by the sandbox's own clock, which can be set wrong.
//! 5. A `POST /auth` that has arrived is carried out, even if its caller has hung up. The same
//!    holds for a request to a resource.
//! 6. The token of a request is checked when the
//!    [resource latency](SandboxBuilder::resource_latency) is over. A token that is replaced while
//!    a slow request is in flight costs that request a 401.
//! 7. A request that is answered 401 is never applied.
//! 8. Every response carries a `Date`, and every error the documented body.
//! 9. A request body has at most 1 MiB. A larger one is answered 413.
//!
//! ## Accounts
//!
//! `POST /accounts` takes a JSON object with a `name` string. It answers 201 with `id`, `name` and
//! `createdAt`. `GET /accounts/{id}` answers 200 with the same. Each client sees its own accounts
//! only, and gets a 404 for any other.
//!
//! With an `idempotency` header the response is stored. The same key with the same body bytes gets
//! the stored response and creates no second account. The same key with another body gets a 409. An
//! empty key counts as none.
//!
//! At most 100,000 accounts and 16 MiB of them are stored, and as much of the responses to
//! idempotency keys. Beyond that the oldest are dropped.
//!
//! ## Counters
//!
//! `GET /_sandbox/counters` answers with [`SandboxCounters`] as JSON, for a sandbox that runs in
//! another process. [`Sandbox::counters`] returns the same within the process.
//!
//! ## Faults
//!
//! [`Sandbox::revoke`] and [`Sandbox::issue_elsewhere`] kill the token in use, and
//! [`Sandbox::change_secret`] makes the credentials wrong. [`Sandbox::fail_next_auth`] and
//! [`Sandbox::fail_every_auth`] make `POST /auth` fail in one of the ways of [`AuthFault`].
//!
//! # OAuth 2
//!
//! [`OAuth2Server`] keeps to these rules:
//!
//! 1. `POST /token` takes a form (RFC 6749, appendix B), encoded strictly. A parameter may be there
//!    once, but for `resource` and `audience`. No credentials may be in the query.
//! 2. A request has exactly one client authentication (RFC 6749, section 2.3). With Basic, id and
//!    secret are form-encoded first, and the form has no `client_id`. A client can use only the
//!    methods that it is registered for.
//! 3. An assertion has the issuer for its only `aud`, an `exp` that is ahead, an `iat` that is not,
//!    and a `jti` that was never seen (RFC 7523, section 3).
//! 4. The grants are `client_credentials`, `refresh_token`, the assertion grant (RFC 7523), token
//!    exchange (RFC 8693), and others that are added by name.
//! 5. Scopes that are not registered are an `invalid_scope`, and unknown audiences and resources an
//!    `invalid_target` (RFC 8707).
//! 6. A refusal is one of RFC 6749, section 5.2. Its description says what is wrong.
//! 7. [`ScriptedResponse`] has the token endpoint answer otherwise, in each way that servers are
//!    known to.
//! 8. The metadata is at both well-known places (RFC 8414, section 3, and OpenID Connect
//!    Discovery).
//! 9. Every other path is a resource. It answers 200 to a token that lives, with its number, its
//!    client and its scope, and 401 otherwise.
//! 10. A request that has arrived is carried out, even if its caller has hung up.
//!
//! # Examples
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
//! // `Sandbox::CLIENT_SECRET`. Then read the counters.
//! assert!(sandbox.base_url().starts_with("http://127.0.0.1:"));
//! assert_eq!(sandbox.counters().auth_requests, 0);
//!
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
mod accounts;
mod auth;
mod auth_request;
mod auth_response;
mod bounded_map;
mod builder;
mod clients;
mod clock;
mod counters;
mod damage;
mod faults;
mod guard;
mod handle;
mod idempotency;
mod log;
mod oauth2;
mod problem;
mod resources;
mod router;
mod server;
mod state;
mod token;

pub use self::{
    builder::SandboxBuilder,
    counters::SandboxCounters,
    faults::AuthFault,
    handle::Sandbox,
    oauth2::{
        AuthMethod, Issuance, OAuth2Client, OAuth2Counters, OAuth2Server, OAuth2ServerBuilder,
        ScriptedResponse, TokenRequest,
    },
};
