//! Stores: share one client's token between processes.
//!
//! At an exclusive endpoint two processes with one client id kill each other's tokens. With a
//! [`TokenStore`] in common they use one token: one of them renews it, and the others hold their
//! requests meanwhile.
//!
//! A store keeps one small value per [`Name`] and changes it by compare-and-set. It knows nothing
//! of tokens: what the value says and who may change it is this crate's affair.

mod error;
mod name;
#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
mod search;
pub(crate) mod steps;
mod token_store;
pub(crate) mod value;

pub use self::{
    error::StoreError,
    name::Name,
    token_store::{Notice, StoreDown, Swap, TokenStore, Versioned},
};
