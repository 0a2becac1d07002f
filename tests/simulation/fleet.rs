//! Fleets of processes on the crate itself, at a paused clock: caches with a store in common, and
//! whatever goes wrong between them, with the store, with the endpoint, and with themselves.
//!
//! A request with a token that lives is held for no longer than its bound (promise 82), each lease
//! that its process hears of anew. That is checked for each request, by what really is.
//!
//! Left out is what one process alone decides or a real store has to show: sealed tokens,
//! credentials that change, a machine that sleeps, and a store whose replica takes over. The tests of
//! the behaviour and of the stores have them.
//!
//! The network is not turmoil's. That visits each host at each tick, which a hundred hosts and
//! minutes of waiting make too slow. Here nothing happens between two events.
//!
//! ```text
//! cargo test --release -p simulation fleet                        a few seeds
//! FLEET_SEEDS=5000 cargo test --release -p simulation fleet       more of them
//! FLEET_FROM=5000 FLEET_SEEDS=5000 cargo test --release -p simulation fleet
//!                                                                 others
//! FLEET_SEED=42 cargo test --release -p simulation fleet          one again, with its events
//! FLEET_TABLE=2,10,100 cargo test --release -p simulation table -- --nocapture
//!                                                    what one renewal costs so many processes
//! ```

mod endpoint;
mod figures;
mod link;
mod plan;
mod process;
mod storm;
mod table;
mod world;

use std::{
    cell::Cell,
    panic,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::runtime::Builder;
use tower_reauth::BoxError;

use self::plan::Report;
use crate::seeds;

thread_local! {
    /// Panics of this thread, those included that somebody has caught.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn fleets_keep_their_promises_in_every_seed() {
    count_panics();
    if let Some(seed) = seeds::number("FLEET_SEED") {
        let report = play(seed);
        println!("{report:#?}");
        return check(&report).unwrap();
    }
    let few = if cfg!(debug_assertions) { 4 } else { 10 };
    let first = seeds::number("FLEET_FROM").unwrap_or(0);
    let seeds = first..first + seeds::number("FLEET_SEEDS").unwrap_or(few);
    let started = Instant::now();
    let traces = AtomicU64::new(0);
    let failed = seeds::failures(seeds.clone(), |seed| {
        let report = play(seed);
        traces.fetch_add(report.trace, Ordering::Relaxed);
        check(&report)
    });
    seeds::report(&failed, |seed| {
        format!("FLEET_SEED={seed} cargo test --release -p simulation fleets -- --nocapture")
    });
    let (seconds, traces) = (started.elapsed().as_secs_f64(), traces.into_inner());
    println!("fleets {seeds:?} in {seconds:.1} s, trace {traces:016x}");
}

#[test]
fn a_seed_plays_the_same_each_time() {
    // Without optimization a few take as long as all other tests of this binary.
    let seeds = if cfg!(debug_assertions) { 1 } else { 64 };
    for seed in 0..seeds {
        let (once, again) = (play(seed), play(seed));
        assert_eq!(once.trace, again.trace, "seed {seed}\n{once:#?}\n{again:#?}");
    }
}

fn play(seed: u64) -> Report {
    PANICS.set(0);
    // The crate's own chance.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(storm::play(seed))
}

fn check(report: &Report) -> Result<(), BoxError> {
    let mut wrong = report.wrong();
    if PANICS.get() > 0 {
        wrong.push(format!("{} panics", PANICS.get()));
    }
    let Some(first) = wrong.first() else { return Ok(()) };
    Err(format!("{first} ({} in all): {:?}", wrong.len(), report.plan).into())
}

/// Has panics counted beside what is done with them anyway.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}
