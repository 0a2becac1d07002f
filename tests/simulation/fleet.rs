//! Fleets of processes on the crate itself, at a paused clock: caches with a store in common, and
//! whatever goes wrong between them, with the store, with the endpoint, and with themselves.
//!
//! ```text
//! cargo test --release -p simulation fleet                        20 seeds
//! FLEET_SEEDS=5000 cargo test --release -p simulation fleet       more of them
//! FLEET_SEED=42 cargo test --release -p simulation fleet          one again
//! ```

mod figures;
mod link;
mod process;
mod storm;
mod world;

use tokio::runtime::Builder;

use self::storm::Report;

#[test]
fn fleets_keep_their_promises_in_every_seed() {
    let number = |name| std::env::var(name).ok().map(|value: String| value.parse::<u64>().unwrap());
    if let Some(seed) = number("FLEET_SEED") {
        let report = play(seed);
        println!("{report:#?}");
        return;
    }
    let seeds = number("FLEET_SEEDS").unwrap_or(20);
    for seed in 0..seeds {
        let r = play(seed);
        println!(
            "{seed} {:?} n{} life {:?} {:?} posts {} tokens {} faults {} fp {} alone {} answered {} wire {} seen {} errors {} hold {:?} delay {:?} rec {:?} WRONG {} {:?}",
            r.plan.faults,
            r.plan.processes,
            r.plan.lifetime,
            r.plan.store_down,
            r.posts,
            r.tokens,
            r.faults,
            r.faulty_posts,
            r.alone,
            r.answered,
            r.wire,
            r.seen,
            r.errors,
            r.longest_hold,
            r.longest_delay,
            r.recovery,
            r.wrong.len(),
            r.wrong.first()
        );
    }
}

fn play(seed: u64) -> Report {
    // The crate's own chance.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(storm::play(seed))
}
