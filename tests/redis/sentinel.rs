//! A primary that sentinels watch over.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::time::timeout;
use tower_reauth::store::{Notice, RedisStore, Swap};

use crate::server::{
    Notices, PASSWORD, SOON, Server, USER, ask, change, eventually, free_port, program, revision,
};

struct Sentinel {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Sentinel {
    fn start(primary: u16) -> Self {
        let (port, directory) = (free_port(), TempDir::new().unwrap());
        let file = directory.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor payments 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds payments 500\n\
             sentinel failover-timeout payments 2000\n"
        );
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(program());
        command.arg(&file).arg("--sentinel").current_dir(directory.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { port, child, _directory: directory }
    }

    /// Waits until the sentinel knows one replica.
    async fn wait_for_replica(&self) {
        let started = Instant::now();
        let command = ["SENTINEL", "REPLICAS", "payments"];
        while !ask(self.port, &command).is_some_and(|reply| {
            reply.contains("role-reported\nslave") && reply.contains("master-link-status\nok")
        }) {
            assert!(started.elapsed() < Duration::from_secs(30), "the sentinel sees no replica");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_primary_is_the_one_that_a_sentinel_names_before_and_after_a_failover() {
    let primary = Server::start();
    let replica = Server::start_with(&["--save", "", "--repl-diskless-sync-delay", "0"]);
    primary.ask(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    replica.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    let sentinel = Sentinel::start(primary.port);
    let dead = format!("redis://127.0.0.1:{}", free_port());
    let store = RedisStore::builder(format!("redis://{USER}:{PASSWORD}@payments"))
        .allow_plain_redis()
        .sentinels([dead, format!("redis://127.0.0.1:{}", sentinel.port)])
        .build()
        .unwrap();
    eventually(Duration::from_secs(10), async || revision(&store).await).await;
    let mut notices = Notices::of(&store, "payments");
    notices.gap(SOON).await;
    assert_eq!(change(&store, 0, 1).await.unwrap(), Swap::Done);
    assert_eq!(primary.connections(), 1);
    sentinel.wait_for_replica().await;
    assert_eq!(ask(sentinel.port, &["SENTINEL", "FAILOVER", "payments"]).unwrap(), "OK");
    // The old primary becomes a replica, which closes its connections or refuses both scripts.
    let started = Instant::now();
    while replica.connections() == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "the store does not follow");
        revision(&store).await.ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // While the servers change their roles, a gap may take the place of a change. Later ones are
    // heard of.
    let mut revision = 1;
    loop {
        // What the former primary has acknowledged may be lost.
        match change(&store, revision, revision + 1).await {
            Ok(Swap::Done) => revision += 1,
            Ok(Swap::Conflict(found)) => revision = found.map_or(0, |found| found.revision),
            Err(_) => {}
        }
        let heard = loop {
            match timeout(Duration::from_millis(500), notices.next(SOON)).await {
                Ok(Notice::Changed { revision: heard, .. }) if heard == revision => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        if heard {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(40), "no change is heard of");
    }
    assert_eq!(
        replica.ask(&["HGET", "tower-reauth:{payments}", "r"]),
        revision.to_string(),
        "the primary of now has it"
    );
}
