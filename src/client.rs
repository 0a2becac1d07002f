//! The built-in HTTPS client for the token endpoint, made of hyper and rustls.
//!
//! - It speaks HTTP/1.1 and HTTP/2 over pooled connections. It follows no redirects, uses no
//!   proxies and keeps no cookies.
//! - It speaks plain http too. The layer and the endpoint above it decide where that may go.
//! - A connection has 5 seconds to be established, the look-up of the host's name and the TLS
//!   handshake included. The [`RefreshPolicy`](crate::RefreshPolicy) bounds a whole attempt.
//! - A host that can't be resolved, a refused TLS handshake and a server that does not speak HTTP
//!   end a refresh at once. The error names the host and says what to check.
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

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ::rustls::ClientConfig;
use http::Uri;
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use crate::{
    clock,
    error::{BoxError, ConfigError},
    tls,
};

/// The crate of the TLS configuration.
pub use rustls;

/// hyper's pooled client over rustls, for requests with the body `B`.
pub type HttpsClient<B> = Client<Connector, B>;

/// The connector of the built-in client. It gives up on a connection that is not established in
/// time, whichever of its steps is the slow one.
#[derive(Clone)]
pub struct Connector(HttpsConnector<HttpConnector>);

/// For a whole connection. Of the TCP connection alone, hyper's connector divides it among the
/// host's addresses.
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
        .with_provider_and_platform_verifier(tls::provider())
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
/// A client that shows a certificate, by which `ClientAuth::Tls` of OAuth 2 is known (RFC 8705):
///
/// ```no_run
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::client::{
///     self, HttpsClient,
///     rustls::{
///         ClientConfig, RootCertStore,
///         pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
///     },
/// };
///
/// # fn f() -> Result<(), tower_reauth::BoxError> {
/// let mut authorities = RootCertStore::empty();
/// authorities.add(CertificateDer::from_pem_file("ca.pem")?)?;
/// let certificate = CertificateDer::from_pem_file("client.pem")?;
/// let config = ClientConfig::builder()
///     .with_root_certificates(authorities)
///     .with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file("client.key")?)?;
/// let client: HttpsClient<Full<Bytes>> = client::https_with(config);
/// # let _ = client;
/// # Ok(())
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

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(too_slow()))
        })
    }
}

fn too_slow() -> BoxError {
    let bound = clock::in_seconds(CONNECT_TIMEOUT);
    let text = format!("the connection and its TLS handshake were not done within {bound}");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
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
        .build(Connector(connector))
}
