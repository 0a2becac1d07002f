//! [`Primary`]: where the one server is that holds the values.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use redis::{ProtocolVersion, RedisConnectionInfo, aio::MultiplexedConnection};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{
    RedisStore,
    address::{Address, Server},
    refusal,
    transport::{self, Stream},
};
use crate::store::StoreError;

/// For the response of one sentinel.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Primary {
    /// The server. With sentinels its host is the name by which they know the primary.
    pub(super) server: Server,
    pub(super) sentinels: Vec<Server>,
    /// The sentinel to begin with.
    pub(super) turn: AtomicUsize,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) allow_plain: bool,
}

impl Primary {
    /// Opens a connection to the primary and logs in.
    pub(super) async fn open(&self) -> Result<Stream, StoreError> {
        let server = self.locate().await?;
        transport::open(&server, self.tls.as_ref()).await
    }

    /// Asks the sentinels, one after the other, until one of them knows the primary.
    async fn locate(&self) -> Result<Server, StoreError> {
        let Address::Tcp { host: name, .. } = &self.server.address else {
            return Ok(self.server.clone());
        };
        if self.sentinels.is_empty() {
            return Ok(self.server.clone());
        }
        // The next attempt begins with another one, so that dead ones don't use up its time.
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failed = StoreError::unavailable("no sentinel knows the primary");
        for turn in 0..self.sentinels.len() {
            let sentinel = &self.sentinels[(start + turn) % self.sentinels.len()];
            match timeout(SENTINEL_TIMEOUT, self.ask(sentinel, name)).await {
                Ok(Ok(Some((host, port)))) => return self.checked(&host, port),
                Ok(Ok(None)) => {}
                Ok(Err(error)) if error.is_denied() => {
                    failed = StoreError::denied(format!(
                        "the sentinel {sentinel} does not let this user log in and run \
                         `sentinel|get-master-addr-by-name`"
                    ));
                }
                Ok(Err(error)) => failed = error,
                Err(_) => {
                    let message = format!("the sentinel {sentinel} did not respond in time");
                    failed = StoreError::unavailable(message);
                }
            }
        }
        Err(failed)
    }

    fn checked(&self, host: &str, port: u16) -> Result<Server, StoreError> {
        let server = self.server.at(host, port);
        if server.is_exposed() && !self.allow_plain {
            let allow = RedisStore::ALLOW_PLAIN;
            return Err(StoreError::unusable(format!(
                "{server} is plain Redis and not this machine; use rediss, or allow it by name \
                 with `{allow}`"
            )));
        }
        Ok(server)
    }

    /// Asks `sentinel` where the primary called `name` is.
    async fn ask(
        &self,
        sentinel: &Server,
        name: &str,
    ) -> Result<Option<(String, u16)>, StoreError> {
        let stream = transport::open(sentinel, self.tls.as_ref()).await?;
        let info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        let classify = |error| refusal::classify(&error);
        let (mut connection, driver) =
            MultiplexedConnection::new(&info, stream).await.map_err(classify)?;
        let ask = async {
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            command.query_async(&mut connection).await.map_err(classify)
        };
        match select(pin!(ask), pin!(driver)).await {
            Either::Left((reply, _)) => reply,
            Either::Right(_) => {
                let message = format!("the sentinel {sentinel} closed the connection");
                Err(StoreError::unavailable(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_elsewhere_is_refused_in_plain_unless_that_is_allowed() {
        let primary = |url, allow_plain| Primary {
            server: Server::parse(url).unwrap(),
            sentinels: Vec::new(),
            turn: AtomicUsize::new(0),
            tls: None,
            allow_plain,
        };
        let checked = |url, allow_plain, host| primary(url, allow_plain).checked(host, 6379);
        let error = checked("redis://localhost", false, "10.0.0.1").unwrap_err();
        assert!(error.to_string().contains(RedisStore::ALLOW_PLAIN), "{error}");
        assert!(checked("redis://localhost", false, "127.0.0.1").is_ok());
        assert!(checked("redis://localhost", true, "10.0.0.1").is_ok());
        let server = checked("rediss://u:hunter2@payments", false, "10.0.0.1").unwrap();
        assert_eq!(server.to_string(), "rediss://10.0.0.1:6379");
        assert!(server.login.is_some());
    }
}
