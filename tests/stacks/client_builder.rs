//! The built-in client with roots, a client certificate and proxies, over real sockets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use support::{
    child,
    closed_port::ClosedPort,
    tls::{self, ELSEWHERE, Tls},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;
use tower_reauth::{
    AuthError, AuthLayer, ConfigError, Credentials, RefreshPolicy, SendPayments, TokenCache,
    client::{self, ClientBuilder, HttpsClient},
    sandbox::Sandbox,
};

type Client = HttpsClient<Full<Bytes>>;

fn hello() -> axum::Router {
    axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }))
}

async fn get(client: Client, url: &str) -> Result<String, String> {
    let request = Request::get(url).body(Full::default()).unwrap();
    let response = client.oneshot(request).await.map_err(|error| chain(&error))?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", chain(cause)))
}

fn trusting(tls: &Tls) -> ClientBuilder {
    client::builder().add_root_certificates(&tls.ca_pem)
}

#[tokio::test]
async fn a_root_is_trusted_beside_those_of_the_platform_or_alone() {
    let tls = Tls::serve(hello(), &tls::BOTH).await;
    let url = format!("{}/hello", tls.base_url());
    assert!(get(client::https().unwrap(), &url).await.unwrap_err().contains("UnknownIssuer"));
    for builder in [trusting(&tls), trusting(&tls).without_platform_roots()] {
        assert_eq!(get(builder.build().unwrap(), &url).await.unwrap(), "hello");
    }
    let other = Tls::serve(hello(), &tls::BOTH).await;
    let client = trusting(&other).without_platform_roots().build().unwrap();
    assert!(get(client, &url).await.unwrap_err().contains("invalid peer certificate"));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let tls = Tls::serve_known_clients(hello(), &tls::BOTH).await;
    let url = format!("{}/hello", tls.base_url());
    let [chain, key] = &tls.client_pem;
    let client = trusting(&tls).client_certificate(chain, key).build().unwrap();
    assert_eq!(get(client, &url).await.unwrap(), "hello");
    get(trusting(&tls).build().unwrap(), &url).await.unwrap_err();
}

#[tokio::test]
async fn what_a_builder_cannot_use_is_named_and_shows_no_secret() {
    let tls = Tls::serve(hello(), &tls::BOTH).await;
    let other = Tls::serve(hello(), &tls::BOTH).await;
    let ([chain, key], other_key) = (&tls.client_pem, &other.client_pem[1]);
    let builder = client::builder;
    for (builder, named) in [
        (builder().add_root_certificates("hunter2"), "root certificates"),
        (builder().add_root_certificates(key), "root certificates"),
        (builder().without_platform_roots(), "root certificates"),
        (builder().client_certificate("hunter2", key), "the client certificate"),
        (builder().client_certificate(chain, "hunter2"), "the key of the client certificate"),
        (builder().client_certificate(chain, chain), "the key of the client certificate"),
        (builder().client_certificate(chain, other_key), "the key of the client certificate"),
        (builder().proxy("http://user:hunter2@"), "the proxy"),
        (builder().proxy("socks5://user:hunter2@localhost:1080"), "the proxy"),
    ] {
        assert!(!format!("{builder:?}").contains("hunter2"));
        let error = builder.build::<Full<Bytes>>().unwrap_err();
        let ConfigError::InvalidSetting { setting, .. } = &error else { panic!("{error:?}") };
        assert!(setting.contains(named), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// A proxy that counts what it tunnels and what it forwards. It takes every host for this machine,
/// and wants a password if there is one.
#[derive(Clone)]
struct Proxy {
    address: SocketAddr,
    tunnels: Arc<AtomicUsize>,
    forwards: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(wanted: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            tunnels: Arc::default(),
            forwards: Arc::default(),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let proxy = serving.clone();
                tokio::spawn(async move { proxy.serve(client, wanted).await });
            }
        });
        proxy
    }

    async fn serve(self, client: TcpStream, wanted: Option<&str>) -> Option<()> {
        let mut client = BufReader::new(client);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if wanted.is_some_and(|wanted| !head.contains(&format!("Basic {wanted}\r\n"))) {
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
            return client.get_mut().write_all(refusal).await.ok();
        }
        if method == "CONNECT" {
            self.tunnels.fetch_add(1, Ordering::SeqCst);
            let mut server = server(target).await?;
            client.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            copy_bidirectional(&mut client, &mut server).await.ok()?;
            return None;
        }
        self.forwards.fetch_add(1, Ordering::SeqCst);
        let target: Uri = target.parse().unwrap();
        let mut server = server(target.authority()?.as_str()).await?;
        let rest = head.split_once(" HTTP/1.1\r\n")?.1;
        let head = format!("{method} {} HTTP/1.1\r\nconnection: close\r\n{rest}", target.path());
        server.write_all(head.as_bytes()).await.ok()?;
        copy_bidirectional(&mut client, &mut server).await.ok()?;
        None
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The numbers of tunnels and of forwarded requests.
    fn seen(&self) -> (usize, usize) {
        (self.tunnels.load(Ordering::SeqCst), self.forwards.load(Ordering::SeqCst))
    }
}

async fn server(authority: &str) -> Option<TcpStream> {
    let port: u16 = authority.rsplit_once(':')?.1.parse().ok()?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()
}

/// Returns the URL of a server on this machine with a host that only a proxy leads to.
fn elsewhere(url: &str) -> String {
    url.replace("localhost", ELSEWHERE).replace("127.0.0.1", ELSEWHERE)
}

/// A server without TLS.
async fn plain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hello", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, hello()).await });
    url
}

#[tokio::test]
async fn an_https_host_is_tunnelled_to_and_a_request_to_an_http_host_is_forwarded() {
    let (tls, proxy) = (Tls::serve(hello(), &tls::BOTH).await, Proxy::start(None).await);
    let client: Client = trusting(&tls).proxy(proxy.url()).build().unwrap();
    let url = elsewhere(&format!("{}/hello", tls.base_url()));
    assert_eq!(get(client.clone(), &url).await.unwrap(), "hello");
    assert_eq!(proxy.seen(), (1, 0));
    assert_eq!(get(client, &elsewhere(&plain().await)).await.unwrap(), "hello");
    assert_eq!(proxy.seen(), (1, 1));
}

#[tokio::test]
async fn a_proxy_may_have_an_https_address() {
    let (tls, proxy) = (Tls::serve(hello(), &tls::BOTH).await, Proxy::start(None).await);
    let front = Tls::in_front_of(proxy.address).await;
    let client = trusting(&tls).add_root_certificates(&front.ca_pem).proxy(front.base_url());
    let client: Client = client.build().unwrap();
    let url = elsewhere(&format!("{}/hello", tls.base_url()));
    assert_eq!(get(client.clone(), &url).await.unwrap(), "hello");
    assert_eq!(get(client, &elsewhere(&plain().await)).await.unwrap(), "hello");
    assert_eq!(proxy.seen(), (1, 1));
    // It has to prove who it is, as every server.
    let client = trusting(&tls).proxy(front.base_url()).build().unwrap();
    let error = get(client, &url).await.unwrap_err();
    assert!(error.contains("the proxy localhost:"), "{error}");
    assert!(error.contains("invalid peer certificate"), "{error}");
}

/// Plain http is allowed on this machine, because nobody else can read it there.
#[tokio::test]
async fn a_request_to_this_machine_goes_through_no_proxy() {
    let (tls, proxy) = (Tls::serve(hello(), &tls::BOTH).await, Proxy::start(None).await);
    let client: Client = trusting(&tls).proxy(proxy.url()).build().unwrap();
    let url = format!("{}/hello", tls.base_url());
    assert_eq!(get(client.clone(), &url).await.unwrap(), "hello");
    let url = plain().await;
    for host in ["127.0.0.1", "localhost", "LocalHost"] {
        let url = url.replace("127.0.0.1", host);
        assert_eq!(get(client.clone(), &url).await.unwrap(), "hello", "{host}");
    }
    // Nobody listens there.
    for host in ["[::1]", "127.0.0.2"] {
        get(client.clone(), &url.replace("127.0.0.1", host)).await.unwrap_err();
    }
    assert_eq!(proxy.seen(), (0, 0));
}

#[tokio::test]
async fn hosts_are_excepted_from_the_proxy() {
    let (tls, proxy) = (Tls::serve(hello(), &tls::BOTH).await, Proxy::start(None).await);
    let client = trusting(&tls).proxy(proxy.url()).no_proxy("example.com, invalid");
    let url = elsewhere(&format!("{}/hello", tls.base_url()));
    let error = get(client.build().unwrap(), &url).await.unwrap_err();
    assert!(error.contains("dns error"), "{error}");
    assert_eq!(proxy.seen(), (0, 0));
}

#[tokio::test]
async fn the_password_of_a_proxy_goes_with_a_tunnel_and_into_no_error() {
    // `user:hunter22`
    let (tls, proxy) =
        (Tls::serve(hello(), &tls::BOTH).await, Proxy::start(Some("dXNlcjpodW50ZXIyMg==")).await);
    let with = |user: &str| {
        trusting(&tls).proxy(format!("http://{user}@{}", proxy.address)).build().unwrap()
    };
    let url = elsewhere(&format!("{}/hello", tls.base_url()));
    assert_eq!(get(with("user:hunter22"), &url).await.unwrap(), "hello");
    assert_eq!(get(with("user:hunter22"), &elsewhere(&plain().await)).await.unwrap(), "hello");
    assert_eq!(proxy.seen(), (2, 0));
    let error = get(with("user:hunter21"), &url).await.unwrap_err();
    assert!(error.contains(&format!("the proxy {}", proxy.address)), "{error}");
    assert!(error.contains("authorization required") && !error.contains("hunter"), "{error}");
}

#[tokio::test]
async fn a_token_is_had_through_a_proxy_and_a_proxy_that_is_gone_is_blamed() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let tls = Tls::serve(sandbox.router(), &tls::BOTH).await;
    let (proxy, url) = (Proxy::start(None).await, elsewhere(&tls.base_url()));
    let auth = |http: Client| {
        let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
        let endpoint = SendPayments::new(&url, http, credentials).unwrap();
        AuthLayer::new(TokenCache::new(endpoint))
    };
    auth(trusting(&tls).proxy(proxy.url()).build().unwrap()).cache().token().await.unwrap();
    assert_eq!(proxy.seen(), (1, 0));

    let closed = ClosedPort::hold();
    for named in [format!("http://{}", closed.addr()), "http://proxy.invalid:3128".into()] {
        let http = trusting(&tls).proxy(&named).build().unwrap();
        let policy = RefreshPolicy::default().deadline(Duration::from_secs(1));
        let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
        let endpoint = SendPayments::new(&url, http, credentials).unwrap();
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        let error = cache.token().await.unwrap_err();
        let proxy = named.trim_start_matches("http://");
        assert!(error.to_string().starts_with(&format!("the proxy {proxy} ")), "{error}");
        assert!(error.is_transient() && !AuthError::is_permanent(&error), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_silent_is_blamed() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = silent.local_addr().unwrap();
    let http: Client = client::builder().proxy(format!("http://{proxy}")).build().unwrap();
    let error = get(http, &format!("https://{ELSEWHERE}/hello")).await.unwrap_err();
    assert!(error.contains(&format!("the proxy {proxy} made no connection")), "{error}");
    assert!(error.contains("4 s"), "{error}");
}

const URLS: &str = "TOWER_REAUTH_TEST_URLS";

/// Runs [`the_environment_names_the_proxy`] with these variables alone, in a process of its own,
/// because the environment is the process's. Returns how many requests came to the proxy, of two to
/// hosts elsewhere and two to this machine, and what the process printed.
async fn with(proxy: &Proxy, variables: &[(&str, &str)]) -> (usize, String) {
    let name = "the_environment_names_the_proxy";
    let mut command: Command = child::command(&[], module_path!(), name, "child");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    let url = plain().await;
    let hosts = ["127.0.0.1", "localhost", ELSEWHERE, "other.invalid"];
    let urls = hosts.map(|host| url.replace("127.0.0.1", host)).join(" ");
    command.env(URLS, urls).envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("1 passed"), "{printed}");
    (proxy.forwards.swap(0, Ordering::SeqCst), printed)
}

#[tokio::test]
async fn the_environment_names_the_proxy() {
    if child::argument().is_some() {
        let client: Client = match client::builder().proxy_from_env().build() {
            Ok(client) => client,
            Err(error) => return println!("{error}"),
        };
        for url in std::env::var(URLS).unwrap().split(' ') {
            let answer = get(client.clone(), url).await;
            assert!(answer.is_ok() || url.contains("invalid"), "{answer:?}");
        }
        return;
    }
    let proxy = Proxy::start(None).await;
    let url = &*proxy.url();
    assert_eq!(with(&proxy, &[]).await.0, 0);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        assert_eq!(with(&proxy, &[(name, url)]).await.0, 2, "{name}");
    }
    let except = [("HTTP_PROXY", url), ("NO_PROXY", ELSEWHERE)];
    assert_eq!(with(&proxy, &except).await.0, 1);
    assert_eq!(with(&proxy, &[("HTTPS_PROXY", url)]).await.0, 0, "the hosts are http");
    let in_cgi = [("HTTP_PROXY", url), ("REQUEST_METHOD", "GET")];
    assert_eq!(with(&proxy, &in_cgi).await.0, 0);
}

#[tokio::test]
async fn a_variable_that_is_needed_has_to_name_a_usable_proxy() {
    const SOCKS: &str = "socks5h://user:hunter2@localhost:1080";
    let proxy = Proxy::start(None).await;
    let url = &*proxy.url();
    for (variables, named) in [
        (&[("HTTP_PROXY", SOCKS)][..], "HTTP_PROXY"),
        (&[("ALL_PROXY", SOCKS), ("HTTP_PROXY", url)], "ALL_PROXY"),
        (&[("ALL_PROXY", SOCKS), ("HTTPS_PROXY", url)], "ALL_PROXY"),
    ] {
        let (seen, printed) = with(&proxy, variables).await;
        let error = format!("the environment variable {named} can't be used");
        assert!(seen == 0 && printed.contains(&error), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
    let (seen, printed) =
        with(&proxy, &[("ALL_PROXY", SOCKS), ("HTTP_PROXY", url), ("HTTPS_PROXY", url)]).await;
    assert_eq!(seen, 2, "{printed}");
}
