//! Client-side Tower middleware that keeps outgoing requests signed with a short-lived access token.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod cache;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
mod clock;
pub mod credentials;
pub mod endpoint;
mod error;
mod events;
mod future;
mod guard;
mod layer;
mod origin;
mod refresh;
pub mod replay;
mod service;
mod token;
mod triage;
#[cfg(feature = "verify")]
mod verify;

pub use crate::{
    cache::TokenCache,
    credentials::{Credentials, CredentialsSource},
    endpoint::{SendPayments, TokenEndpoint},
    error::{AuthError, BoxError, ConfigError, Error},
    events::Counters,
    future::ResponseFuture,
    guard::ForeignRequests,
    layer::{AuthLayer, CallerAuthorization},
    refresh::RefreshPolicy,
    service::Auth,
    token::{AccessToken, ClaimsError},
};
