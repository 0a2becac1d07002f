//! How old a process takes the token of another one for.

use std::time::Duration;

use support::{Step, settle};
use tokio::time::sleep;
use tower_reauth::AuthError;

use super::world::{Process, World, renewing, serving};

fn left(process: &Process) -> Duration {
    process.cache.current().unwrap().time_left()
}

#[tokio::test(start_paused = true)]
async fn a_process_that_heard_late_of_a_renewal_takes_the_token_for_no_younger_than_it_is() {
    let world = World::new(2);
    serving(&world).await;
    world.load(Duration::from_secs(3)).await;
    world.endpoint.answer_after(Duration::from_secs(3));
    world.processes[1].wire.set_deaf(true);
    let renewal = tokio::spawn(world.processes[0].cache.refresh());
    sleep(Duration::from_secs(2)).await;
    // Its first 401 tells it, when the token has been asked for already.
    world.processes[1].wire.set_deaf(false);
    let load = world.load(Duration::from_secs(5)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(renewal.await.unwrap().is_ok() && world.is_of_one_mind());
    let [holder, other] = [0, 1].map(|index| left(&world.processes[index]));
    assert!(other <= holder, "{other:?}, and it has {holder:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_asked_the_store_long_ago_takes_the_token_for_no_older_than_it_is() {
    let world = World::new(2);
    world.endpoint.then(Step::IssueFor(Duration::from_secs(20)));
    serving(&world).await;
    // The token has expired, so there is nothing to hold.
    sleep(Duration::from_secs(100)).await;
    world.endpoint.answer_after(Duration::from_secs(2));
    let first = tokio::spawn(world.processes[0].cache.token());
    sleep(Duration::from_millis(500)).await;
    world.processes[1].cache.token().await.unwrap();
    first.await.unwrap().unwrap();
    settle().await;
    let [holder, other] = [0, 1].map(|index| left(&world.processes[index]));
    assert!(holder.abs_diff(other) <= Duration::from_secs(1), "{other:?}, and it has {holder:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_took_two_attempts_is_taken_for_no_older_than_it_is() {
    let world = World::new(2);
    serving(&world).await;
    world.load(Duration::from_secs(1)).await;
    world.endpoint.then(Step::Hang).then(Step::IssueFor(Duration::from_secs(60)));
    let renewal = tokio::spawn(world.processes[0].cache.refresh());
    settle().await;
    // The first attempt takes 10 s, and the announcement was before that. These would be a sixth of
    // the token's life.
    world.load(Duration::from_secs(15)).await;
    assert!(renewal.await.unwrap().is_ok() && world.is_of_one_mind());
    let [holder, other] = [0, 1].map(|index| left(&world.processes[index]));
    assert!(holder.abs_diff(other) <= Duration::from_secs(1), "{other:?}, and it has {holder:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_from_before_the_newest_lease_is_taken_for_no_younger_than_it_is() {
    for round in 0..5 {
        let world = World::new(3);
        world.endpoint.answer_after(Duration::from_secs(3));
        let tokens: Vec<_> =
            world.processes.iter().map(|process| tokio::spawn(process.cache.token())).collect();
        // The last one asks the store while the token is asked for, and does not hear that it came.
        sleep(Duration::from_millis(2900)).await;
        let [holder, other, deaf] = [0, 1, 2].map(|index| &world.processes[index]);
        deaf.wire.set_deaf(true);
        let has_token = |world: &World| world.processes[1].cache.current().is_some();
        world.until(has_token, Duration::from_secs(1)).await.expect("it is published");
        deaf.wire.set_deaf(false);
        // It hears of a later lease, which brings none.
        world.endpoint.answer_after(Duration::ZERO);
        world.endpoint.then(Step::Fail(AuthError::transient("503")));
        other.cache.refresh().await.unwrap_err();
        for token in tokens {
            token.await.unwrap().unwrap();
        }
        let [holder, deaf] = [holder, deaf].map(left);
        assert!(deaf <= holder, "{deaf:?}, and it has {holder:?} in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_as_old_as_it_is_though_the_store_has_changed_since() {
    let mut world = World::new(2);
    serving(&world).await;
    sleep(Duration::from_secs(200)).await;
    // A lease is taken, and never given back. Nobody is left to take it over.
    let renewal = renewing(&world).await;
    renewal.abort();
    world.processes.clear();
    let newcomer = Process::new(&world.endpoint, &world.store);
    let before = newcomer.wire.operations();
    let token = newcomer.cache.token().await.unwrap();
    let operations = newcomer.wire.operations() - before;
    assert!(operations < 12, "{operations} while it waited for the lease to end");
    assert_eq!(token.expose_secret(), "token-1");
    let left = Duration::from_secs(100);
    assert!(token.time_left() <= left, "{:?} of {left:?}", token.time_left());
}
