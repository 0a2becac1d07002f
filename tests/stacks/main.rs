//! The layer among other crates: hyper, tonic, reqwest and tower-http over real sockets, and the
//! sandbox rule by rule.

mod grpc;
mod real_sockets;
mod replay_bodies;
mod reqwest_middleware;
mod sandbox;
mod stack_http;
