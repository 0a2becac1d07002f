//! A store that could not be used for a while, and what happens when it is back.

use std::time::Duration;

use support::{URI, get, settle};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, RefreshPolicy,
    store::{StoreDown, TokenStore},
};

use super::world::{LIFETIME, Load, World, name, serving};

const TOGETHER: Duration = Duration::from_secs(2);

/// Before a token is due.
const YOUNG: Duration = Duration::from_secs(215);

/// From then past the moment at which it is due, and before the one at which requests are held.
const TO_DUE: Duration = Duration::from_secs(45);

fn cut_off(world: &World) {
    for process in &world.processes {
        process.wire.set_down(true);
        process.wire.set_deaf(true);
    }
}

/// Waits until tokens are nearly due. Returns the loads of all processes from then on.
async fn loads_while_due(world: &World) -> Vec<JoinHandle<Load>> {
    sleep(YOUNG).await;
    let until = Instant::now() + Duration::from_secs(65);
    world.processes.iter().map(|process| process.load(&world.resource, until)).collect()
}

#[tokio::test(start_paused = true)]
async fn processes_that_failed_for_long_go_on_as_soon_as_the_store_is_back() {
    let world = World::with(3, StoreDown::Fail);
    serving(&world).await;
    world.processes.iter().for_each(|process| process.wire.set_down(true));
    let load = world.load(LIFETIME + Duration::from_secs(60)).await;
    assert!(load.seen == 0 && load.errors > 0, "{load:?}");
    world.processes.iter().for_each(|process| process.wire.set_down(false));
    // Nothing tells of that.
    let together = world.until(World::is_of_one_mind, Duration::from_secs(60));
    let (together, _) = tokio::join!(together, world.load(Duration::from_secs(60)));
    assert!(together.is_some_and(|time| time <= TOGETHER), "{together:?}");
    assert_eq!(world.endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_the_store_ends_the_back_off_for_it() {
    for is_change in [false, true] {
        let world = World::with(1, StoreDown::Fail);
        serving(&world).await;
        let process = &world.processes[0];
        process.wire.set_down(true);
        sleep(LIFETIME).await;
        for _ in 0..10 {
            assert!(process.cache.token().await.unwrap_err().is_store_down());
            sleep(Duration::from_secs(1)).await;
        }
        assert!(process.cache.token().await.unwrap_err().is_store_down());
        if is_change {
            process.wire.set_down(false);
            let found = world.store.get(&name()).await.unwrap().unwrap();
            let (old, new) = (found.revision, found.revision + 1);
            world.store.compare_and_set(&name(), old, new, &found.value, LIFETIME).await.unwrap();
        } else {
            process.wire.come_back();
        }
        settle().await;
        process.cache.token().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_after_an_outage_waits_until_all_can_hear_of_it() {
    let world = World::new(2);
    serving(&world).await;
    cut_off(&world);
    let loads = loads_while_due(&world).await;
    sleep(TO_DUE).await;
    world.processes[0].wire.come_back();
    // They do not reconnect at the same moment.
    sleep(Duration::from_secs(1)).await;
    world.processes[1].wire.come_back();
    let renewed = world.until(|world| world.endpoint.calls() == 2, Duration::from_secs(5)).await;
    assert!(renewed.is_some_and(|time| time <= Duration::from_millis(500)), "{renewed:?}");
    for load in loads {
        let load = load.await.unwrap();
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    }
    assert!(world.is_of_one_mind());
    assert_eq!(world.sum(|counters| counters.unauthorized), 0);
    assert_eq!(world.sum(|counters| counters.store_alone), 0);
    assert_eq!(world.endpoint.calls(), 2);
}

/// The moment at which the store comes back to a process whose renewal is due.
#[derive(Clone, Copy, Debug)]
enum Return {
    /// A renewal that could not use it has just ended.
    BetweenFlights,
    /// The deadline of such a renewal is near.
    BeforeTheDeadline,
    /// As such a renewal is about to ask it again, and nothing tells of it.
    Silent,
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_the_others_whenever_the_store_comes_back() {
    let deadline = Duration::from_secs(10);
    let policy = RefreshPolicy::default().deadline(deadline).attempt_timeout(deadline);
    for back in [Return::BetweenFlights, Return::BeforeTheDeadline, Return::Silent] {
        let world = World::by(2, StoreDown::Alone, &policy);
        serving(&world).await;
        cut_off(&world);
        let loads = loads_while_due(&world).await;
        let [first, second] = &world.processes[..] else { unreachable!() };
        let before = first.wire.operations();
        let is_due = |_: &World| first.wire.operations() > before;
        world.until(is_due, TO_DUE).await.expect("the token is due");
        match back {
            Return::BetweenFlights => {
                let has_failed = |_: &World| first.counters().refreshes_failed > 0;
                world.until(has_failed, 2 * deadline).await.expect("the renewal fails");
                first.wire.come_back();
            }
            Return::BeforeTheDeadline => {
                sleep(deadline.mul_f64(0.95)).await;
                first.wire.come_back();
            }
            Return::Silent => {
                sleep(deadline / 2).await;
                first.wire.set_down(false);
                let before = first.wire.operations();
                let asks = |_: &World| first.wire.operations() > before;
                world.until(asks, deadline).await.expect("the store is asked again");
            }
        }
        let failed = first.counters().refreshes_failed;
        sleep(Duration::from_secs(1)).await;
        second.wire.come_back();
        let renewed =
            world.until(|world| world.endpoint.calls() > 1, Duration::from_secs(10)).await;
        assert!(renewed.is_some(), "{back:?}");
        for load in loads {
            let load = load.await.unwrap();
            assert_eq!((load.seen, load.errors), (0, 0), "{back:?}: {load:?}");
        }
        assert_eq!(world.sum(|counters| counters.unauthorized), 0, "{back:?}");
        assert_eq!(first.counters().refreshes_failed, failed, "{back:?}");
        assert_eq!(world.endpoint.calls(), 2, "{back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_needs_a_token_has_the_store_asked_once_more() {
    for round in 0..15 {
        let world = World::new(1);
        serving(&world).await;
        cut_off(&world);
        let process = &world.processes[0];
        sleep(YOUNG).await;
        let load = world.load(TO_DUE).await;
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        // Nothing tells that the store is back, and somebody else kills the token.
        process.wire.set_down(false);
        tower_reauth::TokenEndpoint::issue(&world.endpoint.clone()).await.unwrap();
        let load = world.load(Duration::from_secs(5)).await;
        assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
        assert_eq!(process.counters().store_alone, 0, "round {round}");
        assert_eq!(world.endpoint.calls(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_caller_without_a_token_does_not_wait_for_the_others_after_an_outage() {
    let mut fewest = u64::MAX;
    for round in 0..15 {
        let world = World::new(1);
        serving(&world).await;
        cut_off(&world);
        sleep(YOUNG).await;
        world.load(TO_DUE).await;
        let process = &world.processes[0];
        process.wire.set_down(false);
        tower_reauth::TokenEndpoint::issue(&world.endpoint.clone()).await.unwrap();
        let service = AuthLayer::new(process.cache.clone()).layer(world.resource.clone());
        let before = process.wire.operations();
        let started = Instant::now();
        assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200, "round {round}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        fewest = fewest.min(process.wire.operations() - before);
    }
    assert_eq!(fewest, 2, "a question and the lease; a retry may have come between them");
}

#[tokio::test(start_paused = true)]
async fn a_duel_without_the_store_ends_with_its_return_though_the_newest_token_is_dead() {
    let world = World::new(3);
    serving(&world).await;
    cut_off(&world);
    let stranger = world.endpoint.clone();
    tower_reauth::TokenEndpoint::issue(&stranger).await.unwrap();
    let load = world.load(Duration::from_secs(60)).await;
    assert!(load.seen > 0 && load.errors == 0, "each kills the token of the others: {load:?}");
    // One more token, which kills that of whoever was last.
    tower_reauth::TokenEndpoint::issue(&stranger).await.unwrap();
    let posts = world.endpoint.calls();
    world.processes.iter().for_each(|process| process.wire.come_back());
    let together = world.until(World::is_of_one_mind, Duration::from_secs(60));
    let (together, _) = tokio::join!(together, world.load(Duration::from_secs(30)));
    assert!(together.is_some_and(|time| time <= TOGETHER), "{together:?}");
    assert_eq!(world.endpoint.calls(), posts + 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_asked_for_alone_is_replaced_at_its_first_refusal_however_young_it_is() {
    let world = World::new(2);
    serving(&world).await;
    cut_off(&world);
    world.processes[0].cache.refresh().await.unwrap();
    // Another process went alone a moment later, and has died.
    tower_reauth::TokenEndpoint::issue(&world.endpoint.clone()).await.unwrap();
    world.processes.iter().for_each(|process| process.wire.come_back());
    let together = world.until(World::is_of_one_mind, Duration::from_secs(60));
    let (together, load) = tokio::join!(together, world.load(Duration::from_secs(5)));
    assert!(together.is_some_and(|time| time <= Duration::from_secs(1)), "{together:?}");
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.endpoint.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_its_data_under_a_lease_costs_a_second_request() {
    let world = World::new(3);
    serving(&world).await;
    world.load(Duration::from_secs(1)).await;
    world.endpoint.answer_after(Duration::from_secs(3));
    let _renewal = tokio::spawn(world.processes[0].cache.refresh());
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    world.endpoint.answer_after(Duration::from_millis(50));
    world.processes.iter().for_each(|process| process.wire.forget());
    let load = world.load(Duration::from_secs(10)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind());
    assert_eq!(world.endpoint.calls(), 3);
    assert_eq!(world.sum(|counters| counters.store_fenced), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_offered_only_until_it_expires() {
    let world = World::new(1);
    serving(&world).await;
    cut_off(&world);
    let process = &world.processes[0];
    process.cache.refresh().await.unwrap();
    let before = process.wire.operations();
    sleep(LIFETIME).await;
    let while_it_lives = process.wire.operations() - before;
    assert!(while_it_lives > 300, "{while_it_lives}");
    sleep(LIFETIME).await;
    assert_eq!(process.wire.operations() - before, while_it_lives, "nobody has use for it");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_offered_when_the_next_one_comes_does_not_take_its_place() {
    let world = World::new(2);
    serving(&world).await;
    cut_off(&world);
    let process = &world.processes[0];
    process.wire.set_delay(Duration::from_millis(400));
    process.cache.refresh().await.unwrap();
    // The listener begins to offer that one, and the store takes long.
    settle().await;
    process.wire.set_delay(Duration::ZERO);
    let next = process.cache.refresh().await.unwrap();
    assert_eq!(next.expose_secret(), "token-3");
    world.processes.iter().for_each(|process| process.wire.come_back());
    let together = world.until(World::is_of_one_mind, Duration::from_secs(2)).await;
    assert!(together.is_some(), "{:?}", world.serving());
    sleep(Duration::from_secs(2)).await;
    assert!(world.is_of_one_mind(), "{:?}", world.serving());
    assert_eq!(world.endpoint.calls(), 3);
}
