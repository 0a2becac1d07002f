//! What a second worker thread brings when many tasks send at once, each through its own clone of
//! the service. What all cores write to shows here: a bare service gets nearly twice as fast.
//! `cargo bench --bench contention`.

mod support;

use std::{
    fmt::Debug,
    hint::black_box,
    time::{Duration, Instant},
};

use http::{Request, Response};
use support::{
    Body, KeepsAClone, Noop, as_f64,
    bars::{P4, Report},
    figures::Contention,
    get, layer, quantile, secret, static_header, with_header,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinSet, yield_now},
};
use tower::{Layer, Service, ServiceExt, retry::RetryLayer};

/// Of all tasks together, in one run of one contender.
const CALLS: usize = 32_768;

/// A task lets others run after so many calls, as one that waits for answers would.
const CALLS_BETWEEN_YIELDS: usize = 16;

/// A bare service that gains less than this from a second worker says that others use that core:
/// with a core of its own each, it gains 1.85 or more.
const BUSY: f64 = 1.8;

/// The time that counts is that which so many of the rounds do not exceed.
const FASTEST: f64 = 0.025;

/// Sends through so many tasks.
type Run = Box<dyn Fn(&Runtime, usize) -> Duration>;

fn main() {
    let workers = [1, 2].map(runtime);
    let contenders = contenders();
    let mut report = Report::new("contention", Vec::new());
    let (mut bar, mut bare) = (0.0, 0.0);
    for (tasks, rounds) in [(1, 40), (2, 40), (64, 200), (1024, 40)] {
        let speedups = measure(&mut report, &workers, &contenders, tasks, rounds);
        if tasks == 64 {
            let ours = contenders.iter().position(|(name, _)| *name == "tower-reauth").unwrap();
            (bar, bare) = (speedups[ours] / speedups[0], speedups[0]);
        }
    }
    // Without a second core nothing can be said of what is shared between cores.
    let bar = (bare >= BUSY).then_some(bar);
    report.bar(&P4, format!("64 tasks; the bare service itself is {bare:.2} x as fast"), bar);
    report.write();
}

fn contenders() -> Vec<(&'static str, Run)> {
    let token = secret(200);
    let value = static_header(&token);
    vec![
        ("bare no-op service", run(Noop)),
        ("(2) static header", run(with_header(Noop, &value))),
        (
            "tower Retry over (2)",
            run(RetryLayer::new(KeepsAClone).layer(with_header(Noop, &value))),
        ),
        ("tower-reauth", run(layer(&token).layer(Noop))),
        ("tower-reauth, no replay", run(layer(&token).without_replay().layer(Noop))),
    ]
}

fn measure(
    report: &mut Report<Vec<Contention>>,
    workers: &[Runtime; 2],
    contenders: &[(&'static str, Run)],
    tasks: usize,
    rounds: usize,
) -> Vec<f64> {
    let mut times = vec![[Vec::new(), Vec::new()]; contenders.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let turn = (turn + round) % contenders.len();
            for (runtime, times) in workers.iter().zip(&mut times[turn]) {
                let time = contenders[turn].1(runtime, tasks);
                if round > 0 {
                    times.push(time.as_secs_f64() * 1e9 / as_f64(CALLS));
                }
            }
        }
    }
    println!("{tasks} tasks");
    let mut speedups = Vec::with_capacity(contenders.len());
    for ((name, _), times) in contenders.iter().zip(times) {
        // Whatever else uses the second core makes two workers slower, and one worker hardly.
        let [ns_one_worker, ns_two_workers] = times.map(|times| quantile(times, FASTEST));
        let speedup = ns_one_worker / ns_two_workers;
        println!(
            "  {name:30} {ns_one_worker:7.1} ns, two workers {ns_two_workers:7.1} ns, \
             {speedup:5.2} x as fast"
        );
        speedups.push(speedup);
        let name = (*name).to_owned();
        report.figures.push(Contention { name, tasks, ns_one_worker, ns_two_workers, speedup });
    }
    speedups
}

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).build().unwrap()
}

fn run<S>(service: S) -> Run
where
    S: Service<Request<Body>, Response = Response<()>> + Clone + Send + Sync + 'static,
    S::Error: Debug,
    S::Future: Send,
{
    Box::new(move |runtime, tasks| {
        let service = service.clone();
        // On a worker, so that spawning wakes nobody on another thread.
        runtime.block_on(async move { tokio::spawn(send(service, tasks)).await.unwrap() })
    })
}

async fn send<S>(service: S, tasks: usize) -> Duration
where
    S: Service<Request<Body>, Response = Response<()>> + Clone + Send + 'static,
    S::Error: Debug,
    S::Future: Send,
{
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..tasks {
        senders.spawn(send_some(service.clone(), CALLS / tasks));
    }
    senders.join_all().await;
    start.elapsed()
}

async fn send_some<S>(mut service: S, calls: usize)
where
    S: Service<Request<Body>, Response = Response<()>>,
    S::Error: Debug,
{
    for call in 0..calls {
        if call % CALLS_BETWEEN_YIELDS == 0 {
            yield_now().await;
        }
        // Made for each call, as clients do. A clone of one that the task has would have no room
        // for one more header, and growing is the allocator's, not the contender's.
        let request = get(4);
        black_box(service.ready().await.unwrap().call(request).await.unwrap());
    }
}
