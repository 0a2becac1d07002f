//! Many tasks that sign with one token: what two workers get done, against one.

use std::{sync::Arc, time::Instant};

use tokio::{runtime::Runtime, sync::Barrier};

use super::{Turns, rounds};
use crate::{
    endpoint::{Answer, Endpoint},
    peer::Peer,
    peers::{aws, azure, gcp, google, kube, moka, ours, plain, reqwest, yup},
    report::Contention,
    support,
};

const TASKS: usize = 64;
/// Enough for the start of the workers not to matter.
const CALLS: usize = 400;
const ROUNDS: usize = 41;

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
    rounds(ROUNDS, std::time::Duration::MAX, &mut contenders);
    contenders
        .map(|contender| {
            let [one, two] =
                [0, 1].map(|runtime| contender.samples.iter().map(|sample| sample[runtime]).collect());
            let (one, two) = (support::median(one), support::median(two));
            Contention { name: contender.name, speedup: one / two }
        })
        .into()
}

/// The seconds that all calls take on each of the runtimes.
fn contender<P: Peer>(runtimes: &[Arc<Runtime>; 2]) -> Turns<[f64; 2]> {
    let mut ready = runtimes.clone().map(|runtime| {
        let endpoint = Endpoint::new(Answer::Token);
        let mut peer = runtime.block_on(P::make(&endpoint));
        assert!(runtime.block_on(peer.call(P::input())), "{} has no token", P::NAME);
        (runtime, peer)
    });
    Turns::new::<P>(move || ready.each_mut().map(|(runtime, peer)| runtime.block_on(all(peer))))
}

async fn all<P: Peer>(peer: &P) -> f64 {
    let start = Arc::new(Barrier::new(TASKS + 1));
    let task = |_| {
        let (mut peer, start) = (peer.clone(), Arc::clone(&start));
        tokio::spawn(async move {
            // Made before the time and by the worker, so that the time is the calls' alone.
            let inputs: Vec<P::Input> = (0..CALLS).map(|_| P::input()).collect();
            start.wait().await;
            for input in inputs {
                assert!(peer.call(input).await);
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    start.wait().await;
    let start = Instant::now();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed().as_secs_f64()
}
