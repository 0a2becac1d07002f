//! [`Connector`]: makes the connections of the built-in client.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::{legacy::connect::HttpConnector, proxy::matcher::Matcher};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

use super::{proxy::Hop, stream::HttpsStream};
use crate::{clock, error::BoxError};

/// The connector of the built-in client. It gives up on a connection that is not established in
/// time, whichever of its steps is the slow one.
#[derive(Clone)]
pub struct Connector(HttpsConnector<Hop>);

/// For a whole connection. Of the TCP connection alone, hyper's connector divides it among the
/// host's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Connector {
    pub(super) fn new(mut config: ClientConfig, proxies: Option<Matcher>) -> Self {
        // The connector's builder panics if some are set.
        config.alpn_protocols.clear();
        let hop = match proxies {
            Some(matcher) => Hop::through(matcher, tcp(), config.clone()),
            None => Hop::direct(tcp()),
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(config);
        Self(connector.https_or_http().enable_all_versions().wrap_connector(hop))
    }
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
    type Response = HttpsStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = timeout(CONNECT_TIMEOUT, connecting).await;
            connected.unwrap_or_else(|_| Err(too_slow())).map(HttpsStream::new)
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
