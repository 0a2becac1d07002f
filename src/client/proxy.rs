//! [`Hop`]: connects to a host, or to the proxy in front of it.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

use super::stream::HopStream;
use crate::{
    clock,
    error::{BoxError, host_and_port},
    origin,
};

/// Connects to a host directly, or through the proxy that the rules name for it.
#[derive(Clone)]
pub(super) struct Hop {
    tcp: HttpConnector,
    proxies: Option<Arc<Proxies>>,
}

/// For a connection to a proxy and its tunnel. It is less than the bound of the whole connection,
/// so that a silent proxy is blamed, and not the host behind it.
const PROXY_TIMEOUT: Duration = Duration::from_secs(4);

struct Proxies {
    matcher: Matcher,
    /// Connects to the proxies, which may have https addresses.
    connector: HttpsConnector<HttpConnector>,
}

/// The proxy in front of a host failed.
#[derive(Debug)]
pub(crate) struct ProxyError {
    /// Host and port of the proxy. Never the user and the password in its address.
    proxy: String,
    source: BoxError,
}

impl Hop {
    pub(super) fn direct(tcp: HttpConnector) -> Self {
        Self { tcp, proxies: None }
    }

    pub(super) fn through(matcher: Matcher, tcp: HttpConnector, config: ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        Self { tcp, proxies: Some(Arc::new(Proxies { matcher, connector })) }
    }
}

impl Service<Uri> for Hop {
    type Response = HopStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HopStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A request in plain http is allowed on this machine, because it never leaves it.
        let is_here = uri.host().is_some_and(origin::is_loopback);
        let proxies = self.proxies.as_ref().filter(|_| !is_here);
        let found = proxies.and_then(|it| Some((it.matcher.intercept(&uri)?, it)));
        if let Some((proxy, proxies)) = found {
            let connector = proxies.connector.clone();
            return Box::pin(async move {
                let connected = timeout(PROXY_TIMEOUT, connect(&proxy, connector, uri)).await;
                connected.unwrap_or_else(|_| Err(too_slow())).map_err(|source| {
                    let proxy = host_and_port(proxy.uri()).unwrap_or_default();
                    ProxyError { proxy, source }.into()
                })
            });
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { Ok(HopStream { io: connecting.await?.into(), is_forwarded: false }) })
    }
}

fn too_slow() -> BoxError {
    let text = format!("it took more than {}", clock::in_seconds(PROXY_TIMEOUT));
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

/// Connects through `proxy`.
///
/// An https host gets a tunnel (RFC 9110, section 9.3.6), so the proxy sees nothing but its name. A
/// request to an http host is forwarded, unless the proxy wants a password: that goes with the
/// request for a tunnel, and with no other.
async fn connect(
    proxy: &Intercept,
    mut connector: HttpsConnector<HttpConnector>,
    uri: Uri,
) -> Result<HopStream, BoxError> {
    if proxy.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks")) {
        return Err("it is a SOCKS proxy, and only http and https ones can be used".into());
    }
    let is_forwarded = uri.scheme() != Some(&Scheme::HTTPS) && proxy.basic_auth().is_none();
    let io = if is_forwarded {
        connector.call(proxy.uri().clone()).await?
    } else {
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        tunnel.call(with_port(&uri)?).await?
    };
    Ok(HopStream { io, is_forwarded })
}

/// Returns the URI with its port, because a tunnel takes 443 for one without.
fn with_port(uri: &Uri) -> Result<Uri, BoxError> {
    let address = host_and_port(uri).unwrap_or_default();
    Ok(Uri::builder().scheme("https").authority(address).path_and_query("/").build()?)
}

impl ProxyError {
    /// Returns host and port of the proxy.
    pub(crate) fn proxy(&self) -> &str {
        &self.proxy
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} made no connection", self.proxy)
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
