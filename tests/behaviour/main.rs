//! What the layer and the cache do, among callers, clocks and services that are told what to do.

mod cancellation;
mod compile_message;
mod contract;
mod doubts;
mod failure;
mod fleet;
mod foreign_code;
mod foreign_runtimes;
mod freshness;
mod guarantees;
mod guards;
mod hold_timeout;
mod metrics;
mod origins;
mod outage_log;
mod refusal_bodies;
mod refusal_proofs;
mod refusal_shapes;
mod refusals;
mod renewal;
mod replay_property;
mod single_flight;
mod stack_order;
mod threads;
mod unauthorized;
mod used_service;
