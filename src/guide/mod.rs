//! A guide by topic, for those who have read the README. Each page takes a few minutes.
//!
//! | page | answers |
//! |---|---|
//! | [`concepts`] | what the words mean, when a token is renewed, what a 401 leads to, where a token may go |
//! | [`errors`] | what a caller gets if there is no token, and what to answer to one's own callers |
//! | [`testing`] | how to test a service without a network, with faults, and at a paused clock |
//! | [`readiness`] | what a probe should ask, and how a service starts with a token |
//! | [`grpc`] | how to sign the calls of a tonic channel |
//! | [`tenants`] | how one process serves many sets of credentials |
//! | [`fleet`] | how several processes use one client id |
//! | [`migration`] | how to come here from a token in a mutex with the date of its end |
//!
//! For operators, the repository has `docs/operations.md` (numbers, events and alerts),
//! `docs/fleet.md` (what each fault costs a fleet), `docs/stacks.md` (the order of layers),
//! `docs/providers.md` (the code for 20 OAuth 2 providers) and `docs/guarantees.md` (each promise
//! with its tests).

#[allow(unused_imports, reason = "names for the links of the pages")]
use crate::{
    AuthError, AuthLayer, Error, RefreshPolicy, TokenCache, TokenEndpoint,
    cache::TokenCacheBuilder, endpoint, endpoint::oauth2::OAuth2Builder, replay::ReplayLayer,
};

#[doc = include_str!("concepts.md")]
pub mod concepts {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("fleet.md")]
pub mod fleet {}

#[doc = include_str!("grpc.md")]
pub mod grpc {}

#[doc = include_str!("migration.md")]
pub mod migration {}

#[doc = include_str!("readiness.md")]
pub mod readiness {}

#[doc = include_str!("tenants.md")]
pub mod tenants {}

#[doc = include_str!("testing.md")]
pub mod testing {}
