//! Many seeds, on all cores.

use std::{
    any::Any,
    num::NonZero,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tower_reauth::BoxError;

/// The most seeds that may fail before the others are left out.
const MOST: usize = 10;

/// A seed, and what is wrong with it.
pub(crate) type Failure = (u64, String);

/// Returns the number in this variable of the environment, if there is one.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Simulates seeds on all cores. Returns those that fail, in order. A panic is a failure too.
pub(crate) fn failures(
    seeds: Range<u64>,
    simulate: impl Fn(u64) -> Result<(), BoxError> + Sync,
) -> Vec<Failure> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while failed.lock().unwrap().len() < MOST {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let error = match catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("a panic: {}", message(&*panic)),
            };
            failed.lock().unwrap().push((seed, error));
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

/// Panics if seeds have failed, with each of them and the command that plays it `again`.
pub(crate) fn report(failed: &[Failure], again: impl Fn(u64) -> String) {
    let line = |(seed, error): &Failure| {
        format!("seed {seed}: {error}\n  to see it again: {}", again(*seed))
    };
    let lines: Vec<_> = failed.iter().map(line).collect();
    assert!(lines.is_empty(), "{} seeds failed\n{}", lines.len(), lines.join("\n"));
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[test]
fn a_seed_that_fails_or_panics_is_told_with_the_way_to_play_it_again() {
    let failed = failures(10..20, |seed| match seed {
        13 => Err("an unlucky one".into()),
        17 => panic!("seventeen"),
        _ => Ok(()),
    });
    let wrong = |seed, error: &str| (seed, error.to_owned());
    assert_eq!(failed, [wrong(13, "an unlucky one"), wrong(17, "a panic: seventeen")]);
    let told = catch_unwind(|| report(&failed, |seed| format!("SEED={seed} cargo test")));
    let told = told.unwrap_err();
    let told = message(&*told);
    assert!(told.contains("seed 13: an unlucky one"), "{told}");
    assert!(told.contains("SEED=17 cargo test"), "{told}");
}
