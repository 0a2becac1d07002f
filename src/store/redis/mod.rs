//! [`RedisStore`]: values in Redis or Valkey, and pushes over the same connection.

mod address;
mod builder;
mod link;
mod primary;
mod refusal;
mod scripts;
mod session;
mod transport;
mod watchers;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;

pub use self::builder::RedisStoreBuilder;
use self::{link::Links, watchers::Inbox};
use super::{Name, Notice, StoreError, Swap, TokenStore, Versioned};
use crate::error::ConfigError;

/// Shares tokens through Redis 7 or later, or Valkey.
///
/// One connection serves any number of names. It is made when the store is first used, on the Tokio
/// runtime where that happens, and made again whenever it is lost. A clone is the same store.
///
/// # Server
///
/// A single primary is enough, with replicas or without. Its loss costs what
/// [`StoreDown`](super::StoreDown) says, and its data are only worth a few requests for tokens: no
/// persistence is needed. With [sentinels](RedisStoreBuilder::sentinels) the store follows a
/// failover. Replicas are never read. A Redis Cluster is not supported, because its pub/sub and
/// its redirections are others; a node of one is reported as unusable.
///
/// Give the fleet a user of its own with the rules of [`ACL`](Self::ACL). A right that is missing
/// is named in the error. The eviction policy should be `noeviction` or `volatile-*`, and a value
/// expires 7 days after its last change.
///
/// Two fleets in one server have different names, or a namespace each. The database of the URL is
/// always 0, because channels are shared by all databases.
///
/// # Security
///
/// Whoever can read `tower-reauth:*` in the server, its dumps or its replicas, can read the token,
/// unless it is sealed. Whoever can write there can stop the fleet or make it ask for tokens. So
/// `redis://` beyond this machine is refused unless it is
/// [allowed by name](RedisStoreBuilder::allow_plain_redis).
///
/// `rediss://` checks the server's certificate against the authorities of the platform, as the
/// feature `client` does, or as [`tls_config`](RedisStoreBuilder::tls_config) says. The password of
/// the URL is wiped once the store, its clones and its watches are gone. No error, log line or
/// `Debug` shows it. The `String` that holds your URL is yours to wipe.
///
/// # Bounds
///
/// A new connection has 2.5 seconds until it works, and an operation has 3 seconds. While the
/// server is known to be down, operations fail at once, and connecting is tried again within a
/// second, or within 5 if somebody has to set something right. The server has to respond to a
/// `PING` every 3 seconds, within 2 seconds. So a subscription that is dead in one direction is
/// replaced after 5 seconds at most, and its watchers get a [`Notice::Gap`].
///
/// # Examples
///
/// ```no_run
/// use tower_reauth::{ConfigError, store::RedisStore};
///
/// # fn f() -> Result<(), ConfigError> {
/// let store = RedisStore::connect("rediss://reauth:secret@redis.internal:6380")?;
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Links>);

impl RedisStore {
    /// The rules for the server's user: `ACL SETUSER reauth on >secret` and these.
    pub const ACL: &str = "resetkeys ~tower-reauth:* resetchannels &tower-reauth:* -@all \
                           +evalsha +script|load +hget +hmget +hset +pexpire +time +publish \
                           +subscribe +unsubscribe +ping";

    const KEYS: &str = "~tower-reauth:*";
    const CHANNELS: &str = "&tower-reauth:*";
    const ALLOW_PLAIN: &str = "RedisStoreBuilder::allow_plain_redis";

    /// Creates a store at `url`. It connects when it is first used.
    ///
    /// | URL | |
    /// |---|---|
    /// | `rediss://user:password@host:port` | TLS; also `valkeys://` |
    /// | `rediss://:password@host` | the server's default user, port 6379 |
    /// | `redis://host:port` | no TLS, so on this machine only; also `valkey://` |
    /// | `unix:///path`, `unix://user:password@/path` | a Unix socket |
    ///
    /// User and password are percent-encoded.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`RedisStoreBuilder::build`].
    pub fn connect(url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::builder(url).build()
    }

    /// Creates a builder, for a private certificate authority, sentinels or plain Redis.
    pub fn builder(url: impl AsRef<str>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.as_ref())
    }
}

impl TokenStore for RedisStore {
    async fn get(&self, name: &Name) -> Result<Option<Versioned>, StoreError> {
        self.0.run(async |connection| scripts::get(connection, name).await).await
    }

    async fn compare_and_set(
        &self,
        name: &Name,
        old: u64,
        new: u64,
        value: &[u8],
        keep: Duration,
    ) -> Result<Swap, StoreError> {
        let change = (old, new);
        self.0
            .run(async |connection| {
                scripts::compare_and_set(connection, name, change, value, keep).await
            })
            .await
    }

    fn watch(&self, name: &Name) -> impl Stream<Item = Notice> + Send + 'static {
        let (links, name) = (Arc::clone(&self.0), name.clone());
        let inbox = links.watchers.register(&name);
        Watch { links, name, inbox }
    }

    /// Returns 50 ms, in which a notice reaches nearly all watchers of 10,000.
    fn notice(&self) -> Duration {
        Duration::from_millis(50)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.0.primary().server;
        f.debug_struct("RedisStore").field("server", server).finish_non_exhaustive()
    }
}

/// The stream of one watcher.
struct Watch {
    links: Arc<Links>,
    name: Name,
    inbox: Arc<Inbox>,
}

impl Stream for Watch {
    type Item = Notice;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        if let Poll::Ready(notice) = self.inbox.poll(cx) {
            return Poll::Ready(Some(notice));
        }
        // After the waker is kept, which is called when a link ends.
        self.links.ensure();
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.links.watchers.unregister(&self.name, &self.inbox);
    }
}
