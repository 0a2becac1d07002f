//! The sandbox on a real socket, rule by rule.

mod auth;
mod client;
mod faults;
mod resources;
mod server;
