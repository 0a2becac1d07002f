//! The layer among other crates: hyper, tonic, reqwest and tower-http over real sockets, and the
//! sandbox rule by rule.

mod credentials_sources;
mod endpoint_answers;
mod exact;
#[cfg(target_os = "linux")]
mod file_store;
mod grpc;
mod grpc_layer;
mod oauth2;
mod oauth2_server;
mod providers;
mod real_sockets;
mod refusal_layer;
mod replay_bodies;
mod reqwest_middleware;
mod sandbox;
mod stack_http;
