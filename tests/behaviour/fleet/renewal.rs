//! One token for all, without a fault.

use std::time::Duration;

use futures_util::future::join_all;
use support::settle;
use tokio::time::sleep;

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
    for processes in [2, 5] {
        let world = World::new(processes);
        let load = world.load(Duration::from_secs(1000)).await;
        settle().await;
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        // 1000 s of tokens that the first of all renews after 221 s to 251 s.
        assert!((4..=5).contains(&world.endpoint.calls()), "{}", world.endpoint.calls());
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
