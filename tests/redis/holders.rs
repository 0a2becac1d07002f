//! A holder of the lease that is killed or stands still, as a process of its own.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use support::child;
use tempfile::TempDir;
use tokio::time::sleep;
use tower_reauth::{RefreshPolicy, store::StoreDown};

use crate::{
    fleet::{Fleet, Seen, cache_at, call},
    server::{Notices, SOON, Server},
};

const LIFETIME: Duration = Duration::from_secs(6);

/// The lease of such tokens, and a second.
const TAKEN_OVER: Duration = Duration::from_secs(2);

/// Where a holder finds the server and the sandbox.
const PLACES: [&str; 2] = ["FLEET_TEST_STORE", "FLEET_TEST_SANDBOX"];

/// The process that renews first.
struct Holder {
    child: Child,
    folder: TempDir,
}

impl Holder {
    fn start(fleet: &Fleet, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = child::command(&[], module_path!(), name, folder.path());
        command.env(PLACES[0], fleet.server.url()).env(PLACES[1], fleet.sandbox.base_url());
        Self { child: command.spawn().unwrap(), folder }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Returns what its callers have seen.
    fn seen(&self) -> String {
        fs::read_to_string(self.folder.path().join("seen")).unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends requests, and reports what its callers saw, until this process is killed.
async fn hold(folder: &Path) {
    let [url, base_url] = PLACES.map(|place| env::var(place).unwrap());
    let early = RefreshPolicy::default().renew_at(0.5).jitter(0.02);
    let cache = cache_at(&url, &base_url, StoreDown::Alone, early);
    let seen = Arc::<Mutex<Seen>>::default();
    let _callers = call(&cache, &base_url, &seen);
    loop {
        let (new, file) = (folder.join("new"), folder.join("seen"));
        fs::write(&new, seen.lock().unwrap().summary()).unwrap();
        fs::rename(new, file).unwrap();
        sleep(Duration::from_millis(50)).await;
    }
}

impl Seen {
    /// Returns the number of 401s, and that of all errors.
    fn summary(&self) -> String {
        format!("{} {}", self.refused, self.errors.len() as u64 + self.store_down)
    }
}

async fn start(name: &str) -> (Fleet, Holder) {
    let (server, policy) = (Server::start(), RefreshPolicy::default());
    let latency = Duration::from_millis(100);
    let fleet = Fleet::start_at(server, (LIFETIME, latency), StoreDown::Alone, policy).await;
    let holder = Holder::start(&fleet, name);
    (fleet, holder)
}

/// Waits until the holder has asked for a token.
async fn asked(fleet: &Fleet) {
    fleet.until("request for a token", LIFETIME, |fleet| fleet.posts() == 2).await;
}

/// Waits until all others have a living token that was asked for after `posts` requests.
async fn taken_over(fleet: &Fleet, posts: u64) {
    let is_taken_over = |it: &Fleet| it.posts() > posts && it.is_of_one_mind();
    let time = fleet.until("take-over", TAKEN_OVER, is_taken_over).await;
    println!("taken over after {time:?}");
    assert_eq!(fleet.posts(), posts + 1);
    assert_eq!(fleet.sum(|counters| counters.store_takeovers), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_killed_after_it_asked_is_replaced() {
    if let Some(folder) = child::argument() {
        return hold(Path::new(&folder)).await;
    }
    let (fleet, mut holder) = start("a_holder_that_is_killed_after_it_asked_is_replaced").await;
    asked(&fleet).await;
    holder.child.kill().unwrap();
    taken_over(&fleet, 2).await;
    fleet.renewed(3, LIFETIME).await;
    fleet.assert_unseen();
    assert_eq!(holder.seen(), "0 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_killed_before_it_asked_is_replaced() {
    if let Some(folder) = child::argument() {
        return hold(Path::new(&folder)).await;
    }
    let (fleet, mut holder) = start("a_holder_that_is_killed_before_it_asked_is_replaced").await;
    let store = fleet.server.store();
    let mut notices = Notices::of(&store, "payments");
    notices.gap(SOON).await;
    // The next change is the lease. It is followed by the request after the grace.
    notices.next(LIFETIME).await;
    holder.child.kill().unwrap();
    let posts = fleet.posts();
    taken_over(&fleet, posts).await;
    fleet.renewed(posts + 1, LIFETIME).await;
    fleet.assert_unseen();
    assert_eq!(holder.seen(), "0 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stands_still_is_replaced_and_fenced() {
    if let Some(folder) = child::argument() {
        return hold(Path::new(&folder)).await;
    }
    let (fleet, holder) = start("a_holder_that_stands_still_is_replaced_and_fenced").await;
    asked(&fleet).await;
    let stopped = Instant::now();
    holder.signal("STOP");
    taken_over(&fleet, 2).await;
    sleep(Duration::from_millis(2500).saturating_sub(stopped.elapsed())).await;
    let serving = fleet.caches[0].current().unwrap();
    holder.signal("CONT");
    // Its token came late, and it has to take that of the others.
    sleep(Duration::from_millis(500)).await;
    assert_eq!(fleet.posts(), 3);
    assert!(fleet.is_of_one_mind());
    assert_eq!(fleet.caches[0].current().unwrap().sequence(), serving.sequence());
    fleet.renewed(3, LIFETIME).await;
    fleet.assert_unseen();
    assert_eq!(fleet.posts(), 4);
    assert_eq!(holder.seen(), "0 0");
}
