//! What a caller costs that waits for a token together with many others, against the least that waiting costs.
//! `cargo bench --bench burst`. The heap that waiting takes is counted by the bench `allocations`.
//!
//! Each burst is in a process of its own, as one that has just started: in a process that has had bursts before, what
//! they have left of the heap is a quarter of the time, or saves it.

mod support;

use std::env;

use support::{
    as_f64,
    bars::{P5_FETCHES, P5_TIME, Report},
    burst::{Burst as Cold, CONTENDERS, FLOOR, OURS},
    figures::Burst,
    in_a_process, median, median_ratio,
};

/// As many callers as it takes to have run all of the code once.
const WARM_UP: usize = 10;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(option) = arguments.iter().position(|argument| argument == "--one-burst") {
        let [contender, callers] =
            [1, 2].map(|after| arguments[option + after].parse::<usize>().unwrap());
        let (_, spawn) = CONTENDERS[contender];
        Cold::run(WARM_UP, spawn);
        let (time, fetches) = Cold::run(callers, spawn);
        println!("{}", serde_json::to_string(&(time.as_secs_f64(), fetches)).unwrap());
        return;
    }
    let mut report = Report::new("burst", Vec::new());
    for (callers, rounds) in [(1, 60), (100, 60), (1_000, 60), (10_000, 60), (100_000, 7)] {
        measure(&mut report, callers, rounds);
    }
    report.write();
}

fn measure(report: &mut Report<Vec<Burst>>, callers: usize, rounds: usize) {
    let mut samples = vec![Vec::with_capacity(rounds); CONTENDERS.len()];
    let mut fetches = vec![0; CONTENDERS.len()];
    for round in 0..rounds {
        for turn in 0..CONTENDERS.len() {
            let turn = (turn + round) % CONTENDERS.len();
            let (seconds, count): (f64, usize) =
                in_a_process(&["--one-burst", &turn.to_string(), &callers.to_string()]);
            fetches[turn] = count.max(fetches[turn]);
            samples[turn].push(seconds * 1e9 / as_f64(callers));
        }
    }
    println!("{callers} callers");
    for (((name, _), times), &fetches) in CONTENDERS.iter().zip(&samples).zip(&fetches) {
        let ns_per_waiter = median(times.clone());
        let over = median_ratio(times, &samples[FLOOR]);
        println!(
            "  {name:30} {fetches} fetch {ns_per_waiter:9.1} ns per waiter {over:5.2} x floor"
        );
        report.figures.push(Burst { name: (*name).to_owned(), callers, fetches, ns_per_waiter });
    }
    if callers == 10_000 {
        report.bar(&P5_FETCHES, format!("{callers} callers"), as_f64(fetches[OURS]));
        report.bar(
            &P5_TIME,
            format!("{callers} callers"),
            median_ratio(&samples[OURS], &samples[FLOOR]),
        );
    }
}
