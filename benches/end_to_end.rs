//! Requests per second of hyper's client against an axum server over loopback, with the layer and
//! without. `cargo bench --bench end_to_end`.
//!
//! The bar compares with the same client that puts a static header of the same length on: what
//! needs a token is not called without one, and the header costs on the wire and in the server,
//! whoever puts it on. The client without any is shown, too.

mod support;

use std::{
    convert::Infallible,
    env,
    future::IntoFuture,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::{
    Body, KeepsAClone, as_f64,
    bars::{P6, Report},
    figures::EndToEnd,
    in_a_process_of, layer_for, median, median_ratio, secret, static_header, with_header,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::Barrier,
    task::JoinSet,
};
use tower::{Layer, Service, ServiceExt, retry::RetryLayer};

const WORKERS: usize = 32;
/// Few, so that what slows the machine down for a while slows all contenders of a round down.
const REQUESTS_PER_WORKER: usize = 10;
const ROUNDS: usize = 60;
/// Where data lies differs from process to process: their ratios have a standard deviation of
/// 0.005, with 60 rounds as well as with 200. So there are many processes of few rounds.
const PROCESSES: usize = 8;
/// Where code lies differs from build to build by as much, and no process of a build shows that. So
/// the linker puts the functions in several orders.
const ORDERS: usize = 6;
const OURS: &str = "tower-reauth";

/// One of those that are compared: its workers are tasks that live through all rounds, as those of
/// a service do. What it takes to spawn them, and the room that they take, is not measured.
struct Contender {
    name: &'static str,
    /// The workers and the stopwatch meet here before each of their turns, and after it.
    barrier: Arc<Barrier>,
    workers: JoinSet<Infallible>,
}

fn main() {
    if env::args().any(|argument| argument == "--one-process") {
        println!("{}", serde_json::to_string(&in_one_process()).unwrap());
    } else {
        let mut report = Report::new("end_to_end", in_processes());
        print(&report.figures);
        for figure in report.figures.clone() {
            if figure.name == OURS {
                report.bar(&P6, &figure.protocol, figure.to_static);
            }
        }
        report.write();
    }
}

fn in_one_process() -> Vec<EndToEnd> {
    let address = serve();
    let in_turn = |(protocol, http2)| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut contenders = contenders(&runtime, address, http2);
        measure(protocol, &runtime, &mut contenders)
    };
    [("HTTP/1.1", false), ("HTTP/2", true)].into_iter().flat_map(in_turn).collect()
}

/// The medians of what several processes of several builds have measured.
fn in_processes() -> Vec<EndToEnd> {
    // All are linked before the first is measured, and they take turns: what slows the machine down
    // for a while then falls on every order.
    let programs: Vec<_> = (1..=ORDERS).map(linked_in_order).collect();
    let in_turn = (0..PROCESSES).flat_map(|_| &programs);
    let all: Vec<Vec<EndToEnd>> =
        in_turn.map(|program| in_a_process_of(program, &["--one-process"])).collect();
    let mut figures = all[0].clone();
    for (index, figure) in figures.iter_mut().enumerate() {
        let of = |field: fn(&EndToEnd) -> f64| {
            median(all.iter().map(|one| field(&one[index])).collect())
        };
        (figure.requests_per_second, figure.ratio, figure.to_static) =
            (of(|one| one.requests_per_second), of(|one| one.ratio), of(|one| one.to_static));
    }
    figures
}

/// Builds this bench with its functions in another order. Returns this program itself, and says so,
/// where the linker can't do that.
fn linked_in_order(order: usize) -> PathBuf {
    let this = env::current_exe().unwrap();
    let target = this.ancestors().nth(3).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["rustc", "--locked", "--profile=bench", "--bench=end_to_end", "--target-dir"]);
    cargo.arg(target).arg("--message-format=json-render-diagnostics");
    if cfg!(feature = "redis") {
        cargo.arg("--features=redis");
    }
    cargo.arg("--").arg(format!("-Clink-arg=-Wl,--shuffle-sections=.text*={order}"));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message["executable"].as_str()?.into())
    });
    if let Some(program) = programs.next_back().filter(|_| output.status.success()) {
        return program;
    }
    println!(
        "the functions stay in their order, because the linker does not take \
         --shuffle-sections: {}",
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
    );
    this
}

fn print(figures: &[EndToEnd]) {
    let mut last = "";
    for EndToEnd { name, protocol, requests_per_second, ratio, to_static } in figures {
        if protocol != last {
            println!("{protocol}, {WORKERS} at once");
        }
        println!(
            "  {name:24} {requests_per_second:7.0} requests per second, {ratio:.3} of the client \
             alone, {to_static:.3} of (2)"
        );
        last = protocol;
    }
}

/// A server on a thread of its own, until the process ends.
fn serve() -> SocketAddr {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/accounts/1", get(async || r#"{"id": "1", "name": "Ada"}"#));
    thread::spawn(move || runtime.block_on(axum::serve(listener, router).into_future()));
    address
}

fn contenders(runtime: &Runtime, address: SocketAddr, http2: bool) -> [Contender; 5] {
    let token = secret(200);
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    // One for all of them, so that all use the same connections.
    let client: Client<_, Body> =
        Client::builder(TokioExecutor::new()).http2_only(http2).build(tcp);
    let layer = layer_for(&format!("http://{address}"), &token);
    let value = static_header(&token);
    let retried = RetryLayer::new(KeepsAClone).layer(with_header(client.clone(), &value));
    let ours_without_replay = layer.clone().without_replay().layer(client.clone());
    [
        Contender::new(runtime, address, "hyper's client", &client),
        Contender::new(runtime, address, "(2) static header", &with_header(client.clone(), &value)),
        Contender::new(runtime, address, "tower Retry over (2)", &retried),
        Contender::new(runtime, address, OURS, &layer.layer(client.clone())),
        Contender::new(runtime, address, "tower-reauth, no replay", &ours_without_replay),
    ]
}

fn measure(protocol: &str, runtime: &Runtime, contenders: &mut [Contender]) -> Vec<EndToEnd> {
    let mut rates = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    // The first rounds connect, and warm up.
    for round in 0..ROUNDS + 3 {
        for turn in 0..contenders.len() {
            let turn = (turn + round) % contenders.len();
            // Each has each of the others before it in turn.
            let turn = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
            let time = runtime.block_on(contenders[turn].turn());
            if round >= 3 {
                rates[turn].push(as_f64(WORKERS * REQUESTS_PER_WORKER) / time.as_secs_f64());
            }
        }
    }
    let figure = |(contender, rates_of): (&Contender, &Vec<f64>)| {
        let [ratio, to_static] = [0, 1].map(|over| median_ratio(rates_of, &rates[over]));
        let (name, protocol) = (contender.name.to_owned(), protocol.to_owned());
        EndToEnd { name, protocol, requests_per_second: median(rates_of.clone()), ratio, to_static }
    };
    contenders.iter().zip(&rates).map(figure).collect()
}

impl Contender {
    fn new<S>(runtime: &Runtime, address: SocketAddr, name: &'static str, service: &S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Incoming>> + Clone + Send + 'static,
        S::Error: std::fmt::Debug,
        S::Future: Send,
    {
        let barrier = Arc::new(Barrier::new(WORKERS + 1));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers
                .spawn_on(work(service.clone(), address, Arc::clone(&barrier)), runtime.handle());
        }
        Self { name, barrier, workers }
    }

    /// How long its workers take.
    async fn turn(&mut self) -> Duration {
        let turn = async {
            self.barrier.wait().await;
            let start = Instant::now();
            self.barrier.wait().await;
            start.elapsed()
        };
        tokio::select! {
            time = turn => time,
            // One that fails would be waited for in vain.
            Some(failed) = self.workers.join_next() => match failed.expect(self.name) {},
        }
    }
}

async fn work<S>(mut service: S, address: SocketAddr, barrier: Arc<Barrier>) -> Infallible
where
    S: Service<Request<Body>, Response = Response<Incoming>>,
    S::Error: std::fmt::Debug,
{
    let uri: http::Uri = format!("http://{address}/accounts/1").parse().unwrap();
    loop {
        barrier.wait().await;
        for _ in 0..REQUESTS_PER_WORKER {
            let mut request = support::get(4);
            *request.uri_mut() = uri.clone();
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
        barrier.wait().await;
    }
}
