//! A guide by topic, for those who have read the README. Each page takes a few minutes.
//!
//! Begin with [`concepts`], which explains the words. Those who have a token in a mutex, with the
//! date of its end, may begin with [`migration`].
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
