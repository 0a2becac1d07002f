//! tower-reauth and other crates that keep a token, on the same work, in turn, in one process.
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` prints tables, and writes
//! `target/bars/peers.json`.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench, with the clock of the machine"
)]
#![allow(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, a block once")]

mod answer;
mod endpoint;
mod measure;
mod peer;
mod peers;
mod plugin;
mod report;
mod server;
#[path = "../../support/mod.rs"]
mod support;

use crate::report::Report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, log, answer] = &arguments[..]
        && role == plugin::ROLE
    {
        return plugin::run(log, answer);
    }
    // For the peers whose HTTP client wants TLS ready even for plain HTTP.
    rustls::crypto::ring::default_provider().install_default().expect("no provider is there yet");

    let report = Report {
        hot_path: measure::hot_path::measure(),
        contention: measure::contention::measure(),
        burst: measure::burst::measure(),
        failures: measure::failures::measure(),
        unreachable: peers::unreachable(),
    };
    report.print();
    report.write();
}
