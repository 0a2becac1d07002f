//! The layer among other crates: hyper, tonic, reqwest and tower-http over real sockets, and the
//! sandbox rule by rule.

mod client_builder;
mod credentials_sources;
mod endpoint_answers;
mod endpoint_connections;
mod endpoint_errors;
mod exact;
#[cfg(target_os = "linux")]
mod file_store;
mod grpc;
mod grpc_layer;
// Some of them are those of Linux.
#[cfg(target_os = "linux")]
mod messages;
mod oauth2;
mod oauth2_server;
mod probes;
mod providers;
mod real_sockets;
mod refusal_layer;
mod replay_bodies;
mod reqwest_middleware;
mod reqwest_service;
mod sandbox;
mod secrets;
mod stack_http;
