//! A cold burst: many callers, no token, one fetch.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

use super::{Turns, current_thread, median, rounds};
use crate::{
    endpoint::{Answer, Endpoint},
    peer::Peer,
    peers::{aws, azure, floor, gcp, google, kube, moka, ours, yup},
    report::Burst,
};

const CALLERS: usize = 1000;
const ROUNDS: usize = 25;

/// For all rounds of one contender. The slowest take one burst longer.
const BUDGET: Duration = Duration::from_millis(1500);

/// For one burst.
const BOUND: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
struct Sample {
    fetches: usize,
    /// From the end of the first fetch to the last caller done; `None` if not all callers have been served in time.
    time: Option<Duration>,
    heap: u64,
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
    contenders.map(row).into()
}

/// A burst of many, and one of a single caller, whose heap is what the peer itself needs.
fn contender<P: Peer>() -> Turns<(Sample, Sample)> {
    Turns::new::<P>(|| (burst::<P>(CALLERS), burst::<P>(1)))
}

fn row(contender: Turns<(Sample, Sample)>) -> Burst {
    let samples = contender.samples;
    let time = |(many, _): &(Sample, Sample)| Some(many.time?.as_secs_f64() * 1e9 / CALLERS as f64);
    let heap = |(many, one): &(Sample, Sample)| (many.heap as f64 - one.heap as f64) / (CALLERS - 1) as f64;
    Burst {
        name: contender.name,
        fetches: median(samples.iter().map(|(many, _)| many.fetches as f64).collect()),
        ns_per_waiter: samples.iter().map(time).collect::<Option<Vec<_>>>().and_then(median),
        heap_per_waiter: median(samples.iter().map(heap).collect()),
    }
}

fn burst<P: Peer>(callers: usize) -> Sample {
    let endpoint = Endpoint::new(Answer::Token);
    let runtime = current_thread();
    let peer = runtime.block_on(P::make(&endpoint));
    let mut end = None;
    // All of it on this thread, whose allocations are counted.
    let counts = allocation_counter::measure(|| {
        end = runtime
            .block_on(async { tokio::time::timeout(BOUND, crowd(peer, callers)).await.ok().flatten() });
    });
    let since = |end: SystemTime| end.duration_since(endpoint.first_end()?).ok();
    Sample { fetches: endpoint.fetches(), time: end.and_then(since), heap: counts.bytes_max }
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
        let (mut peer, crowd, input) = (peer.clone(), Arc::clone(&crowd), P::input());
        tokio::spawn(async move {
            if !peer.call(input).await {
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
