//! A request's side: what is signed, how, and what a response means.
//!
//! A request goes `layer` (builds) → `service` (signs) → `future` (drives the attempt and its replay).

mod classify;
mod future;
mod guard;
mod handle;
mod layer;
#[cfg(feature = "reqwest-middleware")]
mod reqwest_middleware;
mod service;
mod signer;

pub use self::{
    future::ResponseFuture, guard::CrossOriginRequests, layer::AuthLayer, service::Auth,
    signer::CallerAuthorization,
};
