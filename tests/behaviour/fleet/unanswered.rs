//! A request for a token that is never answered, and that has killed the token of all.

use std::time::Duration;

use futures_util::future::join_all;
use support::{Resource, Step, URI, get, ok, settle};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, store::StoreDown};

use super::{faults::serving, world::World};

/// Has each process use the token.
async fn in_use(world: &World) {
    serving(world).await;
    let load = world.load(Duration::from_secs(1)).await;
    assert_eq!((load.seen, load.errors, world.endpoint.calls()), (0, 0, 1), "{load:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_token_costs_about_one_401_per_process_and_none_that_callers_see() {
    for processes in [1, 2, 10] {
        let world = World::new(processes);
        in_use(&world).await;
        world.endpoint.then(Step::Hang);
        let renewal = tokio::spawn(world.processes[0].cache.refresh());
        settle().await;
        let load = world.load(Duration::from_secs(15)).await;
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        assert!(load.longest <= Duration::from_secs(11), "{load:?}");
        assert!(renewal.await.unwrap().is_ok() && world.is_of_one_mind());
        assert_eq!(world.endpoint.calls(), 3);
        // The holder knows when an attempt has failed, and lets another one try then.
        assert_eq!(world.sum(|counters| counters.unauthorized), 1 + processes as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_sends_nothing_itself_leaves_the_next_attempt_to_the_others() {
    let world = World::new(3);
    in_use(&world).await;
    world.endpoint.then(Step::Hang);
    let renewal = tokio::spawn(world.processes[0].cache.refresh());
    settle().await;
    let until = Instant::now() + Duration::from_secs(15);
    let busy = &world.processes[1..];
    let loads = busy.iter().map(|process| process.load(&world.resource, until));
    for load in join_all(loads).await {
        let load = load.unwrap();
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    }
    assert!(renewal.await.unwrap().is_err(), "it gave up");
    assert!(world.is_of_one_mind());
    assert_eq!((world.endpoint.calls(), world.sum(|it| it.unauthorized)), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn processes_whose_token_was_refused_wait_through_the_back_off_of_a_holder_that_gave_up() {
    let world = World::new(3);
    in_use(&world).await;
    world.endpoint.then(Step::Hang);
    let renewal = tokio::spawn(world.processes[0].cache.refresh());
    settle().await;
    let until = Instant::now() + Duration::from_secs(15);
    // The holder goes on with the token, because its own resource accepts that.
    let content = Resource::new(|_, _| ok()).taking(Duration::from_millis(20)).forgetful();
    let content = world.processes[0].load(&content, until);
    let others = world.processes[1..].iter().map(|it| it.load(&world.resource, until));
    for load in join_all(others.chain([content])).await {
        let load = load.unwrap();
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        assert!(load.longest <= Duration::from_secs(11), "{load:?}");
    }
    assert!(renewal.await.unwrap().is_err(), "it gave up");
    assert!(world.is_of_one_mind());
    assert_eq!(world.endpoint.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_replaced_while_its_request_hung_waits_for_the_token_of_the_other() {
    let world = World::new(2);
    in_use(&world).await;
    world.endpoint.then(Step::Hang);
    let renewal = tokio::spawn(world.processes[0].cache.refresh());
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    // It can't confirm its lease, and the other one takes over.
    world.processes[0].wire.set_down(true);
    let back = async {
        sleep(Duration::from_secs(6)).await;
        world.processes[0].wire.set_down(false);
    };
    let (load, ()) = tokio::join!(world.load(Duration::from_secs(15)), back);
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(renewal.await.unwrap().is_ok() && world.is_of_one_mind());
    assert_eq!((world.endpoint.calls(), world.sum(|it| it.store_takeovers)), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_is_not_sent_again_because_the_store_is_down() {
    let world = World::with(2, StoreDown::Fail);
    in_use(&world).await;
    world.endpoint.then(Step::Hang);
    let _renewal = tokio::spawn(world.processes[0].cache.refresh());
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    let waiting = &world.processes[1];
    let load = waiting.load(&world.resource, Instant::now() + Duration::from_secs(5));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(waiting.counters().unauthorized, 1, "the one that went first");
    waiting.wire.set_down(true);
    let load = load.await.unwrap();
    assert!(load.errors > 0, "{load:?}");
    // While there is no successor, one request goes with it every second.
    assert!((2..=4).contains(&load.seen), "{load:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_all_takes_a_good_token_from_no_process_for_long() {
    let world = World::new(2);
    in_use(&world).await;
    for _ in 0..100 {
        world.endpoint.then(Step::Hang);
    }
    let _renewal = tokio::spawn(world.processes[0].cache.refresh());
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    let forbidden = Resource::accepting("none");
    let mut callers = Vec::new();
    for resource in [forbidden, Resource::new(|_, _| ok())] {
        for process in &world.processes {
            let auth = AuthLayer::new(process.cache.clone()).layer(resource.clone());
            callers.push(tokio::spawn(auth.oneshot(get(URI))));
        }
        settle().await;
    }
    let started = Instant::now();
    for caller in callers.split_off(2) {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
    assert!(started.elapsed() <= Duration::from_millis(12_200), "{:?}", started.elapsed());
    callers.iter().for_each(JoinHandle::abort);
}
