//! Processes that share one client's token through a store.

mod renewal;
mod world;
