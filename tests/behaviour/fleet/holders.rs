//! Processes that have the lease, and die, stand still, or take long.

use std::time::Duration;

use support::{Step, URI, get, settle};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthError, AuthLayer};

use super::world::{Process, World, renewing, serving};

/// Has the first process renew, and go away once its request for a token has arrived.
async fn die_once_it_has_asked(world: &mut World) {
    let renewal = renewing(world).await;
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    renewal.abort();
    drop(world.processes.remove(0));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_before_it_asks_is_replaced_within_its_lease() {
    let mut world = World::new(3);
    serving(&world).await;
    let renewal = renewing(&world).await;
    // Within the grace, so the endpoint has not been asked.
    assert_eq!(world.endpoint.calls(), 1);
    renewal.abort();
    drop(world.processes.remove(0));
    let load = world.load(Duration::from_secs(6)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind());
    assert_eq!(world.endpoint.calls(), 2);
    assert_eq!(world.sum(|counters| counters.store_takeovers), 1);
    assert_eq!(world.sum(|counters| counters.unauthorized), 0);
    // Served on after the bound of the hold, and held once more for the renewal.
    assert!(load.longest <= Duration::from_millis(1300), "{load:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_after_it_asked_is_replaced_within_its_lease() {
    let mut world = World::new(3);
    world.endpoint.answer_after(Duration::from_secs(1));
    serving(&world).await;
    die_once_it_has_asked(&mut world).await;
    let died = Instant::now();
    world.endpoint.answer_after(Duration::from_millis(50));
    let load = world.load(Duration::from_secs(6)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind());
    assert_eq!(world.endpoint.calls(), 3);
    assert!(died.elapsed() < Duration::from_secs(8));
    assert!(load.longest <= Duration::from_secs(4), "lease and a second: {load:?}");
    // One request per process went first with the dead token.
    assert!(world.sum(|counters| counters.unauthorized) <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_dead_holders_late_request_killed_is_replaced_at_once() {
    for (first, fails) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut world = World::new(3);
        world.endpoint.answer_after(Duration::from_secs(1));
        serving(&world).await;
        die_once_it_has_asked(&mut world).await;
        world.endpoint.answer_after(Duration::from_millis(50));
        if fails {
            // Whoever takes over is refused at first, and the next one does not take over.
            world.endpoint.then(Step::Fail(AuthError::rejected("a wrong secret")));
            let refused = |world: &World| world.endpoint.calls() == 3;
            world.until(refused, Duration::from_secs(5)).await.expect("the lease is taken over");
            sleep(Duration::from_secs(1)).await;
            world.processes[1].cache.refresh().await.unwrap();
        }
        let together = world.until(World::is_of_one_mind, Duration::from_secs(5)).await;
        let calls = world.endpoint.calls();
        assert!(together.is_some() && calls == if fails { 4 } else { 3 }, "{calls}");
        assert_eq!(world.sum(|counters| counters.store_takeovers), 1);
        // Only now the endpoint sees the request of the process that died. The token is as young as
        // can be, and all the same nobody waits for a resource to learn of it.
        tower_reauth::TokenEndpoint::issue(&world.endpoint).await.unwrap();
        let auth = AuthLayer::new(world.processes[first].cache.clone());
        let started = Instant::now();
        let response = auth.layer(world.resource.clone()).oneshot(get(URI)).await.unwrap();
        assert_eq!((response.status(), world.endpoint.calls()), (http::StatusCode::OK, calls + 2));
        let took = started.elapsed();
        assert!(
            took < Duration::from_millis(250),
            "two requests, the grace and the POST: {took:?}"
        );
        assert_eq!(world.sum(|counters| counters.same_token_retries), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn processes_whose_token_has_died_do_not_all_ask_the_store_when_another_comes() {
    let mut world = World::new(20);
    world.endpoint.answer_after(Duration::from_secs(1));
    serving(&world).await;
    die_once_it_has_asked(&mut world).await;
    world.endpoint.answer_after(Duration::from_millis(200));
    let operations = |world: &World| -> Vec<_> {
        world.processes.iter().map(|process| process.wire.operations()).collect()
    };
    let takeover = async {
        let taken = |world: &World| world.sum(|counters| counters.store_takeovers) == 1;
        world.until(taken, Duration::from_secs(5)).await.expect("the lease is taken over");
        let before = operations(&world);
        world.until(World::is_of_one_mind, Duration::from_secs(5)).await.expect("a token");
        settle().await;
        let asked = operations(&world).into_iter().zip(before).filter(|(now, then)| now > then);
        assert_eq!(asked.count(), 1, "the holder publishes, and nobody asks");
    };
    let (load, ()) = tokio::join!(world.load(Duration::from_secs(6)), takeover);
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    // Nobody takes the token for a younger one than it is, nor for a much older one.
    let left = |process: &Process| process.cache.current().unwrap().time_left();
    let left: Vec<_> = world.processes.iter().map(left).collect();
    let (least, most) = (left.iter().min().unwrap(), left.iter().max().unwrap());
    let holder = world.processes.iter().find(|it| it.counters().store_takeovers == 1).unwrap();
    assert_eq!(*most, holder.cache.current().unwrap().time_left());
    assert!(most.abs_diff(*least) <= Duration::from_secs(1), "{least:?} to {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_takes_long_holds_the_others_for_its_bound() {
    let world = World::new(3);
    serving(&world).await;
    world.endpoint.answer_after(Duration::from_secs(5));
    renewing(&world).await;
    let load = world.load(Duration::from_secs(8)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.endpoint.calls(), 2);
    assert!(world.is_of_one_mind());
    // One request of each process went first, was refused, and waited with the others.
    let unauthorized = world.sum(|counters| counters.unauthorized);
    assert_eq!(unauthorized, 3, "{:?}", world.processes[1].counters());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_stands_still_is_fenced() {
    let world = World::new(2);
    serving(&world).await;
    // The holder can't confirm its lease while the endpoint takes long.
    world.endpoint.answer_after(Duration::from_secs(4));
    renewing(&world).await;
    world.processes[0].wire.set_down(true);
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    world.endpoint.answer_after(Duration::from_millis(50));
    sleep(Duration::from_millis(3900)).await;
    // It has tried to confirm its lease of three seconds once a second, and each failure counts.
    let errors = world.processes[0].counters().store_errors;
    assert!(errors >= 3, "{errors}");
    world.processes[0].wire.set_down(false);
    let load = world.load(Duration::from_secs(10)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind());
    assert_eq!(world.sum(|counters| counters.store_fenced), 1);
}
