//! [`RedisStoreBuilder`]: the settings of a [`RedisStore`].

use std::sync::{Arc, atomic::AtomicUsize};

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;

use super::{
    RedisStore,
    address::{Address, Server},
    link::Links,
    primary::Primary,
};
use crate::{error::ConfigError, tls};

/// Sets up a [`RedisStore`].
///
/// # Examples
///
/// A primary that sentinels watch over, and a private certificate authority:
///
/// ```no_run
/// use tower_reauth::{ConfigError, store::RedisStore};
///
/// # fn f(tls: rustls::ClientConfig) -> Result<(), ConfigError> {
/// let store = RedisStore::builder("rediss://reauth:secret@primary-of-payments")
///     .sentinels(["rediss://sentinel-0:26379", "rediss://sentinel-1:26379"])
///     .tls_config(tls)
///     .build()?;
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is built"]
pub struct RedisStoreBuilder {
    server: Result<Server, ConfigError>,
    sentinels: Vec<Result<Server, ConfigError>>,
    tls: Option<Arc<ClientConfig>>,
    allow_plain: bool,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self { server: Server::parse(url), sentinels: Vec::new(), tls: None, allow_plain: false }
    }

    /// Allows `redis://` beyond this machine, for a network that is private by other means.
    ///
    /// Everybody on the way can then read the password, and the token unless it is sealed.
    pub fn allow_plain_redis(mut self) -> Self {
        self.allow_plain = true;
        self
    }

    /// Asks Redis Sentinel for the primary, whenever a connection is made.
    ///
    /// The host of the store's URL is then the name by which the sentinels know the primary. Its
    /// scheme and its user are for the primary. Each sentinel has a URL with its own. A sentinel
    /// is asked for 500 ms, and then the next.
    pub fn sentinels<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.sentinels.extend(urls.into_iter().map(|url| Server::parse(url.as_ref())));
        self
    }

    /// Sets the TLS configuration, for a private certificate authority or a client certificate.
    ///
    /// Defaults to the certificate authorities of the platform and no client certificate.
    pub fn tls_config(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Builds the store. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::InvalidUrl`]: a URL can't be used. Its password is not shown.
    /// - [`ConfigError::PlainRedis`]: a URL is plain Redis beyond this machine, which
    ///   [`allow_plain_redis`](Self::allow_plain_redis) permits.
    /// - [`ConfigError::Tls`]: the platform's certificate verifier can't be set up.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let Self { server, sentinels, tls, allow_plain } = self;
        let server = server?;
        let sentinels = sentinels.into_iter().collect::<Result<Vec<_>, _>>()?;
        if !sentinels.is_empty() && matches!(server.address, Address::Unix(_)) {
            return Err(ConfigError::InvalidUrl {
                url: server.to_string(),
                reason: "sentinels know a primary by a name; give it as the host of the URL",
            });
        }
        let all = || [&server].into_iter().chain(&sentinels);
        if let Some(exposed) = all().find(|server| server.is_exposed() && !allow_plain) {
            return Err(ConfigError::PlainRedis {
                address: exposed.to_string(),
                allow: RedisStore::ALLOW_PLAIN,
            });
        }
        let tls = match tls {
            None if all().any(|server| server.tls) => Some(platform_tls()?.into()),
            tls => tls,
        };
        let turn = AtomicUsize::new(0);
        Ok(RedisStore(Links::new(Primary { server, sentinels, turn, tls, allow_plain }).into()))
    }
}

/// Returns a configuration that trusts the certificate authorities of the platform.
fn platform_tls() -> Result<ClientConfig, ConfigError> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier);
    match builder {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => Err(ConfigError::Tls(error.to_string())),
    }
}
