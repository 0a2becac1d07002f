//! Many tasks that make requests and have them signed with one token: what two workers get done,
//! against one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::Barrier};

use super::{Turns, rounds};
use crate::{
    answer::Answer,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    peers::{aws, azure, gcp, google, kube, moka, ours, plain, reqwest, yup},
    report::Contention,
};

const TASKS: usize = 64;
/// Enough for the start of the workers not to matter.
const CALLS: usize = 200;
const ROUNDS: usize = 75;

/// Which of the rounds counts, from the fastest: whenever the machine is busy elsewhere there is no
/// second core, so that a median would tell of the others. Not the very first, which may be an
/// accident.
const UNDISTURBED: usize = 2;

/// What the bare service, which shares nothing, has to gain by a second worker that has a core.
const SECOND_CORE: f64 = 1.5;

pub fn measure() -> Vec<Contention> {
    let runtimes = [1, 2].map(|workers| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Arc::new(builder.worker_threads(workers).enable_all().build().unwrap())
    });
    let mut contenders = [
        contender::<plain::Bare>(&runtimes),
        contender::<plain::Signed>(&runtimes),
        contender::<plain::Retried>(&runtimes),
        contender::<ours::Ours>(&runtimes),
        contender::<ours::OursWithoutReplay>(&runtimes),
        contender::<kube::TokenFile>(&runtimes),
        contender::<kube::Exec>(&runtimes),
        contender::<google::Google>(&runtimes),
        contender::<azure::Azure>(&runtimes),
        contender::<aws::Aws>(&runtimes),
        contender::<gcp::Gcp>(&runtimes),
        contender::<yup::Yup>(&runtimes),
        contender::<reqwest::ReqwestMiddleware>(&runtimes),
        contender::<moka::Moka>(&runtimes),
    ];
    rounds(ROUNDS, Duration::MAX, &mut contenders);
    let speedups = contenders.each_ref().map(|contender| {
        let [one, two] = [0, 1].map(|runtime| {
            let mut seconds: Vec<f64> =
                contender.samples.iter().map(|sample| sample[runtime]).collect();
            seconds.sort_by(f64::total_cmp);
            seconds[UNDISTURBED]
        });
        one / two
    });
    let measured = speedups[0] >= SECOND_CORE;
    let row = |(contender, speedup): (&Turns<_>, f64)| Contention {
        name: contender.name,
        speedup: measured.then_some(speedup),
    };
    contenders.iter().zip(speedups).map(row).collect()
}

/// The seconds that all calls take on each of the runtimes.
fn contender<P: Peer>(runtimes: &[Arc<Runtime>; 2]) -> Turns<[f64; 2]> {
    let mut ready = runtimes.clone().map(|runtime| {
        let endpoint = Endpoint::new(Answer::Token);
        let mut peer = runtime.block_on(P::make(&endpoint));
        assert!(runtime.block_on(peer.call(P::input())).worked(), "{} has no token", P::NAME);
        (runtime, peer)
    });
    Turns::new::<P>(move || ready.each_mut().map(|(runtime, peer)| runtime.block_on(all(peer))))
}

async fn all<P: Peer>(peer: &P) -> f64 {
    let start = Arc::new(Barrier::new(TASKS + 1));
    let task = |_| {
        let (mut peer, start) = (peer.clone(), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            // The workers' own clocks: this runtime's owner may have to wait for a core.
            let start = Instant::now();
            for _ in 0..CALLS {
                // Made where it ends: memory that goes from one worker to the other is contention
                // of its own.
                assert!(peer.call(P::input()).await.worked());
            }
            (start, Instant::now())
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    start.wait().await;
    let mut times = Vec::with_capacity(TASKS);
    for task in tasks {
        times.push(task.await.unwrap());
    }
    let start = times.iter().map(|(start, _)| *start).min().unwrap();
    let end = times.iter().map(|(_, end)| *end).max().unwrap();
    (end - start).as_secs_f64()
}
