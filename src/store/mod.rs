//! Stores: share one client's token between processes.
//!
//! At an exclusive endpoint two processes with one client id kill each other's tokens. With a
//! [`TokenStore`] in common they use one token: one of them renews it, and the others hold their
//! requests meanwhile.
//!
//! A store keeps one small value per [`Name`] and changes it by compare-and-set. It knows nothing
//! of tokens: what the value says and who may change it is this crate's affair.
//!
//! # Stores
//!
//! | store | of | feature |
//! |---|---|---|
//! | [`MemoryStore`] | one process, and tests | |
//! | `FileStore` | the processes of one machine or pod | `file-store` |
//! | `RedisStore` | any number of processes, through Redis 7 or Valkey | `redis` |
//!
//! # How to write a store
//!
//! A store needs three things of a database: a change that is made only if a number has not
//! changed, a reading that is never behind such a change, and a way to tell others of it.
//! [`TokenStore`] lists the rules. `conformance` (feature `sandbox`) tests them, and
//! `conformance_between` tests two handles that stand for two processes.
//!
//! | database | compare-and-set, with the database's own number | age | watch |
//! |---|---|---|---|
//! | NATS KV | `create`, `update` with the sequence of the entry | none | `watch` of the key |
//! | etcd | a transaction that compares `mod_revision` | none | `watch` of the key |
//! | Kubernetes | `replace` of a Secret with its `resourceVersion` | none | `watch` of the Secret |
//! | Postgres | `update … where revision = $old` | `clock_timestamp()` less a column | `LISTEN` |
//!
//! In Postgres each change sets the column to `clock_timestamp()`, and sends a `NOTIFY`. Behind a
//! pooler of transactions there is no `LISTEN`, and a reading every 250 ms takes its place.
//!
//! Where the database numbers its changes itself, both numbers are needed:
//!
//! 1. Keep the caller's revision beside the value, for example as its first eight bytes.
//! 2. `get` reads the entry and returns the caller's revision.
//! 3. `compare_and_set` reads the entry, and is a conflict if the caller's revision is not `old`.
//!    Then it writes on the condition that the database's number is the one just read. If that
//!    fails, another process was faster: read again, and return the conflict.
//!
//! Where the database has a clock, an age is the difference of two of its readings, rounded up.
//! Where it has none, or does not tell it, never compare the clocks of two machines. Note when this
//! process has read each revision first, return the time since then as the age, and let
//! [`has_clock`](TokenStore::has_clock) return `false`. Such an age is right for any clocks. A
//! process that has just started takes the lease of a dead one over later than others would, and
//! learns nothing of the age of a token.
//!
//! Where the database can't tell of changes, read every 250 ms and yield what is new. Yield a
//! [`Notice::Gap`] whenever the connection was lost, once the next one works.
//!
//! # Examples
//!
//! A store of a map in memory has all the parts. `examples/stacks/own_store.rs` in the repository
//! has one for a database with numbers of its own and no clock.
//!
//! ```
//! use std::{
//!     collections::HashMap,
//!     sync::{Mutex, MutexGuard, PoisonError},
//!     time::Duration,
//! };
//!
//! use bytes::Bytes;
//! use futures_util::{Stream, stream};
//! use tokio::{sync::broadcast, time::Instant};
//! use tower_reauth::store::{Name, Notice, StoreError, Swap, TokenStore, Versioned};
//!
//! struct MapStore {
//!     rows: Mutex<HashMap<Name, (u64, Bytes, Instant)>>,
//!     changes: broadcast::Sender<(Name, u64, Bytes)>,
//! }
//!
//! impl MapStore {
//!     fn new() -> Self {
//!         Self { rows: Mutex::default(), changes: broadcast::channel(16).0 }
//!     }
//!
//!     fn rows(&self) -> MutexGuard<'_, HashMap<Name, (u64, Bytes, Instant)>> {
//!         self.rows.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//! }
//!
//! impl TokenStore for MapStore {
//!     async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
//!         Ok(self.rows().get(name).map(|(revision, value, changed)| Versioned {
//!             revision: *revision,
//!             value: value.clone(),
//!             age: changed.elapsed(),
//!         }))
//!     }
//!
//!     async fn compare_and_set(
//!         &self,
//!         name: &Name,
//!         old: u64,
//!         new: u64,
//!         value: &[u8],
//!         _keep: Duration,
//!     ) -> Result<Swap, StoreError> {
//!         let value = Bytes::copy_from_slice(value);
//!         {
//!             let mut rows = self.rows();
//!             if rows.get(name).map_or(0, |row| row.0) == old {
//!                 rows.insert(name.clone(), (new, value.clone(), Instant::now()));
//!                 // Under the lock, so that the changes are told in their order.
//!                 let _nobody_watches = self.changes.send((name.clone(), new, value));
//!                 return Ok(Swap::Done);
//!             }
//!         }
//!         Ok(Swap::Conflict(self.get(name).await?))
//!     }
//!
//!     fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
//!         let (name, changes) = (name.clone(), self.changes.subscribe());
//!         stream::unfold((name, changes, true), async |(name, mut changes, first)| {
//!             let notice = loop {
//!                 if first {
//!                     break Notice::Gap;
//!                 }
//!                 match changes.recv().await {
//!                     Ok((changed, revision, value)) if changed == name => {
//!                         break Notice::Changed { revision, value };
//!                     }
//!                     Ok(_) => {}
//!                     Err(broadcast::error::RecvError::Lagged(_)) => break Notice::Gap,
//!                     Err(broadcast::error::RecvError::Closed) => return None,
//!                 }
//!             };
//!             Some((notice, (name, changes, false)))
//!         })
//!     }
//! }
//!
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower_reauth::store::ConformanceError> {
//! tower_reauth::store::conformance(&MapStore::new()).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```

#[cfg(feature = "sandbox")]
mod conformance;
mod dyn_store;
mod error;
#[cfg(feature = "file-store")]
mod file;
mod memory;
mod name;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod seal;
#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
mod search;
pub(crate) mod steps;
mod token_store;
pub(crate) mod value;

#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub use self::conformance::{ConformanceError, Rule, conformance, conformance_between};
pub(crate) use self::dyn_store::DynStore;
#[cfg(feature = "file-store")]
#[cfg_attr(docsrs, doc(cfg(feature = "file-store")))]
pub use self::file::FileStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{RedisStore, RedisStoreBuilder};
#[cfg(feature = "seal")]
#[cfg_attr(docsrs, doc(cfg(feature = "seal")))]
pub use self::seal::KeyRing;
pub use self::{
    error::StoreError,
    memory::MemoryStore,
    name::Name,
    token_store::{Notice, StoreDown, Swap, TokenStore, Versioned},
};
