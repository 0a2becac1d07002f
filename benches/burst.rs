//! What a caller costs that waits for a token together with many others, against the least that waiting costs.
//! `cargo bench --bench burst`. The heap that waiting takes is counted by the bench `allocations`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a bench")]

mod support;

use support::{
    as_f64,
    bars::{P5_FETCHES, P5_TIME, Report},
    burst::{Burst as Cold, CONTENDERS, FLOOR, OURS},
    figures::Burst,
    median, median_ratio,
};

fn main() {
    let mut report = Report::new("burst", Vec::new());
    for (callers, rounds) in [(1, 100), (100, 100), (1_000, 60), (10_000, 30), (100_000, 5)] {
        measure(&mut report, callers, rounds);
    }
    report.write();
}

fn measure(report: &mut Report<Vec<Burst>>, callers: usize, rounds: usize) {
    let mut samples = vec![Vec::with_capacity(rounds); CONTENDERS.len()];
    let mut fetches = vec![0; CONTENDERS.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..CONTENDERS.len() {
            let turn = (turn + round) % CONTENDERS.len();
            let (time, count) = Cold::run(callers, CONTENDERS[turn].1);
            fetches[turn] = count.max(fetches[turn]);
            if round > 0 {
                samples[turn].push(time.as_secs_f64() * 1e9 / as_f64(callers));
            }
        }
    }
    println!("{callers} callers");
    for (((name, _), times), &fetches) in CONTENDERS.iter().zip(&samples).zip(&fetches) {
        let ns_per_waiter = median(times.clone());
        let over = median_ratio(times, &samples[FLOOR]);
        println!("  {name:30} {fetches} fetch {ns_per_waiter:9.1} ns per waiter {over:5.2} x floor");
        report.figures.push(Burst { name: (*name).to_owned(), callers, fetches, ns_per_waiter });
    }
    if callers == 10_000 {
        report.bar(&P5_FETCHES, format!("{callers} callers"), as_f64(fetches[OURS]));
        report.bar(&P5_TIME, format!("{callers} callers"), median_ratio(&samples[OURS], &samples[FLOOR]));
    }
}
