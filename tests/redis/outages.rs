//! A fleet under load whose server is killed, paused or emptied in the middle of its renewals.
//!
//! Callers see nothing as long as the choice for such a case does not say otherwise, and all
//! processes serve one living token within [`TOGETHER`] of the server's return.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use tokio::time::{sleep, sleep_until};
use tower_reauth::{
    RefreshPolicy,
    store::{RedisStore, StoreDown},
};

use crate::{
    fleet::Fleet,
    server::{PASSWORD, Server, USER},
};

const TOGETHER: Duration = Duration::from_secs(2);

const OUTAGE: Duration = Duration::from_secs(10);

/// What makes the server of a fleet unusable.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is killed, and started again at the end.
    Killed,
    /// It keeps its connections and answers nobody.
    Paused,
    /// The whole process stands still.
    Stopped,
}

/// Starts a server that has the fleet's user from its start on.
fn server(arguments: &[&str]) -> Server {
    let password = format!(">{PASSWORD}");
    let user = ["--user", USER, "on", &password].into_iter().chain(RedisStore::ACL.split(' '));
    let arguments: Vec<_> = arguments.iter().copied().chain(user).collect();
    Server::start_with(&arguments)
}

/// Starts a server that loses its data when it is killed.
fn forgetful() -> Server {
    server(&["--save", ""])
}

/// Starts a server that keeps its data when it is killed.
fn lasting() -> Server {
    server(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Renews early, and has much time left for it.
fn early() -> RefreshPolicy {
    RefreshPolicy::default().renew_at(0.25).jitter(0.03).hold_at(0.9)
}

/// Makes the server unusable for `time`.
async fn outage(server: &mut Server, fault: Fault, time: Duration) {
    let ends = Instant::now() + time;
    match fault {
        Fault::Killed => server.kill(),
        Fault::Paused => {
            let milliseconds = time.as_millis().to_string();
            assert_eq!(server.ask(&["CLIENT", "PAUSE", &milliseconds, "ALL"]), "OK");
        }
        Fault::Stopped => server.signal("STOP"),
    }
    sleep_until(ends.into()).await;
    match fault {
        Fault::Killed => server.restart(),
        Fault::Paused => {}
        Fault::Stopped => server.signal("CONT"),
    }
}

/// Tokens are due in the middle of an outage, and live until long after it.
async fn costs_nothing(server: Server, fault: Fault) {
    let lifetime = 2 * OUTAGE;
    let mut fleet = Fleet::start(server, lifetime, StoreDown::Alone, early()).await;
    sleep(Duration::from_secs(2)).await;
    outage(&mut fleet.server, fault, OUTAGE).await;
    let together = fleet.until("common token", TOGETHER, Fleet::is_of_one_mind).await;
    println!("{fault:?}, renewals later: together after {together:?}");
    fleet.renewed(1, Duration::from_secs(8)).await;
    fleet.assert_unseen();
    assert_eq!((fleet.posts(), fleet.sum(|counters| counters.store_alone)), (2, 0));
    assert!(fleet.sum(|counters| counters.store_errors) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_keeps_its_data_costs_no_request() {
    costs_nothing(lasting(), Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_loses_its_data_costs_no_request() {
    costs_nothing(forgetful(), Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_paused_costs_no_request() {
    costs_nothing(forgetful(), Fault::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_costs_no_request() {
    costs_nothing(forgetful(), Fault::Stopped).await;
}

/// The token expires in an outage, and nobody asks for another without the store.
async fn fails_and_goes_on(server: Server, fault: Fault) {
    let lifetime = Duration::from_secs(4);
    let policy = RefreshPolicy::default();
    let mut fleet = Fleet::start(server, lifetime, StoreDown::Fail, policy).await;
    fleet.renewed(1, lifetime * 2).await;
    fleet.assert_unseen();
    outage(&mut fleet.server, fault, OUTAGE).await;
    let together = fleet.until("common token", TOGETHER, Fleet::is_of_one_mind).await;
    let seen = fleet.seen();
    println!("{fault:?}, none may go alone: together after {together:?}, {seen:?}");
    assert_eq!((seen.refused, seen.errors.len()), (0, 0), "{seen:?}");
    assert!(seen.store_down > 0, "{seen:?}");
    assert_eq!(fleet.posts(), 3);
    fleet.renewed(3, lifetime * 2).await;
    fleet.assert_unseen();
    assert_eq!(fleet.posts(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fail_a_killed_server_with_its_data_costs_errors_and_no_401() {
    fails_and_goes_on(lasting(), Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fail_a_killed_server_without_its_data_costs_errors_and_no_401() {
    fails_and_goes_on(forgetful(), Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fail_a_paused_server_costs_errors_and_no_401() {
    fails_and_goes_on(forgetful(), Fault::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fail_a_server_that_stands_still_costs_errors_and_no_401() {
    fails_and_goes_on(forgetful(), Fault::Stopped).await;
}

/// Tokens are due in an outage and expire in it, so each process asks for its own.
async fn goes_alone_and_returns(server: Server, fault: Fault) {
    let lifetime = Duration::from_secs(4);
    let policy = RefreshPolicy::default();
    let mut fleet = Fleet::start(server, lifetime, StoreDown::Alone, policy).await;
    fleet.renewed(1, lifetime * 2).await;
    fleet.assert_unseen();
    outage(&mut fleet.server, fault, OUTAGE).await;
    let together = fleet.until("common token", TOGETHER, Fleet::is_of_one_mind).await;
    let seen = fleet.seen();
    println!("{fault:?}, all may go alone: together after {together:?}, {seen:?}");
    assert!(seen.errors.is_empty() && seen.store_down == 0, "{seen:?}");
    assert!(fleet.sum(|counters| counters.store_alone) > 1);
    let posts = fleet.posts();
    fleet.renewed(posts, lifetime * 2).await;
    fleet.assert_unseen();
    assert_eq!(fleet.posts(), posts + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_went_alone_return_to_one_token_after_a_kill() {
    goes_alone_and_returns(forgetful(), Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_went_alone_return_to_one_token_after_a_pause() {
    goes_alone_and_returns(forgetful(), Fault::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_emptied_costs_no_request() {
    let lifetime = Duration::from_secs(4);
    let policy = RefreshPolicy::default();
    let fleet = Fleet::start(forgetful(), lifetime, StoreDown::Fail, policy).await;
    for posts in 1..4 {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(fleet.server.ask(&["FLUSHALL"]), "OK");
        fleet.until("common token", TOGETHER, Fleet::is_of_one_mind).await;
        fleet.renewed(posts, lifetime * 2).await;
        assert_eq!(fleet.posts(), posts + 1);
    }
    fleet.assert_unseen();
    // Under the lease of a renewal. The token that comes is published under none, so another one
    // may be asked for.
    let posts = fleet.posts();
    fleet.until("request for a token", lifetime * 2, |it| it.posts() > posts).await;
    assert_eq!(fleet.server.ask(&["FLUSHALL"]), "OK");
    let together = fleet.until("common token", TOGETHER, Fleet::is_of_one_mind).await;
    println!("emptied in a renewal: together after {together:?}, {} more", fleet.posts() - posts);
    assert!(fleet.posts() <= posts + 2);
    fleet.assert_unseen();
}

impl Server {
    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(status.success());
    }
}
