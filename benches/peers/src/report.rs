//! The tables on standard output, and the same figures as JSON.

use std::{fs, path::Path};

use serde::Serialize;

#[derive(Serialize)]
pub struct Report {
    pub hot_path: Vec<HotPath>,
    pub contention: Vec<Contention>,
    pub burst: Vec<Burst>,
    pub failures: Vec<Failures>,
    pub unreachable: Vec<Unreachable>,
}

#[derive(Serialize)]
pub struct HotPath {
    pub name: String,
    pub ns: f64,
    pub x2: f64,
    pub x3: f64,
    pub allocations: u64,
}

#[derive(Serialize)]
pub struct Contention {
    pub name: &'static str,
    /// `None` if there was no second core to be had.
    pub speedup: Option<f64>,
}

/// `None` where it can't be measured.
#[derive(Serialize, Default)]
pub struct Burst {
    pub name: &'static str,
    pub fetches: Option<usize>,
    pub ns_per_waiter: Option<f64>,
    pub heap_per_waiter: Option<f64>,
}

/// `None` where it can't be measured, or was not over in time.
#[derive(Serialize, Default)]
pub struct Failures {
    pub name: &'static str,
    pub leader_dropped_fetches: Option<usize>,
    pub leader_parked_served: Option<usize>,
    pub fetch_fails_fetches: Option<usize>,
    pub fetch_fails_ms: Option<f64>,
}

#[derive(Serialize)]
pub struct Unreachable {
    pub name: &'static str,
    pub why: &'static str,
}

impl Report {
    pub fn print(&self) {
        println!("Hot path: a valid token, one call, GET with 4 headers");
        println!("{:36} {:>8} {:>7} {:>7} {:>12}", "", "ns", "x(2)", "x(3)", "allocations");
        for HotPath { name, ns, x2, x3, allocations } in &self.hot_path {
            println!("{name:36} {ns:8.0} {x2:7.2} {x3:7.2} {allocations:12}");
        }
        println!("\nContention: two workers against one (- if something else had the second core)");
        println!("{:36} {:>8}", "", "speed-up");
        for Contention { name, speedup } in &self.contention {
            println!("{name:36} {:>8}", figure(*speedup, 2));
        }
        println!("\nCold burst: no token, one fetch of 5 ms");
        println!("{:36} {:>8} {:>14} {:>16}", "", "fetches", "ns per waiter", "heap per waiter");
        for row in &self.burst {
            let (fetches, ns) = (number(row.fetches), figure(row.ns_per_waiter, 0));
            println!(
                "{:36} {fetches:>8} {ns:>14} {:>16}",
                row.name,
                figure(row.heap_per_waiter, 0)
            );
        }
        println!(
            "\nWhen things go wrong, 100 callers: fetches until all are served if the leader is \
             dropped;"
        );
        println!(
            "served in 300 ms if it is parked; fetches and ms until the last answer if the fetch \
             fails"
        );
        println!("{:36} {:>8} {:>8} {:>8} {:>8}", "", "dropped", "parked", "fails", "ms");
        for row in &self.failures {
            let (dropped, parked) =
                (number(row.leader_dropped_fetches), number(row.leader_parked_served));
            let (fails, ms) = (number(row.fetch_fails_fetches), figure(row.fetch_fails_ms, 1));
            println!("{:36} {dropped:>8} {parked:>8} {fails:>8} {ms:>8}", row.name);
        }
        println!("\nNot reached through the public interface");
        for Unreachable { name, why } in &self.unreachable {
            println!("{name}: {why}");
        }
    }

    pub fn write(&self) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bars");
        fs::create_dir_all(&directory).unwrap();
        let json = serde_json::to_string_pretty(self).unwrap();
        fs::write(directory.join("peers.json"), json + "\n").unwrap();
    }
}

/// A dash for what could not be measured.
fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.decimals$}"))
}

fn number(value: Option<usize>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}
