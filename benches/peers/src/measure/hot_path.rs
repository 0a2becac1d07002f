//! One call with a valid token: a GET with 4 headers over a service that does nothing.

use tokio::runtime::Runtime;

use crate::{
    answer::Answer,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    peers::{aws, azure, gcp, google, kube, moka, ours, plain, reqwest, yup},
    report::HotPath,
    support::{Contender, done, medians},
};

const ROUNDS: usize = 400;
const CALLS: u32 = 100;

/// Calls before the allocations are counted: what is set up once is none of a call's.
const WARM_UP: usize = 100;

pub fn measure() -> Vec<HotPath> {
    // The peers' own tasks run on it; the calls, which are done at once, on this thread.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (mut contenders, allocations): (Vec<_>, Vec<_>) = [
        contender::<plain::Bare>(&runtime),
        contender::<plain::Signed>(&runtime),
        contender::<plain::Kept>(&runtime),
        contender::<plain::Retried>(&runtime),
        contender::<ours::Ours>(&runtime),
        contender::<ours::OursWithoutReplay>(&runtime),
        contender::<kube::TokenFile>(&runtime),
        contender::<kube::TokenFileRetried>(&runtime),
        contender::<google::Google>(&runtime),
        contender::<azure::Azure>(&runtime),
        contender::<aws::Aws>(&runtime),
        contender::<gcp::Gcp>(&runtime),
        contender::<yup::Yup>(&runtime),
        contender::<reqwest::ReqwestMiddleware>(&runtime),
        contender::<moka::Moka>(&runtime),
    ]
    .into_iter()
    .unzip();
    let mut times = Vec::new();
    // Not to count is less work for the allocator, and so for those that allocate.
    allocation_counter::opt_out(|| times = medians(ROUNDS, CALLS, &mut contenders));
    let (signed, kept) = (times[1], times[2]);
    let row = |((contender, ns), allocations): ((&Contender<'_>, &f64), u64)| HotPath {
        name: contender.name.clone(),
        ns: *ns,
        x2: ns / signed,
        x3: ns / kept,
        allocations,
    };
    contenders.iter().zip(&times).zip(allocations).map(row).collect()
}

/// With a token, and the allocations of one of its calls.
fn contender<P: Peer>(runtime: &Runtime) -> (Contender<'static>, u64) {
    let endpoint = Endpoint::new(Answer::Token);
    let mut peer = runtime.block_on(P::make(&endpoint));
    assert!(runtime.block_on(peer.call(P::input())).worked(), "{} has no token", P::NAME);
    let count = |_| {
        let input = P::input();
        let counts = allocation_counter::measure(|| assert!(done(peer.call(input)).worked()));
        counts.count_total
    };
    let allocations = (0..WARM_UP).map(count).last().unwrap_or_default();
    let work = move |input| assert!(std::hint::black_box(done(peer.call(input)).worked()));
    (Contender::new(P::NAME, P::input, work), allocations)
}
