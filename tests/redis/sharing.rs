//! What the store does while nothing fails.

use std::time::Duration;

use tokio::runtime::Runtime;
use tower_reauth::store::{self, RedisStore, Swap, TokenStore};

use crate::server::{KEEP, Notices, SOON, Server, change, eventually, name, revision};

#[tokio::test]
async fn two_processes_keep_the_rules_of_a_store_with_the_documented_rights() {
    let server = Server::start();
    store::conformance_between(&server.store(), &server.store()).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let server = Server::start();
    let path = server.directory.path().join("socket");
    let login = format!("{}:{}@", crate::server::USER, crate::server::PASSWORD);
    let store = RedisStore::connect(format!("unix://{login}{}", path.display())).unwrap();
    store::conformance(&store).await.unwrap();
}

#[tokio::test]
async fn a_server_without_passwords_will_do() {
    let server = Server::start();
    let store = RedisStore::connect(format!("redis://localhost:{}", server.port)).unwrap();
    assert_eq!(change(&store, 0, 1).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn one_connection_serves_all_names_from_the_first_use_on() {
    let server = Server::start();
    let store = server.store();
    let mut watches: Vec<_> =
        (0..250).map(|number| Notices::of(&store, &format!("name-{number}"))).collect();
    assert_eq!(server.connections(), 0);
    for watch in &mut watches {
        watch.gap(SOON).await;
    }
    let clone = store.clone();
    for number in 0..250 {
        let name = name(&format!("name-{number}"));
        assert_eq!(clone.compare_and_set(&name, 0, 7, b"7", KEEP).await.unwrap(), Swap::Done);
    }
    for watch in &mut watches {
        watch.changed(7).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends_its_subscription_and_the_last_handle_the_connection() {
    let server = Server::start();
    let store = server.store();
    let (mut one, mut other) = (Notices::of(&store, "one"), Notices::of(&store, "other"));
    one.gap(SOON).await;
    other.gap(SOON).await;
    let channels = || server.ask(&["PUBSUB", "CHANNELS"]);
    assert_eq!(channels().lines().count(), 2);
    drop(one);
    wait_until(|| channels() == "tower-reauth:{other}").await;
    // A watch alone keeps the connection.
    drop(store);
    assert_eq!(server.connections(), 1);
    drop(other);
    wait_until(|| server.connections() == 0).await;
}

async fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing happened in 2 s");
}

#[tokio::test]
async fn a_value_is_three_fields_under_one_key_and_expires() {
    let server = Server::start();
    let store = server.store();
    change(&store, 0, 5).await.unwrap();
    assert_eq!(server.ask(&["KEYS", "*"]), "tower-reauth:{payments}");
    let fields = server.ask(&["HGETALL", "tower-reauth:{payments}"]);
    let fields: Vec<_> = fields.lines().collect();
    assert_eq!(fields[..5], ["r", "5", "v", "5", "t"]);
    assert_eq!(fields.len(), 6);
    let week = 7 * 24 * 3600;
    let left: i64 = server.ask(&["TTL", "tower-reauth:{payments}"]).parse().unwrap();
    assert!((week - 10..=week).contains(&left), "{left}");
    let longer = Duration::from_secs(30 * 24 * 3600);
    store.compare_and_set(&name("payments"), 5, 6, b"6", longer).await.unwrap();
    let left: i64 = server.ask(&["TTL", "tower-reauth:{payments}"]).parse().unwrap();
    assert!(left > 29 * 24 * 3600, "{left}");
}

#[tokio::test]
async fn revisions_are_exact_up_to_their_bound() {
    let server = Server::start();
    let store = server.store();
    let last = (1 << 53) - 1;
    assert_eq!(change(&store, 0, last - 1).await.unwrap(), Swap::Done);
    assert!(matches!(change(&store, last - 2, last).await.unwrap(), Swap::Conflict(Some(_))));
    assert_eq!(change(&store, last - 1, last).await.unwrap(), Swap::Done);
    assert_eq!(revision(&store).await.unwrap(), last);
}

#[test]
fn a_store_outlives_the_runtime_that_connected_it() {
    let server = Server::start();
    let store = server.store();
    let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let mut notices = Notices::of(&store, "payments");
    one.block_on(async {
        change(&store, 0, 1).await.unwrap();
        notices.changed(1).await;
    });
    let waiting = other.spawn(async move {
        // One that waits when the runtime goes away is woken and connects again.
        notices.gap(SOON).await;
        notices
    });
    drop(one);
    let mut notices = other.block_on(waiting).unwrap();
    other.block_on(async {
        eventually(SOON, async || change(&store, 1, 2).await).await;
        notices.changed(2).await;
    });
}
