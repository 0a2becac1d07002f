//! The built-in HTTPS client for the token endpoint, made of hyper and rustls.
//!
//! - It speaks HTTP/1.1 and HTTP/2 over pooled connections. It follows no redirects, uses no
//!   proxies and keeps no cookies.
//! - It speaks plain http too. The layer and the endpoint above it decide where that may go.
//! - A TCP connection has 5 seconds to be established. The [`RefreshPolicy`](crate::RefreshPolicy)
//!   bounds a whole attempt, with the TLS handshake.
//! - A pooled connection is closed after 90 seconds without a request.
//! - Its body type is free, so the same functions make a client for the signed requests.
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

use std::{sync::Arc, time::Duration};

use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, crypto::CryptoProvider};

use crate::error::ConfigError;

/// hyper's pooled client over rustls, for requests with the body `B`.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
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
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_platform_verifier(provider())
        .map_err(|error| ConfigError::Tls(error.to_string()))?;
    Ok(pooled(connector.https_or_http().enable_all_versions().wrap_connector(tcp())))
}

/// Creates a client with a TLS configuration of your own.
///
/// It may hold a private certificate authority, client certificates or another crypto provider.
/// Its ALPN protocols are replaced by those of HTTP/1.1 and HTTP/2.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::client::{self, HttpsClient};
///
/// # fn f(config: rustls::ClientConfig) {
/// let client: HttpsClient<Full<Bytes>> = client::https_with(config);
/// # let _ = client;
/// # }
/// ```
pub fn https_with<B>(mut config: ClientConfig) -> HttpsClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    // The connector's builder panics if some are set.
    config.alpn_protocols.clear();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config);
    pooled(connector.https_or_http().enable_all_versions().wrap_connector(tcp()))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // By default it refuses https URIs, but the TLS connector around it passes them on.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn pooled<B>(connector: HttpsConnector<HttpConnector>) -> HttpsClient<B>
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

/// Returns the process's default provider if one is installed, else `aws-lc-rs`.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
