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
mod problem;
mod resources;
mod router;
mod server;
mod state;
mod token;

pub use self::{
    builder::SandboxBuilder, counters::SandboxCounters, faults::AuthFault, handle::Sandbox,
};
