//! What a caller costs that waits for a token together with many others, against the least that
//! waiting costs. `cargo bench --bench burst`. The heap that waiting takes is counted by the bench
//! `allocations`.
//!
//! Each burst is in a process of its own, as one that has just started. In a process that has had
//! bursts before, what they have left of the heap is a quarter of the time, or saves it. The burst
//! of 10,000 callers is measured in such a process too.

mod support;

use std::{env, iter};

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

/// The processes that have several bursts.
const LIVED_PROCESSES: usize = 10;

/// The measured bursts of each contender in such a process.
const ROUNDS_IN_A_PROCESS: usize = 4;

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

/// Prints seconds and fetches of each burst. The first number is that of the callers, the others
/// are the contenders.
fn run(numbers: &[usize]) {
    let (callers, contenders) = numbers.split_first().unwrap();
    Cold::run(WARM_UP, CONTENDERS[contenders[0]].1);
    let bursts = contenders.iter().map(|&contender| {
        let (time, fetches) = Cold::run(*callers, CONTENDERS[contender].1);
        (time.as_secs_f64(), fetches)
    });
    println!("{}", serde_json::to_string(&bursts.collect::<Vec<_>>()).unwrap());
}

/// Has a burst of each of these contenders in one process.
fn bursts_in_a_process(callers: usize, contenders: &[usize]) -> Vec<(f64, usize)> {
    let numbers = iter::once(&callers).chain(contenders).map(ToString::to_string);
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
        for burst in bursts_in_a_process(callers, &[contender]) {
            all[contender].add(callers, burst);
        }
    }
    all
}

/// Has one burst of every contender before each burst that is measured, in the same process. So all
/// contenders of a round find what the same bursts have left.
fn in_lived_processes(callers: usize) -> [Bursts; CONTENDERS.len()] {
    let mut all: [Bursts; CONTENDERS.len()] = Default::default();
    for process in 0..LIVED_PROCESSES {
        let order: Vec<usize> = (0..ROUNDS_IN_A_PROCESS)
            .flat_map(|round| in_turn(process + round).map(move |measured| (round, measured)))
            .flat_map(|(round, measured)| in_turn(round).chain([measured]))
            .collect();
        let bursts = bursts_in_a_process(callers, &order);
        let bursts = order.into_iter().zip(bursts);
        for (measured, burst) in bursts.skip(CONTENDERS.len()).step_by(CONTENDERS.len() + 1) {
            all[measured].add(callers, burst);
        }
    }
    all
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
