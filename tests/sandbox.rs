//! The sandbox on a real socket, rule by rule.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

#[path = "sandbox/auth.rs"]
mod auth;
#[path = "sandbox/faults.rs"]
mod faults;
#[path = "sandbox/resources.rs"]
mod resources;
#[path = "sandbox/server.rs"]
mod server;
#[path = "sandbox/support.rs"]
mod support;
