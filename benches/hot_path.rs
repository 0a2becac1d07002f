//! What signing a request costs when there is a valid token, as a multiple of what putting a static header on costs (2),
//! and that with a clone of the request kept (3).
//!
//! `cargo bench --bench hot_path` runs them in turn, for the ratios. With `-- --criterion`, criterion runs one after the
//! other, and says what has changed since its last run.

mod support;

use std::{env, time::Duration};

use criterion::Criterion;
use http::Request;
use support::{
    Body, Contender, KeepsAClone, Noop,
    bars::{P1, P2, Report},
    call,
    figures::HotPath,
    get, in_a_process, layer, median, medians, post, secret, static_header, with_header,
};
use tower::{Layer, retry::RetryLayer};

/// Where things lie in memory differs from process to process, and makes a difference of a twentieth.
const PROCESSES: usize = 15;

fn main() {
    let has = |option: &str| env::args().any(|argument| argument == option);
    if has("--criterion") {
        let [warm_up, measure] = [500, 1500].map(Duration::from_millis);
        let mut criterion = Criterion::default().warm_up_time(warm_up).measurement_time(measure);
        for_each_work(|work, token_length, contenders| {
            with_criterion(&mut criterion, work, token_length, contenders);
        });
    } else if has("--one-process") {
        let mut figures = Vec::new();
        for_each_work(|work, token_length, contenders| {
            figures.extend(in_turn(work, token_length, contenders));
        });
        println!("{}", serde_json::to_string(&figures).unwrap());
    } else {
        let mut report = Report::new("hot_path", in_processes());
        print(&report.figures);
        report_bars(&mut report);
        report.write();
    }
}

fn for_each_work(mut measure: impl FnMut(&str, usize, &mut [Contender<'_>])) {
    for token_length in [200, 2048] {
        for (work, make) in [
            ("GET, 4 headers", (|| get(4)) as fn() -> Request<Body>),
            ("GET, 12 headers", || get(12)),
            ("POST, 1 KiB", post),
        ] {
            measure(work, token_length, &mut contenders(token_length, make));
        }
    }
}

fn contenders(token_length: usize, make: fn() -> Request<Body>) -> Vec<Contender<'static>> {
    let token = secret(token_length);
    let value = static_header(&token);
    let mut bare = Noop;
    let mut signed = with_header(Noop, &value);
    let mut kept = with_header(Noop, &value);
    let mut retried = RetryLayer::new(KeepsAClone).layer(with_header(Noop, &value));
    let mut ours = layer(&token).layer(Noop);
    let mut ours_without_replay = layer(&token).without_replay().layer(Noop);
    vec![
        Contender::new("bare no-op service", make, move |request| call(&mut bare, request)),
        Contender::new("(2) static header", make, move |request| call(&mut signed, request)),
        Contender::new("(3) static header, clone kept", make, move |request: Request<Body>| {
            let clone = std::hint::black_box(request.clone());
            call(&mut kept, request);
            drop(std::hint::black_box(clone));
        }),
        Contender::new("tower Retry over (2)", make, move |request| call(&mut retried, request)),
        Contender::new("tower-reauth", make, move |request| call(&mut ours, request)),
        Contender::new("tower-reauth, no replay", make, move |request| {
            call(&mut ours_without_replay, request);
        }),
    ]
}

fn in_turn(work: &str, token_length: usize, contenders: &mut [Contender<'_>]) -> Vec<HotPath> {
    let medians = medians(150, 100, contenders);
    let figure = |(contender, &ns): (&Contender<'_>, &f64)| {
        let (name, work) = (contender.name.clone(), work.to_owned());
        HotPath { name, work, token_length, ns, x2: ns / medians[1], x3: ns / medians[2] }
    };
    contenders.iter().zip(&medians).map(figure).collect()
}

/// The medians of what several processes have measured.
fn in_processes() -> Vec<HotPath> {
    let all: Vec<Vec<HotPath>> = (0..PROCESSES).map(|_| in_a_process(&["--one-process"])).collect();
    let mut figures = all[0].clone();
    for (index, figure) in figures.iter_mut().enumerate() {
        let of =
            |field: fn(&HotPath) -> f64| median(all.iter().map(|one| field(&one[index])).collect());
        (figure.ns, figure.x2, figure.x3) = (of(|one| one.ns), of(|one| one.x2), of(|one| one.x3));
    }
    figures
}

fn print(figures: &[HotPath]) {
    let mut last = String::new();
    for HotPath { name, work, token_length, ns, x2, x3 } in figures {
        let title = format!("{work}, token of {token_length} bytes");
        if title != last {
            println!("{title}");
        }
        println!("  {name:30} {ns:7.1} ns  {x2:5.2} x(2)  {x3:5.2} x(3)");
        last = title;
    }
}

fn report_bars(report: &mut Report<Vec<HotPath>>) {
    for figure in report.figures.clone() {
        let case = format!("{}, token of {} bytes", figure.work, figure.token_length);
        match &*figure.name {
            _ if figure.work == "GET, 12 headers" => {}
            "tower-reauth" => report.bar(&P1, case, figure.x3),
            "tower-reauth, no replay" => report.bar(&P2, case, figure.x2),
            _ => {}
        }
    }
}

fn with_criterion(
    criterion: &mut Criterion,
    work: &str,
    token_length: usize,
    contenders: &mut [Contender<'_>],
) {
    let mut group = criterion.benchmark_group(format!("{work}, token of {token_length} bytes"));
    for Contender { name, run } in contenders {
        group.bench_function(name.as_str(), |bencher| {
            bencher.iter_custom(|calls| {
                let hundreds: Duration = (0..calls / 100).map(|_| run(100)).sum();
                hundreds + run(u32::try_from(calls % 100).unwrap())
            });
        });
    }
}
