//! The authorization server of the sandbox on a real socket, rule by rule.

mod assertions;
mod client;
mod grants;
mod requests;
mod responses;
