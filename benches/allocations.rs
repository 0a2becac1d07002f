//! How often a call allocates, how much heap a waiting caller takes, and how large a response
//! future is. `cargo bench --bench allocations`. Apart from the others, since counting takes time.

mod support;

use allocation_counter::measure;
use http::{Request, Response};
use support::{
    Body, KeepsAClone, Noop, as_f64,
    bars::{P3_WITH_REPLAY, P3_WITHOUT_REPLAY, P5_HEAP, P8, Report},
    burst::{self, Burst, CONTENDERS, FLOOR, OURS},
    call,
    figures::{Allocations, BurstHeap, CallAllocations},
    future_size, get, layer, post, secret, static_header, with_header,
};
use tower::{Layer, Service, retry::RetryLayer};

fn main() {
    let mut report =
        Report::new("allocations", Allocations { hot_path: Vec::new(), burst: Vec::new() });
    for token_length in [200, 2048] {
        for (work, make) in [
            ("GET, 4 headers", (|| get(4)) as fn() -> Request<Body>),
            ("GET, 8 headers", || get(8)),
            ("GET, 12 headers", || get(12)),
            ("POST, 1 KiB", post),
        ] {
            println!("{work}, token of {token_length} bytes");
            measure_calls(&mut report, work, token_length, make);
        }
    }
    for callers in [100, 10_000] {
        println!("{callers} callers wait");
        measure_burst(&mut report, callers);
    }
    report_bars(&mut report);
    report.write();
}

fn measure_calls(
    report: &mut Report<Allocations>,
    work: &str,
    token_length: usize,
    make: fn() -> Request<Body>,
) {
    let token = secret(token_length);
    let value = static_header(&token);
    let retry = RetryLayer::new(KeepsAClone);
    for (name, allocations) in [
        ("(2) static header", count(with_header(Noop, &value), make)),
        ("tower Retry over (2)", count(retry.layer(with_header(Noop, &value)), make)),
        ("tower-reauth", count(layer(&token).layer(Noop), make)),
        ("tower-reauth, no replay", count(layer(&token).without_replay().layer(Noop), make)),
    ] {
        println!("  {name:30} {allocations} allocations");
        let (name, work) = (name.to_owned(), work.to_owned());
        report.figures.hot_path.push(CallAllocations { name, work, token_length, allocations });
    }
}

/// Of one call, after one that may set things up.
fn count<S>(mut service: S, make: fn() -> Request<Body>) -> u64
where
    S: Service<Request<Body>, Response = Response<()>>,
{
    call(&mut service, make());
    let request = make();
    measure(|| call(&mut service, request)).count_total
}

fn measure_burst(report: &mut Report<Allocations>, callers: usize) {
    for (name, spawn) in CONTENDERS {
        let runtime = burst::runtime();
        let mut burst = None;
        let held = measure(|| burst = Some(Burst::arrive(&runtime, callers, spawn))).bytes_current;
        burst.unwrap().serve(&runtime);
        let bytes_per_waiter = as_f64(usize::try_from(held).unwrap()) / as_f64(callers);
        println!("  {name:30} {bytes_per_waiter:7.1} bytes per waiter");
        let name = name.to_owned();
        report.figures.burst.push(BurstHeap { name, callers, bytes_per_waiter });
    }
}

fn report_bars(report: &mut Report<Allocations>) {
    let Allocations { hot_path, burst } = &report.figures;
    let most = |name: &str| {
        let counts = hot_path.iter().filter(|of| of.name == name && of.work != "GET, 12 headers");
        as_f64(counts.map(|of| usize::try_from(of.allocations).unwrap()).max().unwrap())
    };
    let (without, with) = (most("tower-reauth, no replay"), most("tower-reauth"));
    let [floor, ours] = [FLOOR, OURS].map(|of| {
        let heap = |of: &&BurstHeap| of.callers == 10_000;
        burst.iter().filter(heap).nth(of).unwrap().bytes_per_waiter
    });
    report.bar(&P3_WITHOUT_REPLAY, "up to 8 headers, any token", without);
    report.bar(&P3_WITH_REPLAY, "up to 8 headers, any token", with);
    report.bar(&P5_HEAP, "10000 callers", ours / floor);
    report.bar(&P8, "GET, Full<Bytes>", as_f64(future_size::beyond_what_it_needs()));
}
