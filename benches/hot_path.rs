//! What signing a request costs when there is a valid token, as a multiple of what putting a static
//! header on costs (2), and that with a clone of the request kept (3).
//!
//! `cargo bench --bench hot_path` runs them in turn, for the ratios. With `-- --criterion`,
//! criterion runs one after the other, and says what has changed since its last run.

mod support;

use std::{convert::Infallible, env, future::ready, hint::black_box, time::Duration};

use criterion::Criterion;
use http::{Request, Response};
use support::{
    Body, Contender, KeepsAClone, Noop,
    bars::{P1, P1_COLD, P2, P2_COLD, Report},
    call,
    figures::{HotPath, Work},
    get, in_a_process, layer, median, medians, post, secret, static_header, with_header,
};
use tower::{Layer, Service, retry::RetryLayer, service_fn};

/// Where things lie in memory differs from process to process, and makes a difference of a
/// twentieth.
const PROCESSES: usize = 15;

/// The calls of a contender's turn. The requests are made before them.
const CALLS: u32 = 100;

/// The calls of a turn with requests that lie cold. So many requests take 250 KB or more, so each
/// has left the first-level cache when it is signed.
const COLD_CALLS: u32 = 256;

/// The calls of each contender in one process, after those that warm up.
const CALLS_IN_A_PROCESS: u32 = 15_000;

fn main() {
    let has = |option: &str| env::args().any(|argument| argument == option);
    if has("--criterion") {
        let [warm_up, measure] = [500, 1500].map(Duration::from_millis);
        let mut criterion = Criterion::default().warm_up_time(warm_up).measurement_time(measure);
        for_each_work(|work, contenders| with_criterion(&mut criterion, work, contenders));
    } else if has("--one-process") {
        let mut figures = Vec::new();
        for_each_work(|work, contenders| figures.extend(in_turn(work, contenders)));
        println!("{}", serde_json::to_string(&figures).unwrap());
    } else {
        let mut report = Report::new("hot_path", in_processes());
        print(&report.figures);
        report_bars(&mut report);
        report.write();
    }
}

fn for_each_work(mut measure: impl FnMut(&Work, &mut [Contender<'_>])) {
    for cold in [false, true] {
        for token_length in [200, 2048] {
            for (request, make) in [
                ("GET, 4 headers", (|| get(4)) as fn() -> Request<Body>),
                ("GET, 12 headers", || get(12)),
                ("POST, 1 KiB", post),
            ] {
                let work = Work { request: request.to_owned(), token_length, cold };
                let mut contenders = if cold {
                    contenders(service_fn(answer_with_a_body), token_length, make)
                } else {
                    contenders(Noop, token_length, make)
                };
                measure(&work, &mut contenders);
            }
        }
    }
}

/// Answers at once, as [`Noop`] does, with the type of body that a response has in a client.
fn answer_with_a_body(
    request: Request<Body>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(Body::default())))
}

fn contenders<S, B>(
    inner: S,
    token_length: usize,
    make: fn() -> Request<Body>,
) -> Vec<Contender<'static>>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Copy + 'static,
    B: 'static,
{
    let token = secret(token_length);
    let value = static_header(&token);
    let mut bare = inner;
    let mut signed = with_header(inner, &value);
    let mut kept = with_header(inner, &value);
    let mut retried = RetryLayer::new(KeepsAClone).layer(with_header(inner, &value));
    let mut ours = layer(&token).layer(inner);
    let mut ours_without_replay = layer(&token).without_replay().layer(inner);
    vec![
        Contender::new("bare no-op service", make, move |request| call(&mut bare, request)),
        Contender::new("(2) static header", make, move |request| call(&mut signed, request)),
        Contender::new("(3) static header, clone kept", make, move |request: Request<Body>| {
            let clone = black_box(request.clone());
            call(&mut kept, request);
            drop(black_box(clone));
        }),
        Contender::new("tower Retry over (2)", make, move |request| call(&mut retried, request)),
        Contender::new("tower-reauth", make, move |request| call(&mut ours, request)),
        Contender::new("tower-reauth, no replay", make, move |request| {
            call(&mut ours_without_replay, request);
        }),
    ]
}

fn in_turn(work: &Work, contenders: &mut [Contender<'_>]) -> Vec<HotPath> {
    let calls = calls_of(work);
    let rounds = usize::try_from(CALLS_IN_A_PROCESS / calls).unwrap();
    let medians = medians(rounds, calls, contenders);
    let figure = |(contender, &ns): (&Contender<'_>, &f64)| {
        let (name, work) = (contender.name.clone(), work.clone());
        HotPath { name, work, ns, x2: ns / medians[1], x3: ns / medians[2] }
    };
    contenders.iter().zip(&medians).map(figure).collect()
}

fn calls_of(work: &Work) -> u32 {
    if work.cold { COLD_CALLS } else { CALLS }
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
    let mut last = None;
    for HotPath { name, work, ns, x2, x3 } in figures {
        if last != Some(work) {
            println!("{work}");
        }
        println!("  {name:30} {ns:7.1} ns  {x2:5.2} x(2)  {x3:5.2} x(3)");
        last = Some(work);
    }
}

fn report_bars(report: &mut Report<Vec<HotPath>>) {
    for HotPath { name, work, x2, x3, .. } in report.figures.clone() {
        let (with_replay, without_replay) = if work.cold { (P1_COLD, P2_COLD) } else { (P1, P2) };
        match &*name {
            _ if work.request == "GET, 12 headers" => {}
            "tower-reauth" => report.bar(&with_replay, work.to_string(), x3),
            "tower-reauth, no replay" => report.bar(&without_replay, work.to_string(), x2),
            _ => {}
        }
    }
}

fn with_criterion(criterion: &mut Criterion, work: &Work, contenders: &mut [Contender<'_>]) {
    let turn = calls_of(work);
    let mut group = criterion.benchmark_group(work.to_string());
    for Contender { name, run } in contenders {
        group.bench_function(name.as_str(), |bencher| {
            bencher.iter_custom(|calls| {
                let turns: Duration = (0..calls / u64::from(turn)).map(|_| run(turn)).sum();
                turns + run(u32::try_from(calls % u64::from(turn)).unwrap())
            });
        });
    }
}
