//! Processes that share one client's token through a store.

mod faults;
mod outages;
mod renewal;
mod sharing;
mod world;
