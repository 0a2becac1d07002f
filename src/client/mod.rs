//! The built-in HTTPS client for the token endpoint, made of hyper and rustls.
//!
//! - It speaks HTTP/1.1 and HTTP/2 over pooled connections. It follows no redirects and keeps no
//!   cookies.
//! - It uses a proxy only if its [`builder`] was told to, by
//!   [`proxy_from_env`](ClientBuilder::proxy_from_env) or [`proxy`](ClientBuilder::proxy), and
//!   never for this machine.
//! - It speaks plain http too. The layer and the endpoint above it decide where that may go.
//! - A connection has 5 seconds to be established, the look-up of the host's name, the tunnel
//!   through a proxy and the TLS handshake included. The proxy has 4 of them. The
//!   [`RefreshPolicy`](crate::RefreshPolicy) bounds a whole attempt.
//! - A host that can't be resolved, a refused TLS handshake and a server that does not speak HTTP
//!   end a refresh at once. The error names the host and says what to check.
//! - A pooled connection is closed after 90 seconds without a request.
//! - Its body type is free, so the same functions make a client for the signed requests.
//!
//! | function | trust | for |
//! |---|---|---|
//! | [`https`] | the platform's authorities | most |
//! | [`builder`] | those, and others | proxies, a company's authority, a client certificate |
//! | [`https_with`] | as you configure rustls | everything else |
//!
//! # Examples
//!
//! ```no_run
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_reauth::{Credentials, TokenCache, client, endpoint::SendPayments};
//!
//! let credentials = Credentials::new("my-client-id", "my-client-secret");
//! let endpoint = SendPayments::new("https://api.example.com", client::https()?, credentials)?;
//! let cache = TokenCache::new(endpoint);
//! # Ok(())
//! # }
//! ```
//!
//! Behind the proxy that `HTTPS_PROXY` and `NO_PROXY` name, with a company's own authority:
//!
//! ```no_run
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_reauth::{Credentials, client, endpoint::SendPayments};
//!
//! let http = client::builder()
//!     .proxy_from_env()
//!     .add_root_certificates(std::fs::read("/etc/ssl/company.pem")?)
//!     .build()?;
//! let credentials = Credentials::new("my-client-id", "my-client-secret");
//! let endpoint = SendPayments::new("https://api.example.com", http, credentials)?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod connector;
mod proxy;
mod stream;

use std::time::Duration;

use http_body::Body;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

pub(crate) use self::proxy::ProxyError;
pub use self::{
    builder::{ClientBuilder, builder},
    connector::Connector,
    stream::HttpsStream,
};
use crate::error::ConfigError;

/// hyper's pooled client over rustls, for requests with the body `B`.
pub type HttpsClient<B> = Client<Connector, B>;

const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Creates a client that trusts the certificate authorities of the platform.
///
/// It uses the process's default rustls crypto provider if one is installed, else `aws-lc-rs`.
///
/// # Errors
///
/// Returns [`ConfigError::Tls`] if the platform's certificate verifier can't be set up.
///
/// # Examples
///
/// ```no_run
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::client::{self, HttpsClient};
///
/// # fn f() -> Result<(), tower_reauth::ConfigError> {
/// let client: HttpsClient<Full<Bytes>> = client::https()?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
pub fn https<B>() -> Result<HttpsClient<B>, ConfigError>
where
    B: Body + Send,
    B::Data: Send,
{
    builder().build()
}

/// Creates a client with a TLS configuration of your own.
///
/// It may hold another crypto provider, or rules that the [`builder`] does not know. Its ALPN
/// protocols are replaced by those of HTTP/1.1 and HTTP/2.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::{
///     client::{self, HttpsClient},
///     rustls,
/// };
///
/// # fn f(config: rustls::ClientConfig) {
/// let client: HttpsClient<Full<Bytes>> = client::https_with(config);
/// # let _ = client;
/// # }
/// ```
pub fn https_with<B>(config: ClientConfig) -> HttpsClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    pooled(Connector::new(config, None))
}

fn pooled<B>(connector: Connector) -> HttpsClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector)
}
