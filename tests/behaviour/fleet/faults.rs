//! Processes that hear nothing or can't reach the store, and renewals that fail.

use std::time::Duration;

use support::{Resource, Step, URI, get, settle};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer,
    store::{StoreDown, TokenStore},
};

use super::world::{LIFETIME, World, name, renewing, serving};

/// The value of a fleet that has had no token yet.
const EMPTY: &[u8] = b"{\"v\":1}\n";

async fn revision(world: &World) -> u64 {
    world.store.get(&name()).await.unwrap().unwrap().revision
}

#[tokio::test(start_paused = true)]
async fn a_process_that_hears_nothing_adopts_the_token_at_its_first_401() {
    let world = World::new(2);
    serving(&world).await;
    world.processes[1].wire.set_deaf(true);
    world.processes[0].cache.refresh().await.unwrap();
    settle().await;
    assert!(!world.is_of_one_mind());
    let auth = AuthLayer::new(world.processes[1].cache.clone());
    let response = auth.layer(world.resource.clone()).oneshot(get(URI)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(world.endpoint.calls(), 2, "the one of the renewal, and none for the 401");
    assert_eq!(world.processes[1].counters().unauthorized, 1);
    assert!(world.is_of_one_mind());
}

#[tokio::test(start_paused = true)]
async fn with_the_store_down_the_token_in_memory_is_served() {
    let world = World::new(2);
    serving(&world).await;
    world.processes.iter().for_each(|process| process.wire.set_down(true));
    let load = world.load(Duration::from_secs(200)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_the_store_asks_alone_at_the_end_of_its_window() {
    let world = World::new(1);
    serving(&world).await;
    let process = &world.processes[0];
    process.wire.set_down(true);
    let load = world.load(LIFETIME).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.endpoint.calls(), 2);
    let counters = process.counters();
    assert_eq!(counters.store_alone, 1);
    assert!(counters.store_errors > 1, "it tried before that");
    // The window ends after 90 % of the usable lifetime.
    let token = process.cache.current().unwrap();
    let left = token.time_left().as_secs();
    assert!((250..280).contains(&left), "{left} s");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_may_not_ask_alone_fails_once_its_token_is_unusable() {
    let world = World::with(1, StoreDown::Fail);
    serving(&world).await;
    world.processes[0].wire.set_down(true);
    let load = world.load(Duration::from_secs(280)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    sleep(Duration::from_secs(20)).await;
    let error = world.processes[0].cache.token().await.unwrap_err();
    assert!(error.is_store_down() && error.is_transient(), "{error:?}");
    assert_eq!(world.endpoint.calls(), 1);
    // And goes on as soon as the store is back.
    world.processes[0].wire.set_down(false);
    sleep(Duration::from_secs(60)).await;
    assert!(world.processes[0].cache.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_brings_all_together() {
    for hangs in [false, true] {
        let world = World::new(3);
        serving(&world).await;
        for process in &world.processes {
            process.wire.set_down(!hangs);
            process.wire.set_hanging(hangs);
        }
        let alone = world.processes[0].cache.refresh().await.unwrap();
        assert_eq!(alone.expose_secret(), "token-2");
        for process in &world.processes {
            process.wire.set_down(false);
            process.wire.set_hanging(false);
        }
        let together = world.until(World::is_of_one_mind, Duration::from_secs(5)).await;
        assert!(together.is_some_and(|time| time <= Duration::from_secs(2)), "{together:?}");
        assert_eq!(world.endpoint.calls(), 2, "the token is offered, and none asked for");
    }
}

/// Has the second process renew the token. No request may be sent with the old one meanwhile.
async fn check_that_all_hold(world: &World) {
    world.endpoint.answer_after(Duration::from_millis(50));
    let refused = world.sum(|counters| counters.unauthorized);
    let renewal = async {
        sleep(Duration::from_secs(1)).await;
        world.processes[1].cache.refresh().await.unwrap();
    };
    let (load, ()) = tokio::join!(world.load(Duration::from_secs(3)), renewal);
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.sum(|counters| counters.unauthorized), refused);
    assert!(world.is_of_one_mind());
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_publication_was_not_confirmed_keeps_its_number() {
    let world = World::new(3);
    serving(&world).await;
    world.endpoint.answer_after(Duration::from_secs(1));
    renewing(&world).await;
    let asked = |world: &World| world.endpoint.calls() == 2;
    world.until(asked, Duration::from_secs(1)).await.expect("the endpoint is asked");
    world.processes[0].wire.set_losing(true);
    let adopted = |world: &World| world.processes[1].cache.current().is_some();
    world.until(adopted, Duration::from_secs(2)).await.expect("the token is published");
    let published = world.serving()[1];
    sleep(Duration::from_millis(700)).await;
    world.processes[0].wire.set_losing(false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.serving(), [published; 3], "it is published once");
    assert_eq!(world.processes[0].counters().store_errors, 1);
    check_that_all_hold(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_offers_its_token_holds_for_the_next_one() {
    let world = World::new(3);
    serving(&world).await;
    world.processes[0].wire.set_down(true);
    world.processes[0].cache.refresh().await.unwrap();
    world.processes[0].wire.set_down(false);
    let together = world.until(World::is_of_one_mind, Duration::from_secs(5)).await;
    assert!(together.is_some());
    settle().await;
    let serving = world.serving();
    assert_eq!(serving, [serving[1]; 3], "the number is the same for all");
    check_that_all_hold(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_announced_though_the_store_has_lost_its_data() {
    let world = World::new(3);
    serving(&world).await;
    world
        .store
        .compare_and_set(&name(), revision(&world).await, 1 << 50, EMPTY, LIFETIME)
        .await
        .unwrap();
    settle().await;
    check_that_all_hold(&world).await;
    assert_eq!(world.endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_failure_of_all() {
    let world = World::new(10);
    serving(&world).await;
    world.endpoint.then(Step::Fail(AuthError::rejected("a wrong secret")));
    // The token expires, and then all need a new one.
    sleep(LIFETIME).await;
    let tokens = world.processes.iter().map(|process| process.cache.token());
    let errors = futures_util::future::join_all(tokens).await;
    assert!(errors.iter().all(|error| error.as_ref().is_err_and(AuthError::is_rejected)));
    assert_eq!(world.endpoint.calls(), 2, "one asked, and the others were told");
    sleep(Duration::from_secs(2)).await;
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    assert_eq!(world.endpoint.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_somebody_else_killed_is_replaced_once() {
    let world = World::new(5);
    serving(&world).await;
    let stranger = world.endpoint.clone();
    tower_reauth::TokenEndpoint::issue(&stranger).await.unwrap();
    let load = world.load(Duration::from_secs(10)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert_eq!(world.endpoint.calls(), 3);
    assert!(world.is_of_one_mind());
}

#[tokio::test(start_paused = true)]
async fn the_token_in_use_is_served_if_a_renewal_of_another_fails() {
    let world = World::new(2);
    serving(&world).await;
    let failure = AuthError::transient("503");
    world.endpoint.then(Step::Fail(failure));
    let resource = Resource::accepting("token-1").forgetful();
    let refreshed = world.processes[0].cache.refresh().await;
    assert!(refreshed.is_err());
    settle().await;
    assert!(world.processes[1].cache.current().is_some());
    let auth = AuthLayer::new(world.processes[1].cache.clone());
    assert_eq!(auth.layer(resource).oneshot(get(URI)).await.unwrap().status(), 200);
}

#[test]
fn a_refusal_does_not_wait_for_a_listener_whose_runtime_is_gone() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let world = World::new(1);
    world.endpoint.answer_after(Duration::ZERO);
    runtime().block_on(serving(&world));
    let took = runtime().block_on(async {
        // The token is no longer young, or it would be tried again.
        sleep(Duration::from_secs(5)).await;
        tower_reauth::TokenEndpoint::issue(&world.endpoint).await.unwrap();
        let auth = AuthLayer::new(world.processes[0].cache.clone());
        let started = Instant::now();
        let response = auth.layer(world.resource.clone()).oneshot(get(URI)).await.unwrap();
        assert_eq!(response.status(), 200);
        started.elapsed()
    });
    assert!(took < Duration::from_millis(100), "{took:?}");
}
