//! What is measured, one file each.

pub mod burst;
pub mod contention;
pub mod failures;
pub mod hot_path;

use std::time::Duration;

use crate::{peer::Peer, support};

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The median of what has been measured, if anything.
fn median(samples: Vec<f64>) -> Option<f64> {
    (!samples.is_empty()).then(|| support::median(samples))
}

/// The median of a number of things; `None` if one round had none.
fn count(samples: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    let mut samples = samples.collect::<Option<Vec<_>>>()?;
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}

/// One that has its turn in each round, as long as its time lasts.
struct Turns<S> {
    name: &'static str,
    once: Box<dyn FnMut() -> S>,
    samples: Vec<S>,
    spent: Duration,
}

impl<S> Turns<S> {
    fn new<P: Peer>(once: impl FnMut() -> S + 'static) -> Self {
        Self { name: P::NAME, once: Box::new(once), samples: Vec::new(), spent: Duration::ZERO }
    }
}

/// Runs all in turn; one that is slow stops early, but not before its first sample.
fn rounds<S>(count: usize, budget: Duration, contenders: &mut [Turns<S>]) {
    for _ in 0..count {
        for contender in contenders.iter_mut().filter(|contender| contender.spent < budget) {
            let start = std::time::Instant::now();
            let sample = (contender.once)();
            contender.samples.push(sample);
            contender.spent += start.elapsed();
        }
    }
}
