//! What a caller costs that waits for a token together with many others, against the least that
//! waiting costs. `cargo bench --bench burst`. The heap that waiting takes is counted by the bench
//! `allocations`.
//!
//! Each burst is in a process of its own, as one that has just started. The burst of 10,000 callers
//! is also measured in processes that have lived: each has had bursts of the same contender before,
//! and other work that has split up its heap.

mod support;

use std::{env, iter, mem};

use support::{
    as_f64,
    bars::{P5_FETCHES, P5_TIME, P5_TIME_LIVED, Report},
    burst::{Burst as Cold, CONTENDERS, FLOOR, OURS},
    figures::Burst,
    in_a_process, median, median_ratio,
};

/// As many callers as it takes to have run all of the code once.
const WARM_UP: usize = 10;

/// The callers of the burst that the bars are for.
const CALLERS: usize = 10_000;

/// The processes of each contender that have several bursts.
const LIVED_PROCESSES: usize = 24;

/// The measured bursts of such a process, after one that is not.
const ROUNDS_IN_A_PROCESS: usize = 8;

/// The other work of a process: blocks of memory come and go, and half of them stay.
struct OtherWork {
    random: fastrand::Rng,
    /// How many blocks come before each burst.
    blocks: usize,
    kept: Vec<Vec<u8>>,
}

/// The bursts of one contender.
#[derive(Default)]
struct Bursts {
    ns_per_waiter: Vec<f64>,
    /// The most that one of them had.
    fetches: usize,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(option) = arguments.iter().position(|argument| argument == "--bursts") {
        let numbers = arguments[option + 1..].iter().map(|number| number.parse().unwrap());
        run(&numbers.collect::<Vec<usize>>());
        return;
    }
    let mut report = Report::new("burst", Vec::new());
    for (callers, rounds) in [(1, 60), (100, 60), (1_000, 60), (CALLERS, 60), (100_000, 7)] {
        measure(&mut report, callers, rounds);
    }
    report.write();
}

/// Prints seconds and fetches of each burst. The numbers are those of the callers, the contender,
/// the bursts and, if there is other work between them, its seed.
fn run(numbers: &[usize]) {
    let (&[callers, contender, rounds], seed) = numbers.split_first_chunk().unwrap();
    let mut other_work = seed.first().map(|&seed| OtherWork::new(seed));
    Cold::run(WARM_UP, CONTENDERS[contender].1);
    let bursts = iter::repeat_with(|| {
        other_work.iter_mut().for_each(OtherWork::run);
        let (time, fetches) = Cold::run(callers, CONTENDERS[contender].1);
        (time.as_secs_f64(), fetches)
    });
    println!("{}", serde_json::to_string(&bursts.take(rounds).collect::<Vec<_>>()).unwrap());
}

/// Has bursts of this contender in one process.
fn bursts_in_a_process(numbers: &[usize]) -> Vec<(f64, usize)> {
    let numbers = numbers.iter().map(ToString::to_string);
    let arguments: Vec<String> = iter::once("--bursts".to_owned()).chain(numbers).collect();
    in_a_process(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>())
}

/// The contenders, another one first in each round.
fn in_turn(round: usize) -> impl Iterator<Item = usize> {
    (0..CONTENDERS.len()).map(move |turn| (turn + round) % CONTENDERS.len())
}

/// Has each burst in a process that has had none before.
fn in_fresh_processes(callers: usize, rounds: usize) -> [Bursts; CONTENDERS.len()] {
    let mut all: [Bursts; CONTENDERS.len()] = Default::default();
    for contender in (0..rounds).flat_map(in_turn) {
        for burst in bursts_in_a_process(&[callers, contender, 1]) {
            all[contender].add(callers, burst);
        }
    }
    all
}

/// Has the bursts of each contender in processes that have had such bursts, and other work. That
/// work is the same for all contenders, and another one in each process.
fn in_lived_processes(callers: usize) -> [Bursts; CONTENDERS.len()] {
    let mut all: [Bursts; CONTENDERS.len()] = Default::default();
    for process in 0..LIVED_PROCESSES {
        for contender in in_turn(process) {
            let numbers = [callers, contender, 1 + ROUNDS_IN_A_PROCESS, process];
            for burst in bursts_in_a_process(&numbers).into_iter().skip(1) {
                all[contender].add(callers, burst);
            }
        }
    }
    all
}

impl OtherWork {
    fn new(seed: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.try_into().unwrap());
        let blocks = 1_000 << random.u32(0..7);
        Self { random, blocks, kept: Vec::new() }
    }

    fn run(&mut self) {
        for _ in 0..self.blocks {
            let block = Vec::with_capacity(self.random.usize(16..2048));
            if self.kept.len() < self.blocks / 2 {
                self.kept.push(block);
            } else {
                let place = self.random.usize(..self.kept.len());
                drop(mem::replace(&mut self.kept[place], block));
            }
        }
    }
}

impl Bursts {
    fn add(&mut self, callers: usize, (seconds, fetches): (f64, usize)) {
        self.ns_per_waiter.push(seconds * 1e9 / as_f64(callers));
        self.fetches = self.fetches.max(fetches);
    }

    fn median(&self) -> f64 {
        median(self.ns_per_waiter.clone())
    }

    fn over(&self, floor: &Self) -> f64 {
        median_ratio(&self.ns_per_waiter, &floor.ns_per_waiter)
    }
}

fn measure(report: &mut Report<Vec<Burst>>, callers: usize, rounds: usize) {
    let case = format!("{callers} callers");
    let fresh = in_fresh_processes(callers, rounds);
    print(&case, &fresh);
    let case_lived = format!("{case}, in a process that has lived");
    let lived = (callers == CALLERS).then(|| in_lived_processes(callers));
    if let Some(lived) = &lived {
        print(&case_lived, lived);
        let fetches = fresh[OURS].fetches.max(lived[OURS].fetches);
        report.bar(&P5_FETCHES, &case, as_f64(fetches));
        report.bar(&P5_TIME, &case, fresh[OURS].over(&fresh[FLOOR]));
        report.bar(&P5_TIME_LIVED, &case_lived, lived[OURS].over(&lived[FLOOR]));
    }
    for (index, ((name, _), fresh)) in CONTENDERS.iter().zip(&fresh).enumerate() {
        report.figures.push(Burst {
            name: (*name).to_owned(),
            callers,
            fetches: fresh.fetches,
            ns_per_waiter: fresh.median(),
            ns_per_waiter_lived: lived.as_ref().map(|lived| lived[index].median()),
        });
    }
}

fn print(case: &str, all: &[Bursts]) {
    println!("{case}");
    for ((name, _), bursts) in CONTENDERS.iter().zip(all) {
        let (fetches, ns, over) = (bursts.fetches, bursts.median(), bursts.over(&all[FLOOR]));
        println!("  {name:30} {fetches} fetch {ns:9.1} ns per waiter {over:5.2} x floor");
    }
}
