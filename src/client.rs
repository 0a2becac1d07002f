//! The built-in HTTPS client for the token endpoint: hyper and rustls, with the platform's trust roots.
//!
//! HTTP/1.1 and HTTP/2, pooled; no redirects, no proxies, no cookies. It speaks plain http too: where that may go is
//! decided by the layer and the endpoint above it. Connecting is bounded by 5 seconds; how long
//! a whole attempt may take is the [`RefreshPolicy`](crate::RefreshPolicy)'s. Its body type is free, so the same
//! function makes a client for the signed requests too.
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

/// hyper's pooled client over rustls.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A client that trusts what the platform trusts.
///
/// # Errors
///
/// The platform's verifier can't be set up.
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

/// A client with a TLS configuration of your own: a private CA, client certificates, another crypto provider. Its
/// ALPN protocols are set here and must be empty.
///
/// # Examples
///
/// ```
/// # fn f(config: rustls::ClientConfig) {
/// let client: tower_reauth::client::HttpsClient<http_body_util::Full<bytes::Bytes>> =
///     tower_reauth::client::https_with(config);
/// # }
/// ```
pub fn https_with<B>(mut config: ClientConfig) -> HttpsClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    config.alpn_protocols.clear();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config);
    pooled(connector.https_or_http().enable_all_versions().wrap_connector(tcp()))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
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

/// The process's own choice, if it has made one.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
