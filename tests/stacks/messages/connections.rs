//! Connections that fail, over real sockets.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use support::{
    closed_port::ClosedPort,
    tls::{self, Tls},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower_reauth::{
    client,
    endpoint::{HttpService, TokenClient},
};

use super::{Section, credentials};

/// The text of one request for a token. The port of a server on this machine is `PORT` in it.
async fn ask(http: impl HttpService, url: &str) -> String {
    let request = Request::post(url).body(Full::default()).unwrap();
    let error = TokenClient::new(http).send(request, &credentials()).await.unwrap_err();
    let port = url.rsplit(':').next().unwrap().trim_end_matches("/token");
    error.to_string().replace(&format!(":{port}"), ":PORT")
}

pub(super) async fn failed() -> Section {
    let mut section = Section::new("Connections to the token endpoint");
    let http = || client::https().unwrap();
    let closed = ClosedPort::hold();
    section.row("nobody listens", ask(http(), &format!("http://{}/token", closed.addr())).await);
    let unknown = "https://login.invalid:443/token";
    section.row("a name that has no address", ask(http(), unknown).await);
    section.row("plain http", ask(http(), "http://login.internal:80/token").await);

    let plain = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    section.row("https by a client without TLS", ask(plain, "https://127.0.0.1:9/token").await);

    let tls = Tls::serve(axum::Router::new(), &tls::BOTH).await;
    let url = format!("{}/token", tls.base_url());
    section.row("an authority that is not trusted", ask(http(), &url).await);
    let tls = Tls::serve_known_clients(axum::Router::new(), &tls::BOTH).await;
    let uncertified = client::https_with(tls.trusting.clone());
    let url = format!("{}/token", tls.base_url());
    section.row("a client without a certificate", ask(uncertified, &url).await);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // One that speaks first may be a balancer that closes a connection, and is tried again.
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
            open.push(stream);
        }
    });
    section.row("a server of another protocol", ask(http(), &url).await);

    let proxied = client::builder().proxy("http://proxy.invalid:3128").build().unwrap();
    section.row("a proxy that is gone", ask(proxied, "https://login.example.com:443/token").await);
    section
}
