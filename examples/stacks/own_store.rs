//! A `TokenStore` of one's own in about 100 lines, for a database that numbers its changes itself
//! and has no clock: NATS KV, etcd, and Kubernetes are of this kind.
//!
//! ```text
//! cargo run -p examples-stacks --example own_store
//! ```
//!
//! It runs the test that every store has to pass, for two processes with a connection each, and
//! prints the rule that is broken, if one is.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an example, with the clock of the machine"
)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tower_reauth::store::{self, ConformanceError, Name, Notice, StoreError, Swap, Versioned};

/// The store: a bucket of the database, and what this process knows of ages.
struct BucketStore {
    bucket: Bucket,
    /// When this process has read a revision first.
    seen: Mutex<HashMap<Name, (u64, Instant)>>,
}

/// A value as the bucket keeps it: the caller's revision before the value.
fn packed(revision: u64, value: &[u8]) -> Bytes {
    [&revision.to_be_bytes(), value].concat().into()
}

fn unpacked(bytes: &Bytes) -> Result<(u64, Bytes), StoreError> {
    let (revision, value) = bytes
        .split_first_chunk()
        .ok_or_else(|| StoreError::unusable("the key holds what no token store has written"))?;
    Ok((u64::from_be_bytes(*revision), bytes.slice_ref(value)))
}

impl BucketStore {
    fn connect(bucket: Bucket) -> Self {
        Self { bucket, seen: Mutex::default() }
    }

    /// Reads the value, and the number that the database gave to its last change.
    async fn read(&self, name: &Name) -> Result<Option<(u64, Versioned)>, StoreError> {
        let entry = self.bucket.entry(&key(name)).await.map_err(unavailable)?;
        let Some(Entry { sequence, bytes }) = entry else { return Ok(None) };
        let (revision, value) = unpacked(&bytes)?;
        Ok(Some((sequence, Versioned { revision, value, age: self.age(name, revision) })))
    }

    /// Returns for how long this process has seen the revision. No clocks of two machines are
    /// compared, so they may differ by hours.
    fn age(&self, name: &Name, revision: u64) -> Duration {
        let mut seen = self.seen.lock().unwrap();
        let first = seen.entry(name.clone()).or_insert_with(|| (revision, Instant::now()));
        if first.0 != revision {
            *first = (revision, Instant::now());
        }
        first.1.elapsed()
    }
}

impl store::TokenStore for BucketStore {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        Ok(self.read(name).await?.map(|(_, found)| found))
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        // A database that forgets takes it as the time to live.
        _keep: Duration,
    ) -> Result<Swap, StoreError> {
        let (sequence, present) = self.read(name).await?.unzip();
        if present.as_ref().map_or(0, |present| present.revision) != old {
            return Ok(Swap::Conflict(present));
        }
        // The condition is on the database's own number, which has changed with any other change.
        let (key, last) = (key(name), sequence.unwrap_or(0));
        if self.bucket.update(&key, last, packed(new, value)).await.map_err(unavailable)? {
            return Ok(Swap::Done);
        }
        Ok(Swap::Conflict(self.get(name).await?))
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        // The gap says that from here on nothing is missed, so the database has to watch by then.
        // What can't be read is found by the caller, who gets it after the gap.
        let changes = self.bucket.watch(&key(name)).map(|change| match change {
            Watched::Put(entry) => match unpacked(&entry.bytes) {
                Ok((revision, value)) => Notice::Changed { revision, value },
                Err(_) => Notice::Gap,
            },
            Watched::Missed => Notice::Gap,
        });
        stream::iter([Notice::Gap]).chain(changes)
    }

    /// An age is by the observation of this process.
    fn has_clock(&self) -> bool {
        false
    }
}

/// What a name is called in the database.
fn key(name: &Name) -> String {
    format!("tower-reauth.{name}")
}

fn unavailable(error: DatabaseError) -> StoreError {
    StoreError::unavailable("the database does not answer").with_source(error)
}

#[tokio::main]
async fn main() -> Result<(), ConformanceError> {
    let database = Bucket::default();
    let (one, other) = (BucketStore::connect(database.clone()), BucketStore::connect(database));
    store::conformance_between(&one, &other).await?;
    println!("As promised: the store keeps every rule that processes need to share a token.");
    Ok(())
}

use database::{Bucket, DatabaseError, Entry, Watched};

/// A stand-in for the client of such a database, in the memory of this process. Its calls are named
/// as those of NATS KV.
mod database {
    use tokio::{sync::broadcast, task::yield_now};

    use super::{Arc, Bytes, HashMap, Mutex, Stream, stream};

    #[derive(Clone)]
    pub struct Entry {
        pub sequence: u64,
        pub bytes: Bytes,
    }

    pub enum Watched {
        Put(Entry),
        /// The connection was lost and made again.
        Missed,
    }

    #[derive(Debug)]
    pub struct DatabaseError;

    impl std::fmt::Display for DatabaseError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no connection")
        }
    }

    impl std::error::Error for DatabaseError {}

    #[derive(Clone)]
    pub struct Bucket {
        /// The number of the last change, and the entries.
        entries: Arc<Mutex<(u64, HashMap<String, Entry>)>>,
        puts: broadcast::Sender<(String, Entry)>,
    }

    impl Default for Bucket {
        fn default() -> Self {
            Self { entries: Arc::default(), puts: broadcast::channel(16).0 }
        }
    }

    impl Bucket {
        pub async fn entry(&self, key: &str) -> Result<Option<Entry>, DatabaseError> {
            yield_now().await;
            Ok(self.entries.lock().unwrap().1.get(key).cloned())
        }

        /// Writes if the last change of the key has this number; 0: if there is no such key.
        pub async fn update(
            &self,
            key: &str,
            last: u64,
            bytes: Bytes,
        ) -> Result<bool, DatabaseError> {
            yield_now().await;
            let (count, entries) = &mut *self.entries.lock().unwrap();
            if entries.get(key).map_or(0, |entry| entry.sequence) != last {
                return Ok(false);
            }
            *count += 1;
            let entry = Entry { sequence: *count, bytes };
            entries.insert(key.to_owned(), entry.clone());
            let _nobody_watches = self.puts.send((key.to_owned(), entry));
            Ok(true)
        }

        pub fn watch(&self, key: &str) -> impl Stream<Item = Watched> + Send + use<> {
            let watched = (key.to_owned(), self.puts.subscribe());
            stream::unfold(watched, async |(key, mut puts)| {
                loop {
                    match puts.recv().await {
                        Ok((put, entry)) if put == key => {
                            return Some((Watched::Put(entry), (key, puts)));
                        }
                        Ok(_) => {}
                        Err(broadcast::error::RecvError::Lagged(_)) => {
                            return Some((Watched::Missed, (key, puts)));
                        }
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            })
        }
    }
}
