//! One token for all, without a fault.

use std::time::Duration;

use futures_util::future::join_all;
use support::{Resource, Step, URI, get, settle};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer};

use super::world::World;

#[tokio::test(start_paused = true)]
async fn processes_that_start_together_ask_for_one_token() {
    for processes in [2, 10] {
        let world = World::new(processes);
        let tokens = world.processes.iter().map(|process| process.cache.token());
        for token in join_all(tokens).await {
            assert_eq!(token.unwrap().expose_secret(), "token-1");
        }
        assert_eq!(world.endpoint.calls(), 1);
        assert_eq!(world.sum(|counters| counters.token_requests), 1);
        assert_eq!(world.sum(|counters| counters.store_adopted), processes as u64 - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_later_takes_the_token_that_is_there() {
    let world = World::new(2);
    let first = world.processes[0].cache.token().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    let second = world.processes[1].cache.token().await.unwrap();
    assert_eq!(second.expose_secret(), first.expose_secret());
    assert_eq!(second.sequence(), first.sequence());
    let difference = first.time_left().abs_diff(second.time_left());
    assert!(difference < Duration::from_millis(200), "{difference:?}");
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn under_steady_load_each_renewal_is_one_request_and_no_caller_sees_a_401() {
    for (processes, seconds, tokens) in [(2, 1000, 4..=5), (5, 520, 3..=3)] {
        let world = World::new(processes);
        let load = world.load(Duration::from_secs(seconds)).await;
        settle().await;
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        // Tokens that the first of all renews after 221 s to 251 s.
        assert!(tokens.contains(&world.endpoint.calls()), "{}", world.endpoint.calls());
        assert_eq!(world.sum(|counters| counters.unauthorized), 0);
        assert!(world.is_of_one_mind(), "{:?}", world.serving());
        // Grace, the endpoint, and the request.
        assert!(load.longest <= Duration::from_millis(50 + 50 + 20 + 5), "{load:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_lengthens_the_hold_by_its_own_time() {
    let world = World::new(5);
    for process in &world.processes {
        process.wire.set_delay(Duration::from_millis(30));
    }
    let load = world.load(Duration::from_secs(500)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind(), "{:?}", world.serving());
    assert!((2..=3).contains(&world.endpoint.calls()), "{}", world.endpoint.calls());
    assert!(load.longest <= Duration::from_millis(50 + 50 + 20 + 4 * 30), "{load:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_costs_its_holder_two_operations_and_the_others_none() {
    let world = World::new(10);
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    settle().await;
    let operations = || world.processes.iter().map(|process| process.wire.operations());
    let before: Vec<_> = operations().collect();
    world.processes[3].cache.refresh().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(world.is_of_one_mind());
    let spent: Vec<_> = operations().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(spent[3], 2, "{spent:?}");
    assert_eq!(spent.iter().sum::<u64>(), 2, "{spent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_for_another_process_is_not_counted_as_an_own_one() {
    let world = World::new(2);
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    settle().await;
    world.processes[0].cache.refresh().await.unwrap();
    settle().await;
    let [own, sibling] = [0, 1].map(|process| world.processes[process].counters());
    // The grace, and the endpoint.
    let hold = Duration::from_millis(50 + 50);
    assert!(own.longest_hold >= hold, "{own:?}");
    assert_eq!(own.longest_sibling_hold, Duration::ZERO);
    assert!(sibling.longest_sibling_hold >= hold, "{sibling:?}");
    assert_eq!(sibling.longest_hold, Duration::ZERO);
    // A hold that ends without a new token, and one that times out.
    world.endpoint.then(Step::Fail(AuthError::rejected("401")));
    world.endpoint.answer_after(Duration::from_millis(200));
    assert!(world.processes[0].cache.refresh().await.is_err());
    settle().await;
    let longest = world.processes[1].counters().longest_sibling_hold;
    assert!(longest >= Duration::from_millis(250), "{longest:?}");
    sleep(Duration::from_secs(2)).await;
    world.endpoint.answer_after(Duration::from_secs(5));
    world.processes[0].cache.refresh().await.unwrap();
    settle().await;
    let longest = world.processes[1].counters().longest_sibling_hold;
    assert!((1050..1200).contains(&longest.as_millis()), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn signing_touches_no_store() {
    let world = World::new(1);
    let process = &world.processes[0];
    process.cache.token().await.unwrap();
    let resource = Resource::accepting("token-1").forgetful();
    let service = AuthLayer::new(process.cache.clone()).layer(resource);
    let before = process.wire.operations();
    for _ in 0..10_000 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    }
    assert_eq!(process.wire.operations(), before);
}
