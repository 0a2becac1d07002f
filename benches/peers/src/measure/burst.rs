//! A cold burst: many callers, no token, one fetch.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

use super::{Turns, count, current_thread, median, rounds};
use crate::{
    answer::Answer,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    peers::{aws, azure, floor, gcp, google, kube, moka, ours, reqwest, yup},
    report::Burst,
};

const CALLERS: usize = 1000;
const ROUNDS: usize = 51;
const COUNTED: usize = 3;

/// For all rounds of one contender. The slowest take one burst longer.
const BUDGET: Duration = Duration::from_secs(3);

/// For one burst.
const BOUND: Duration = Duration::from_secs(15);

struct Sample {
    fetches: usize,
    /// From the end of the first fetch to the last caller done; `None` if not all callers have been
    /// served in time.
    time: Option<Duration>,
    /// In the first rounds only: to count is work that is not the peer's.
    heap_per_waiter: Option<f64>,
}

pub fn measure() -> Vec<Burst> {
    let mut contenders = [
        contender::<floor::Floor>(),
        contender::<floor::Watch>(),
        contender::<floor::SharedFetch>(),
        contender::<floor::Cell>(),
        contender::<floor::Locked>(),
        contender::<ours::Ours>(),
        contender::<ours::OursWithoutReplay>(),
        contender::<moka::Moka>(),
        contender::<azure::Azure>(),
        contender::<aws::Aws>(),
        contender::<google::Google>(),
        contender::<kube::Exec>(),
        contender::<gcp::Gcp>(),
        contender::<yup::Yup>(),
    ];
    rounds(ROUNDS, BUDGET, &mut contenders);
    let unmeasured = [kube::TokenFile::NAME, reqwest::ReqwestMiddleware::NAME];
    let unmeasured = unmeasured.map(|name| Burst { name, ..Burst::default() });
    contenders.map(row).into_iter().chain(unmeasured).collect()
}

fn contender<P: Peer>() -> Turns<Sample> {
    let mut counted = 0;
    Turns::new::<P>(move || {
        let heap_per_waiter = (counted < COUNTED).then(heap::<P>);
        counted += 1;
        let mut sample = None;
        allocation_counter::opt_out(|| sample = Some(burst::<P>(CALLERS)));
        Sample { heap_per_waiter, ..sample.unwrap() }
    })
}

/// At its highest in a burst of many, less that of a single caller, which is what the peer itself
/// needs.
fn heap<P: Peer>() -> f64 {
    let [many, one] = [CALLERS, 1].map(|callers| {
        // All of it on this thread, whose allocations are counted.
        let counts = allocation_counter::measure(|| {
            burst::<P>(callers);
        });
        counts.bytes_max as f64
    });
    (many - one) / (CALLERS - 1) as f64
}

fn row(contender: Turns<Sample>) -> Burst {
    let samples = contender.samples;
    let time = |sample: &Sample| Some(sample.time?.as_secs_f64() * 1e9 / CALLERS as f64);
    Burst {
        name: contender.name,
        fetches: count(samples.iter().map(|sample| Some(sample.fetches))),
        ns_per_waiter: samples.iter().map(time).collect::<Option<Vec<_>>>().and_then(median),
        heap_per_waiter: median(
            samples.iter().filter_map(|sample| sample.heap_per_waiter).collect(),
        ),
    }
}

fn burst<P: Peer>(callers: usize) -> Sample {
    let endpoint = Endpoint::new(Answer::Token);
    let runtime = current_thread();
    let end = runtime.block_on(async {
        let peer = P::make(&endpoint).await;
        tokio::time::timeout(BOUND, crowd(peer, callers)).await.ok().flatten()
    });
    let since = |end: SystemTime| end.duration_since(endpoint.first_end()?).ok();
    Sample { fetches: endpoint.fetches(), time: end.and_then(since), heap_per_waiter: None }
}

#[derive(Default)]
struct Crowd {
    left: AtomicUsize,
    refused: AtomicUsize,
    last: Notify,
    end: Mutex<Option<SystemTime>>,
}

/// When the last caller was done; `None` if one of them was not served.
async fn crowd<P: Peer>(peer: P, callers: usize) -> Option<SystemTime> {
    let crowd = Arc::new(Crowd { left: callers.into(), ..Crowd::default() });
    for _ in 0..callers {
        let (mut peer, crowd) = (peer.clone(), Arc::clone(&crowd));
        tokio::spawn(async move {
            // Made here, so that the task does not hold a second one.
            if !peer.call(P::input()).await.worked() {
                crowd.refused.fetch_add(1, Ordering::Relaxed);
            }
            if crowd.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                *crowd.end.lock().unwrap() = Some(SystemTime::now());
                crowd.last.notify_one();
            }
        });
    }
    crowd.last.notified().await;
    let end = *crowd.end.lock().unwrap();
    end.filter(|_| crowd.refused.load(Ordering::Relaxed) == 0)
}
