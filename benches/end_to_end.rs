//! Requests per second of hyper's client against an axum server over loopback, with the layer and without.
//! `cargo bench --bench end_to_end`.
//!
//! The bar compares with the same client that puts a static header of the same length on: what needs a token is not called
//! without one, and the header costs on the wire and in the server, whoever puts it on. The client without any is shown, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a bench")]

mod support;

use std::{
    convert::Infallible,
    future::IntoFuture,
    net::SocketAddr,
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
    layer_for, median, median_ratio, secret, static_header, with_header,
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
const ROUNDS: usize = 1200;

/// One of those that are compared: its workers are tasks that live through all rounds, as those of a service do. What it
/// takes to spawn them, and the room that they take, is not measured.
struct Contender {
    name: &'static str,
    /// The workers and the stopwatch meet here before each of their turns, and after it.
    barrier: Arc<Barrier>,
    workers: JoinSet<Infallible>,
}

fn main() {
    let address = serve();
    let mut report = Report::new("end_to_end", Vec::new());
    for (protocol, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut contenders = contenders(&runtime, address, http2);
        let ratio = measure(&mut report, protocol, &runtime, &mut contenders);
        report.bar(&P6, protocol, ratio);
    }
    report.write();
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
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).http2_only(http2).build(tcp);
    let layer = layer_for(&format!("http://{address}"), &token);
    let value = static_header(&token);
    let retried = RetryLayer::new(KeepsAClone).layer(with_header(client.clone(), &value));
    let ours_without_replay = layer.clone().without_replay().layer(client.clone());
    [
        Contender::new(runtime, address, "hyper's client", &client),
        Contender::new(runtime, address, "(2) static header", &with_header(client.clone(), &value)),
        Contender::new(runtime, address, "tower Retry over (2)", &retried),
        Contender::new(runtime, address, "tower-reauth", &layer.layer(client.clone())),
        Contender::new(runtime, address, "tower-reauth, no replay", &ours_without_replay),
    ]
}

fn measure(
    report: &mut Report<Vec<EndToEnd>>,
    protocol: &str,
    runtime: &Runtime,
    contenders: &mut [Contender],
) -> f64 {
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
    println!("{protocol}, {WORKERS} at once");
    for (Contender { name, .. }, rates_of) in contenders.iter().zip(&rates) {
        let requests_per_second = median(rates_of.clone());
        let [ratio, to_static] = [0, 1].map(|over| median_ratio(rates_of, &rates[over]));
        println!(
            "  {name:24} {requests_per_second:7.0} requests per second, {ratio:.3} of the client alone, {to_static:.3} of (2)"
        );
        let (name, protocol) = ((*name).to_owned(), protocol.to_owned());
        report.figures.push(EndToEnd { name, protocol, requests_per_second, ratio, to_static });
    }
    median_ratio(&rates[3], &rates[1])
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
            workers.spawn_on(work(service.clone(), address, Arc::clone(&barrier)), runtime.handle());
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
