//! How the benches that have run stand to their bars, in one table. It runs last.
//!
//! With `-- --write`, or `WRITE_RESULTS=1`, it writes `benches/RESULTS.md` and the plots in
//! `benches/plots` as well.

mod page;
mod plots;
#[path = "../support/mod.rs"]
mod support;

use serde::de::DeserializeOwned;
use support::{
    bars::{self, Measured, Report},
    figures::{
        Allocations, Burst, Contention, EndToEnd, Fleet, HotPath, Instructions, Peers, Renewal,
    },
};

const BENCHES: [&str; 8] = [
    "allocations",
    "burst",
    "contention",
    "end_to_end",
    "fleet",
    "hot_path",
    "instructions",
    "renewal",
];

/// All of them together take less than this, in minutes.
const ONE_RUN: u64 = 10;

/// The figures of all benches; those of one that has not run are missing.
struct Results {
    bars: Vec<Measured>,
    missing: Vec<&'static str>,
    allocations: Option<Allocations>,
    burst: Vec<Burst>,
    contention: Vec<Contention>,
    end_to_end: Vec<EndToEnd>,
    fleet: Vec<Fleet>,
    hot_path: Vec<HotPath>,
    instructions: Vec<Instructions>,
    renewal: Vec<Renewal>,
    peers: Peers,
}

fn main() {
    let results = Results::read();
    for bar in &results.bars {
        println!("{bar}");
    }
    for bench in &results.missing {
        println!("{bench} has not run: cargo bench --bench {bench}");
    }
    for bench in BENCHES.into_iter().filter(|bench| bars::minutes_old(bench) > ONE_RUN) {
        println!("{bench} is of an earlier run, {} minutes ago", bars::minutes_old(bench));
    }
    let asked = std::env::args().any(|argument| argument == "--write");
    if asked || std::env::var_os("WRITE_RESULTS").is_some_and(|value| value == "1") {
        plots::write(&results);
        page::write(&results);
    }
}

impl Results {
    fn read() -> Self {
        let (mut bars, mut missing) = (Vec::new(), Vec::new());
        let mut results = Self {
            allocations: figures("allocations", &mut bars, &mut missing),
            burst: figures("burst", &mut bars, &mut missing).unwrap_or_default(),
            contention: figures("contention", &mut bars, &mut missing).unwrap_or_default(),
            end_to_end: figures("end_to_end", &mut bars, &mut missing).unwrap_or_default(),
            fleet: figures("fleet", &mut bars, &mut missing).unwrap_or_default(),
            hot_path: figures("hot_path", &mut bars, &mut missing).unwrap_or_default(),
            instructions: figures("instructions", &mut bars, &mut missing).unwrap_or_default(),
            renewal: figures("renewal", &mut bars, &mut missing).unwrap_or_default(),
            peers: bars::read("peers").unwrap_or_default(),
            bars,
            missing,
        };
        results.bars.sort_by(|a, b| a.name.cmp(&b.name));
        results
    }
}

fn figures<F: DeserializeOwned>(
    bench: &'static str,
    bars: &mut Vec<Measured>,
    missing: &mut Vec<&'static str>,
) -> Option<F> {
    let Some(report) = bars::read::<Report<F>>(bench) else {
        missing.push(bench);
        return None;
    };
    bars.extend(report.bars);
    Some(report.figures)
}
