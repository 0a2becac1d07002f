//! One connection, from the login to its loss.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, Value,
    aio::MultiplexedConnection,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use super::{
    primary::Primary,
    refusal, scripts,
    watchers::{Generation, Watchers},
};
use crate::{clock, store::StoreError};

/// The time until a new connection works: look-up, TCP, TLS, login, subscriptions. It is less than
/// an operation waits, so that one that waits learns what failed.
const READY_TIMEOUT: Duration = Duration::from_millis(2500);

/// For the response to one command of the session's own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the server has to show that it still responds on this connection.
///
/// A connection can be dead in one direction. If a proxy is in between, the kernel does not notice.
const CHECK_EVERY: Duration = Duration::from_secs(3);

/// Names in one command.
const BATCH: usize = 100;

/// Opens a connection and keeps it until it fails. Calls `ready` once it works. Returns why it
/// failed.
pub(super) async fn run(
    primary: &Primary,
    watchers: &Arc<Watchers>,
    ready: impl FnOnce(MultiplexedConnection),
) -> StoreError {
    let by = clock::now() + READY_TIMEOUT;
    let opened = in_time(by, primary, open(primary, watchers)).await;
    let (connection, driver) = match opened {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    let mut session = Session::new(watchers, connection.clone());
    let work = async {
        in_time(by, primary, session.set_up()).await?;
        ready(connection);
        session.serve().await
    };
    // The connection ends with its driver, when this returns.
    match select(pin!(work), pin!(driver)).await {
        Either::Left((Err(error), _)) => error,
        Either::Right(_) => StoreError::unavailable("the connection was lost"),
    }
}

async fn in_time<T>(
    by: Instant,
    primary: &Primary,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout_at(by, step).await.unwrap_or_else(|_| {
        Err(StoreError::unavailable(format!("{} did not respond in time", primary.server)))
    })
}

/// Returns a connection, and the future that reads and writes for it.
async fn open(
    primary: &Primary,
    watchers: &Arc<Watchers>,
) -> Result<(MultiplexedConnection, impl Future<Output = ()> + use<>), StoreError> {
    // Without a login, which has been made by then.
    static INFO: LazyLock<RedisConnectionInfo> = LazyLock::new(|| {
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name()
    });

    let stream = primary.open().await?;
    let watchers = Arc::clone(watchers);
    let config = AsyncConnectionConfig::new()
        // An operation has its own bound.
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            take_in(&watchers, &push);
            Ok::<_, Infallible>(())
        });
    MultiplexedConnection::new_with_config(&INFO, stream, config)
        .await
        .map_err(|error| refusal::classify(&error))
}

/// Passes a published change on.
fn take_in(watchers: &Watchers, push: &PushInfo) {
    if push.kind == PushKind::Message
        && let [Value::BulkString(channel), Value::BulkString(payload)] = &*push.data
        && let Some(name) = scripts::name(channel)
    {
        watchers.tell(&name, scripts::published(payload).as_ref());
    }
}

struct Session<'a> {
    on: Generation,
    watchers: &'a Watchers,
    connection: MultiplexedConnection,
}

impl<'a> Session<'a> {
    fn new(watchers: &'a Watchers, mut connection: MultiplexedConnection) -> Self {
        static GENERATION: AtomicU64 = AtomicU64::new(1);

        connection.set_response_timeout(RESPONSE_TIMEOUT);
        let on = GENERATION.fetch_add(1, Ordering::Relaxed);
        Self { on, watchers, connection }
    }

    /// Subscribes to what is watched.
    async fn set_up(&mut self) -> Result<(), StoreError> {
        self.check().await?;
        // Needed much later, so a right that is missing would be noticed long after the rollout.
        self.connection
            .unsubscribe("tower-reauth:{}")
            .await
            .map_err(|error| refusal::classify(&error))?;
        self.subscribe().await
    }

    /// Follows the watchers, and checks the connection.
    async fn serve(&mut self) -> Result<Infallible, StoreError> {
        let mut checks = interval_at(clock::now() + CHECK_EVERY, CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let watchers = self.watchers;
            match select(pin!(watchers.changed()), pin!(checks.tick())).await {
                Either::Left(_) => self.subscribe().await?,
                Either::Right(_) => self.check().await?,
            }
        }
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        redis::cmd("PING")
            .exec_async(&mut self.connection)
            .await
            .map_err(|error| refusal::classify(&error))
    }

    /// Subscribes to the names that have watchers, and unsubscribes from those that have none.
    async fn subscribe(&mut self) -> Result<(), StoreError> {
        let plan = self.watchers.plan(self.on);
        let channels = |names: &[_]| names.iter().map(scripts::key).collect::<Vec<_>>();
        for names in plan.add.chunks(BATCH) {
            self.connection
                .subscribe(channels(names))
                .await
                .map_err(|error| refusal::classify(&error))?;
        }
        for names in plan.remove.chunks(BATCH) {
            self.connection
                .unsubscribe(channels(names))
                .await
                .map_err(|error| refusal::classify(&error))?;
        }
        // Whoever came meanwhile has left a sign, and is planned for in the next round.
        self.watchers.carried_out(self.on, plan);
        Ok(())
    }
}
