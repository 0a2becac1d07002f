//! A request's side: what is signed, how, and what a response means.
//!
//! `layer` builds the service, `service` signs a request, and `future` drives it and its replay.

mod attempt;
mod challenge;
mod classify;
mod future;
#[cfg(feature = "tonic")]
mod grpc;
#[cfg(feature = "tonic")]
mod grpc_channel;
mod guard;
mod handle;
mod layer;
pub mod refusal;
mod refused;
#[cfg(feature = "reqwest-middleware")]
mod reqwest_middleware;
#[cfg(feature = "reqwest")]
mod reqwest_service;
mod service;
mod signer;
mod state;

#[cfg(fuzzing)]
pub(crate) use self::challenge::blames_token;
#[cfg(feature = "reqwest")]
pub use self::reqwest_service::{ReqwestFuture, ReqwestService};
pub use self::{
    future::ResponseFuture, guard::CrossOriginRequests, layer::AuthLayer, service::Auth,
    signer::CallerAuthorization,
};
#[cfg(feature = "tonic")]
pub use self::{
    grpc::{GrpcAuth, GrpcBody, GrpcFuture, GrpcLayer},
    grpc_channel::{GrpcChannel, GrpcChannelFuture},
};
