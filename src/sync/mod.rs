//! The types by which threads share a token while others read, hold and replace it.
//!
//! Other modules take the names of std, Tokio and `arc-swap` from here. In the models of
//! `cache/loom_tests.rs` these names are stand-ins, whose operations
//! [loom](https://docs.rs/loom) can interleave.

#[cfg(not(all(test, tower_reauth_loom)))]
mod real;
#[cfg(all(test, tower_reauth_loom))]
mod stand_in;
mod striped;
mod wake_list;

#[cfg(not(all(test, tower_reauth_loom)))]
pub(crate) use self::real::*;
#[cfg(all(test, tower_reauth_loom))]
pub(crate) use self::stand_in::*;
pub(crate) use self::{
    striped::Striped,
    wake_list::{Place, WakeList},
};
