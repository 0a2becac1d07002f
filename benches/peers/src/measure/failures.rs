//! When things go wrong: the caller that leads goes away, or is never polled again, or the fetch
//! fails.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{Turns, count, current_thread, median, rounds};
use crate::{
    answer::Answer,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    peers::{aws, azure, floor, gcp, google, kube, moka, ours, reqwest, yup},
    report::Failures,
};

const CALLERS: usize = 100;
const ROUNDS: usize = 3;

/// When the caller that leads goes away: amid the fetch.
const GONE_AFTER: Duration = Duration::from_millis(1);

/// How long callers are given while the one that leads is parked.
const PATIENCE: Duration = Duration::from_millis(300);

/// For all callers to have an answer.
const BOUND: Duration = Duration::from_secs(3);

struct Sample {
    dropped: Option<usize>,
    parked: usize,
    refused: usize,
    /// Until the last answer; `None` if callers had none in time.
    refused_for: Option<Duration>,
}

pub fn measure() -> Vec<Failures> {
    let mut contenders = [
        contender::<floor::Floor>(),
        contender::<floor::SharedFetch>(),
        contender::<floor::Cell>(),
        contender::<floor::Locked>(),
        contender::<ours::Ours>(),
        contender::<moka::Moka>(),
        contender::<azure::Azure>(),
        contender::<aws::Aws>(),
        contender::<google::Google>(),
        contender::<kube::Exec>(),
        contender::<gcp::Gcp>(),
        contender::<yup::Yup>(),
    ];
    rounds(ROUNDS, Duration::MAX, &mut contenders);
    let unmeasured = [kube::TokenFile::NAME, reqwest::ReqwestMiddleware::NAME];
    let unmeasured = unmeasured.map(|name| Failures { name, ..Failures::default() });
    contenders.map(row).into_iter().chain(unmeasured).collect()
}

fn contender<P: Peer>() -> Turns<Sample> {
    Turns::new::<P>(|| {
        let (refused, refused_for) = fetch_fails::<P>();
        Sample {
            dropped: leader_dropped::<P>(),
            parked: leader_parked::<P>(),
            refused,
            refused_for,
        }
    })
}

fn row(contender: Turns<Sample>) -> Failures {
    let samples = contender.samples;
    let ms = |sample: &Sample| Some(sample.refused_for?.as_secs_f64() * 1e3);
    Failures {
        name: contender.name,
        leader_dropped_fetches: count(samples.iter().map(|sample| sample.dropped)),
        leader_parked_served: count(samples.iter().map(|sample| Some(sample.parked))),
        fetch_fails_fetches: count(samples.iter().map(|sample| Some(sample.refused))),
        fetch_fails_ms: samples.iter().map(ms).collect::<Option<Vec<_>>>().and_then(median),
    }
}

/// The fetches until all other callers have been served.
fn leader_dropped<P: Peer>() -> Option<usize> {
    let endpoint = Endpoint::new(Answer::Token);
    let served = current_thread().block_on(async {
        let peer = P::make(&endpoint).await;
        let mut leader = peer.clone();
        // Spawned first, so polled first.
        let leader =
            async move { tokio::time::timeout(GONE_AFTER, leader.call(P::input())).await.is_err() };
        let leader = tokio::spawn(leader);
        let served = all(&peer).await?;
        assert!(leader.await.unwrap(), "the fetch of {} was over before its leader went", P::NAME);
        Some(served)
    });
    (served? == CALLERS).then(|| endpoint.fetches())
}

/// How many of the other callers are served.
fn leader_parked<P: Peer>() -> usize {
    let endpoint = Endpoint::new(Answer::Token);
    let served = Arc::new(AtomicUsize::new(0));
    current_thread().block_on(async {
        let peer = P::make(&endpoint).await;
        let mut first = peer.clone();
        let mut leader = pin!(first.call(P::input()));
        assert!(futures_util::poll!(&mut leader).is_pending());
        for _ in 0..CALLERS {
            let (mut peer, served) = (peer.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let answer = peer.call(P::input()).await.worked();
                served.fetch_add(usize::from(answer), Ordering::Relaxed);
            });
        }
        tokio::time::sleep(PATIENCE).await;
    });
    served.load(Ordering::Relaxed)
}

/// The fetches, and how long until every caller has its error.
fn fetch_fails<P: Peer>() -> (usize, Option<Duration>) {
    let endpoint = Endpoint::new(Answer::Refusal);
    let time = current_thread().block_on(async {
        let peer = P::make(&endpoint).await;
        let start = Instant::now();
        let served = all(&peer).await?;
        assert_eq!(served, 0, "{} serves without a token", P::NAME);
        Some(start.elapsed())
    });
    (endpoint.fetches(), time)
}

/// How many callers were served; `None` if not all had an answer in time.
fn all<P: Peer>(peer: &P) -> impl Future<Output = Option<usize>> + use<P> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut peer = peer.clone();
        callers.spawn(async move { peer.call(P::input()).await.worked() });
    }
    let served = async move {
        let mut served = 0;
        while let Some(answer) = callers.join_next().await {
            served += usize::from(answer.unwrap());
        }
        served
    };
    async { tokio::time::timeout(BOUND, served).await.ok() }
}
