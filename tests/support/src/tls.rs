//! An HTTPS server on loopback.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer,
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub const HTTP1: [&[u8]; 1] = [b"http/1.1"];
pub const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A host of the certificates beside `localhost`. It has no address (RFC 6761, section 6.4), so
/// only a proxy leads there.
pub const ELSEWHERE: &str = "api.invalid";

pub struct Tls {
    addr: SocketAddr,
    /// For clients that trust its CA.
    pub trusting: ClientConfig,
    /// Its CA.
    pub ca_pem: String,
    /// A certificate of the CA for a client, and its key.
    pub client_pem: [String; 2],
    /// For clients that trust its CA, and show a certificate of it.
    pub known: ClientConfig,
}

impl Tls {
    /// Serves `router` for `localhost` by these ALPN protocols, with a certificate of a CA made for
    /// the occasion.
    pub async fn serve(router: axum::Router, protocols: &[&[u8]]) -> Self {
        Self::start(protocols, false, serving(router)).await
    }

    /// Serves as `serve` does, for clients with a certificate of the CA alone.
    pub async fn serve_known_clients(router: axum::Router, protocols: &[&[u8]]) -> Self {
        Self::start(protocols, true, serving(router)).await
    }

    /// Takes TLS off the connections, and passes them on to a server on this machine.
    pub async fn in_front_of(server: SocketAddr) -> Self {
        let pass_on = move |mut stream| async move {
            let Ok(mut server) = TcpStream::connect(server).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        };
        Self::start(&HTTP1, false, pass_on).await
    }

    async fn start<F>(
        protocols: &[&[u8]],
        only_known: bool,
        serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let hosts = CertificateParams::new(["localhost", ELSEWHERE].map(str::to_owned)).unwrap();
        let certificate = hosts.signed_by(&key, &ca).unwrap();
        let client_key = KeyPair::generate().unwrap();
        let client = CertificateParams::new(Vec::new()).unwrap().signed_by(&client_key, &ca);
        let client = client.unwrap();
        let client_pem = [client.pem(), client_key.serialize_pem()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier = if only_known {
            let roots = Arc::new(roots.clone());
            WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap()
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, serve) = (acceptor.clone(), serve.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serve(stream).await;
                });
            }
        });
        let trusting = || {
            ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone())
        };
        let client_key = PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
        let known = trusting().with_client_auth_cert(vec![client.der().clone()], client_key);
        Self {
            addr,
            trusting: trusting().with_no_client_auth(),
            known: known.unwrap(),
            ca_pem: ca.pem(),
            client_pem,
        }
    }

    pub fn base_url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }
}

fn serving(
    router: axum::Router,
) -> impl Fn(TlsStream<TcpStream>) -> Serving + Clone + Send + 'static {
    move |stream| {
        let service = TowerToHyperService::new(router.clone());
        Box::pin(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        })
    }
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
