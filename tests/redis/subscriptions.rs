//! Subscriptions through a proxy that fails: each watcher learns of it in bounded time.

use std::time::{Duration, Instant};

use tower_reauth::store::RedisStore;

use crate::{
    proxy::{Fault, Proxy},
    server::{Notices, SOON, Server, change, eventually, revision, url_at},
};

/// The store checks every 3 seconds, and waits 2 seconds for the response.
const NOTICED: Duration = Duration::from_secs(6);

struct Fleet {
    server: Server,
    proxy: Proxy,
    /// Connected through the proxy.
    far: RedisStore,
    near: RedisStore,
    notices: Notices,
}

impl Fleet {
    async fn start() -> Self {
        let server = Server::start();
        let proxy = Proxy::to(server.port).await;
        let far = RedisStore::connect(url_at(proxy.port)).unwrap();
        let near = server.store();
        let mut notices = Notices::of(&far, "payments");
        notices.gap(SOON).await;
        change(&near, 0, 1).await.unwrap();
        notices.changed(1).await;
        Self { server, proxy, far, near, notices }
    }

    /// Makes a change that the watcher misses, waits for the gap, and for the next change.
    async fn assert_heals(mut self, faults: (Fault, Fault)) {
        self.proxy.set(faults);
        let started = Instant::now();
        change(&self.near, 1, 2).await.unwrap();
        self.notices.gap(NOTICED).await;
        println!("{faults:?}: noticed after {:?}", started.elapsed());
        assert_eq!(revision(&self.far).await.unwrap(), 2);
        assert_eq!(self.proxy.made(), 2);
        change(&self.near, 2, 3).await.unwrap();
        self.notices.changed(3).await;
        drop(self.server);
    }
}

#[tokio::test]
async fn a_subscription_that_hears_nothing_is_replaced() {
    Fleet::start().await.assert_heals((Fault::None, Fault::Swallow)).await;
}

#[tokio::test]
async fn a_subscription_whose_server_hears_nothing_is_replaced() {
    let mut fleet = Fleet::start().await;
    fleet.proxy.set((Fault::Swallow, Fault::None));
    // Notices still come, and no response does.
    change(&fleet.near, 1, 2).await.unwrap();
    fleet.notices.changed(2).await;
    fleet.notices.gap(NOTICED).await;
    assert_eq!(revision(&fleet.far).await.unwrap(), 2);
}

#[tokio::test]
async fn a_subscription_that_is_cut_is_replaced_at_once() {
    let fleet = Fleet::start().await;
    let started = Instant::now();
    fleet.assert_heals((Fault::Cut, Fault::Cut)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_subscription_that_is_closed_in_one_direction_is_replaced_at_once() {
    for faults in [(Fault::Close, Fault::None), (Fault::None, Fault::Close)] {
        let fleet = Fleet::start().await;
        let started = Instant::now();
        fleet.assert_heals(faults).await;
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn an_operation_without_a_response_replaces_the_connection() {
    let mut fleet = Fleet::start().await;
    fleet.proxy.set((Fault::None, Fault::Swallow));
    let asked = Instant::now();
    assert!(change(&fleet.far, 1, 2).await.unwrap_err().is_transient());
    assert!(asked.elapsed() < Duration::from_millis(3500));
    // Sooner than by the next check.
    fleet.notices.gap(Duration::from_secs(1)).await;
    // Its response was lost, and not its effect.
    assert_eq!(revision(&fleet.far).await.unwrap(), 2);
}

#[tokio::test]
async fn a_slow_network_is_no_dead_one() {
    let mut fleet = Fleet::start().await;
    let (made, delay) = (fleet.proxy.made(), Duration::from_millis(200));
    fleet.proxy.set((Fault::None, Fault::Delay(delay)));
    let started = Instant::now();
    for revision in 2..12 {
        eventually(SOON, async || change(&fleet.near, revision - 1, revision).await).await;
        fleet.notices.changed(revision).await;
        assert_eq!(self::revision(&fleet.far).await.unwrap(), revision);
    }
    assert!(started.elapsed() > Duration::from_secs(3));
    assert_eq!(fleet.proxy.made(), made);
}
