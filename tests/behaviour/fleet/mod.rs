//! Processes that share one client's token through a store.

mod faults;
mod renewal;
mod sharing;
mod world;
