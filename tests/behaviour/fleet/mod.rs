//! Processes that share one client's token through a store.

mod credentials;
mod dating;
mod faults;
mod holders;
mod lies;
mod outages;
mod renewal;
mod sharing;
mod unanswered;
mod world;
