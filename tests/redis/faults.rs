//! Servers that are killed, paused, full, emptied or turned into replicas.

use std::time::{Duration, Instant};

use tower_reauth::store::{StoreError, Swap};

use crate::server::{Notices, SOON, Server, change, eventually, free_port, revision};

fn assert_transient(error: &StoreError, part: &str) {
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let server = Server::start();
    let store = server.store();
    for number in 0..3 {
        assert_eq!(change(&store, number, number + 1).await.unwrap(), Swap::Done);
        assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
        assert_eq!(revision(&store).await.unwrap(), number + 1);
        assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
    }
}

#[tokio::test]
async fn a_connection_that_is_killed_is_made_again_and_watchers_learn_of_the_gap() {
    let server = Server::start();
    let (store, other) = (server.store(), server.store());
    let mut notices = Notices::of(&store, "payments");
    notices.gap(SOON).await;
    for (kind, old) in [("pubsub", 0), ("normal", 1)] {
        // The first is the connection that is subscribed, the second that of the other process.
        revision(&other).await.unwrap();
        let killed = server.ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        assert_ne!(killed, "0", "{kind}");
        if kind == "pubsub" {
            notices.gap(SOON).await;
        }
        eventually(SOON, async || change(&other, old, old + 1).await).await;
        notices.changed(old + 1).await;
        assert_eq!(revision(&store).await.unwrap(), old + 1);
    }
}

#[tokio::test]
async fn a_server_that_stands_still_delays_nobody_for_long_and_is_used_when_it_is_back() {
    let server = Server::start();
    let store = server.store();
    let mut notices = Notices::of(&store, "payments");
    notices.gap(SOON).await;
    change(&store, 0, 1).await.unwrap();
    notices.changed(1).await;
    let started = Instant::now();
    assert_eq!(server.ask(&["CLIENT", "PAUSE", "6000", "ALL"]), "OK");
    assert_transient(&revision(&store).await.unwrap_err(), "did not respond in time");
    assert!(started.elapsed() < Duration::from_millis(3500));
    // Known to be down, or about to be: at most the bound of one operation.
    while started.elapsed() < Duration::from_secs(6) {
        let asked = Instant::now();
        if let Err(error) = revision(&store).await {
            assert!(error.is_transient(), "{error}");
        }
        assert!(asked.elapsed() < Duration::from_millis(3500), "{:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually(SOON, async || revision(&store).await).await;
    notices.gap(SOON).await;
    change(&store, 1, 2).await.unwrap();
    notices.changed(2).await;
}

#[tokio::test]
async fn a_server_that_was_killed_is_used_again_with_its_data() {
    let server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    killed_and_started_again(server, 7).await;
}

#[tokio::test]
async fn a_server_that_was_killed_is_used_again_without_its_data() {
    killed_and_started_again(Server::start(), 0).await;
}

/// `kept` is the revision after the restart.
async fn killed_and_started_again(mut server: Server, kept: u64) {
    let store = server.store();
    let mut notices = Notices::of(&store, "payments");
    notices.gap(SOON).await;
    change(&store, 0, 7).await.unwrap();
    notices.changed(7).await;
    server.kill();
    let error = eventually_fails(&store).await;
    assert_transient(&error, "can't be reached");
    // Known to be down, so nobody waits.
    let asked = Instant::now();
    assert!(revision(&store).await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(500));
    server.restart();
    server.allow("");
    // Within a pause of a failed attempt, or of one that was refused before the user was there.
    eventually(Duration::from_secs(6), async || revision(&store).await).await;
    notices.gap(SOON).await;
    assert_eq!(revision(&store).await.unwrap(), kept);
    // After a loss, what others remember is a conflict.
    let expected = if kept == 7 { Swap::Done } else { Swap::Conflict(None) };
    assert_eq!(change(&store, 7, 8).await.unwrap(), expected);
    if kept == 0 {
        assert_eq!(change(&store, 0, 8).await.unwrap(), Swap::Done);
    }
    notices.changed(8).await;
}

/// Returns the error once the store knows that its server has gone.
async fn eventually_fails(store: &tower_reauth::store::RedisStore) -> StoreError {
    for _ in 0..100 {
        match revision(store).await {
            Err(error) if error.to_string().contains("reached") => return error,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("the store does not fail");
}

#[tokio::test]
async fn a_server_that_was_emptied_has_no_value_and_takes_a_new_one() {
    let server = Server::start();
    let store = server.store();
    change(&store, 0, 7).await.unwrap();
    assert_eq!(server.ask(&["FLUSHALL"]), "OK");
    assert_eq!(revision(&store).await.unwrap(), 0);
    assert_eq!(change(&store, 7, 8).await.unwrap(), Swap::Conflict(None));
    assert_eq!(change(&store, 0, 8).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn a_server_that_is_full_can_still_be_read() {
    let server = Server::start();
    let store = server.store();
    change(&store, 0, 1).await.unwrap();
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_transient(&change(&store, 1, 2).await.unwrap_err(), "maxmemory");
    assert_eq!(revision(&store).await.unwrap(), 1);
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert_eq!(change(&store, 1, 2).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn a_replica_is_neither_written_nor_read() {
    let server = Server::start();
    let store = server.store();
    change(&store, 0, 1).await.unwrap();
    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]), "OK");
    assert_transient(&change(&store, 1, 2).await.unwrap_err(), "replica");
    assert_transient(&revision(&store).await.unwrap_err(), "replica");
    assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    eventually(SOON, async || change(&store, 1, 2).await).await;
}

#[tokio::test]
async fn a_key_of_somebody_else_is_a_lasting_error() {
    let server = Server::start();
    let store = server.store();
    assert_eq!(server.ask(&["SET", "tower-reauth:{payments}", "hunter5"]), "OK");
    for error in [revision(&store).await.unwrap_err(), change(&store, 0, 1).await.unwrap_err()] {
        assert!(!error.is_transient() && !error.is_denied(), "{error}");
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_the_first_operation_at_once() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let store = tower_reauth::store::RedisStore::connect(url).unwrap();
    let asked = Instant::now();
    assert_transient(&revision(&store).await.unwrap_err(), "can't be reached");
    assert!(asked.elapsed() < Duration::from_secs(1));
}
