//! A request's side: what is signed, how, and what a response means.
//!
//! `layer` builds the service, `service` signs a request, and `future` drives it and its replay.

mod attempt;
mod challenge;
mod classify;
mod future;
#[cfg(feature = "tonic")]
mod grpc;
mod guard;
mod handle;
mod layer;
pub mod refusal;
mod refused;
#[cfg(feature = "reqwest-middleware")]
mod reqwest_middleware;
mod service;
mod signer;
mod state;

#[cfg(fuzzing)]
pub(crate) use self::challenge::blames_token;
#[cfg(feature = "tonic")]
pub use self::grpc::{GrpcAuth, GrpcBody, GrpcFuture, GrpcLayer};
pub use self::{
    future::ResponseFuture, guard::CrossOriginRequests, layer::AuthLayer, service::Auth,
    signer::CallerAuthorization,
};
