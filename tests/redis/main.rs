//! The store in Redis and Valkey, on real servers that each test starts and kills.
//!
//! `STORE_SERVER` names the program, which is `redis-server` by default. `.ci/run stores` installs
//! both servers and runs the tests against each.

mod faults;
mod fleet;
mod holders;
mod outages;
mod proxy;
mod rights;
mod secrets;
mod sentinel;
mod server;
mod sharing;
mod subscriptions;
