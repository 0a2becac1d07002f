//! A request for a token that is never answered, and that has killed the token of all.

use std::time::Duration;

use futures_util::future::join_all;
use support::{Resource, Step, URI, get, ok, settle};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{AccessToken, AuthError, AuthLayer, store::StoreDown};

use super::world::{World, serving};

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

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_confirm_its_lease_makes_no_further_attempt_under_it() {
    for (store_down, posts) in [(StoreDown::Fail, 2), (StoreDown::Alone, 3)] {
        let world = World::with(2, store_down);
        world.endpoint.then(Step::Hang);
        let [holder, other] = [0, 1].map(|index| &world.processes[index]);
        let first = tokio::spawn(holder.cache.token());
        let asked = |world: &World| world.endpoint.calls() == 1;
        world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
        // It can't know that another one takes over, whose token a further attempt would kill.
        holder.wire.set_down(true);
        holder.wire.set_deaf(true);
        other.cache.token().await.unwrap();
        assert_eq!(world.endpoint.calls(), 2);
        let first = first.await.unwrap();
        assert_eq!(holder.counters().store_alone, u64::from(store_down == StoreDown::Alone));
        assert!(first.is_ok() || first.is_err_and(|error| error.is_store_down()));
        holder.wire.come_back();
        sleep(Duration::from_secs(2)).await;
        holder.cache.token().await.unwrap();
        assert!(world.is_of_one_mind(), "{:?}", world.serving());
        assert_eq!(world.endpoint.calls(), posts, "{store_down:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_hears_in_a_pause_that_its_lease_is_lost_makes_no_further_attempt() {
    let (world, started) = (World::with(2, StoreDown::Fail), Instant::now());
    let busy = AuthError::transient_after("asked too often", Duration::from_secs(20));
    world.endpoint.then(Step::Fail(busy));
    let [holder, other] = [0, 1].map(|index| &world.processes[index]);
    let first = tokio::spawn(holder.cache.token());
    let asked = |world: &World| world.endpoint.calls() == 1;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    holder.wire.set_down(true);
    other.cache.token().await.unwrap();
    assert_eq!(world.endpoint.calls(), 2);
    // It tries to confirm the lease each second.
    sleep(Duration::from_millis(5500).saturating_sub(started.elapsed())).await;
    holder.wire.set_down(false);
    assert_eq!(first.await.unwrap().unwrap().expose_secret(), "token-2");
    // Its callers do not wait for the end of the pause.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(world.endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lost_its_lease_and_gets_no_token_tells_what_the_endpoint_said() {
    let (world, started) = (World::with(2, StoreDown::Fail), Instant::now());
    let busy = AuthError::transient_after("asked too often", Duration::from_secs(20));
    world.endpoint.then(Step::Fail(busy));
    for _ in 0..10 {
        world.endpoint.then(Step::Hang);
    }
    let [holder, other] = [0, 1].map(|index| &world.processes[index]);
    let first = tokio::spawn(holder.cache.token());
    let asked = |world: &World| world.endpoint.calls() == 1;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    holder.wire.set_down(true);
    let second = tokio::spawn(other.cache.token());
    sleep(Duration::from_millis(5500).saturating_sub(started.elapsed())).await;
    holder.wire.set_down(false);
    let error = first.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the token endpoint failed"), "{error}");
    second.abort();
}

/// A holder with a request that was never answered, at the moment when another process has taken
/// its lease over.
async fn taken_over(world: &World) -> JoinHandle<Result<AccessToken, AuthError>> {
    in_use(world).await;
    world.endpoint.then(Step::Hang);
    let holder = &world.processes[0];
    let renewal = tokio::spawn(holder.cache.refresh());
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    holder.wire.set_down(true);
    holder.wire.set_deaf(true);
    let taken = |world: &World| world.sum(|counters| counters.store_takeovers) == 1;
    world.until(taken, Duration::from_secs(5)).await.expect("the lease is taken over");
    renewal
}

/// The token of the first process counts as one that may have died: the resource is not asked a
/// second time whether it means its refusal.
async fn is_suspect(world: &World) {
    let holder = &world.processes[0];
    let auth = AuthLayer::new(holder.cache.clone());
    let response = auth.layer(world.resource.clone()).oneshot(get(URI)).await.unwrap();
    let counters = holder.counters();
    let expected = (http::StatusCode::UNAUTHORIZED, 1, 0);
    assert_eq!((response.status(), counters.unauthorized, counters.doubts), expected);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_an_attempt_may_have_killed_is_suspect_though_the_lease_was_lost_after_it() {
    let (world, started) = (World::with(2, StoreDown::Fail), Instant::now());
    let renewal = taken_over(&world).await;
    let holder = &world.processes[0];
    // The attempt takes 10 s. Before that the holder learns that it has lost the lease.
    sleep(Duration::from_millis(8500).saturating_sub(started.elapsed())).await;
    holder.wire.set_down(false);
    sleep(Duration::from_millis(1300)).await;
    holder.wire.set_down(true);
    assert!(renewal.await.unwrap().unwrap_err().is_store_down());
    is_suspect(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_goes_on_alone_knows_that_its_lost_request_may_have_killed_the_token() {
    let world = World::with(2, StoreDown::Alone);
    let renewal = taken_over(&world).await;
    let started = Instant::now();
    let published = |world: &World| world.endpoint.calls() == 3;
    world.until(published, Duration::from_secs(1)).await.expect("the other one asks");
    // Nothing is issued by what it asks for alone.
    for _ in 0..100 {
        let busy = AuthError::answered(http::StatusCode::SERVICE_UNAVAILABLE, None, "busy");
        world.endpoint.then(Step::Fail(busy));
    }
    // A request of this process finds the token refused.
    let auth = AuthLayer::new(world.processes[0].cache.clone());
    let refused = tokio::spawn(auth.layer(world.resource.clone()).oneshot(get(URI)));
    let error = renewal.await.unwrap().unwrap_err();
    assert_eq!(error.status().map(|it| it.as_u16()), Some(503), "{error:?}");
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(30), "one deadline for all of its requests: {waited:?}");
    let holder = &world.processes[0];
    assert_eq!(holder.counters().store_alone, 1);
    assert!(holder.cache.current().is_none(), "the token has died, and is sent no more");
    refused.abort();
}
