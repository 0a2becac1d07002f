//! A reverse proxy that signs for programs in any language: what comes in unsigned goes out to the
//! API with a token. Bodies are streamed both ways; an upload of more than 64 KiB whose token is
//! refused can't be sent again by it, and gets a 503 that says to do so.
//!
//! ```text
//! cargo run -p examples-stacks --example gateway
//! cargo run -p examples-stacks --example gateway -- --listen 127.0.0.1:8080
//! SEND_CLIENT_ID=... SEND_CLIENT_SECRET=... \
//!     cargo run -p examples-stacks --example gateway -- --upstream https://api.example.com/v1
//! curl http://127.0.0.1:8080/accounts -H 'content-type: application/json' -d '{"name": "Ada"}'
//! ```
//!
//! Without options it sends itself a few unsigned requests, prints what came back, and ends. With
//! `--listen` or `--upstream` it serves until Ctrl-C. `GET /-/health` and `GET /-/metrics` are its
//! own. Every program that can reach it can use the API with its rights, so keep it on this machine
//! or behind a gateway that asks for credentials. What a browser sends for a web page (an `Origin`,
//! a `Referer`, a `Sec-Fetch-Site`, or a `Host` that is a name other than `localhost`) gets a 403;
//! a name of its own it has by `--name`.

use std::{
    convert::Infallible,
    fmt::Write,
    future::Future,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Parser;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority};
use http_body_util::BodyExt;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Auth, AuthError, AuthLayer, BoxError, Credentials, Error, RefreshPolicy, SendPayments,
    TokenCache,
    client::{self, HttpsClient},
    credentials::EnvCredentials,
    replay::{Declined, ReplayBody, ReplayLayer, Replayable},
    sandbox::Sandbox,
};

#[derive(Parser)]
#[command(about = "Signs the requests of programs in any language")]
struct Options {
    /// Serves there until Ctrl-C; with --upstream, 127.0.0.1:8080 unless it says otherwise.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The API to sign for, with the credentials in `SEND_CLIENT_ID` and `SEND_CLIENT_SECRET`,
    /// instead of the sandbox.
    #[arg(long)]
    upstream: Option<String>,
    /// A host name of its own, if callers know it by one.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone)]
struct Gateway {
    upstream: String,
    /// By which callers may know it, beside addresses.
    name: Option<String>,
    cache: TokenCache,
    client: Replayable<Auth<HttpsClient<ReplayBody<Body>>>>,
}

impl Gateway {
    fn new(upstream: &str, name: Option<String>, auth: AuthLayer) -> Result<Self, BoxError> {
        let cache = auth.cache().clone();
        let client =
            ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(client::https()?);
        Ok(Self { upstream: upstream.trim_end_matches('/').into(), name, cache, client })
    }

    fn router(self) -> Router {
        Router::new()
            .route("/-/health", get(health))
            .route("/-/metrics", get(metrics))
            .fallback(forward)
            .layer(middleware::from_fn_with_state(self.clone(), refuse_web_pages))
            .with_state(self)
    }

    /// A browser on this machine reaches what listens here for every page that it shows, by a name
    /// of the page's choice.
    fn is_of_a_web_page(&self, request: &Request) -> bool {
        let headers = request.headers();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(request.uri().authority().map(Authority::as_str)).unwrap_or_default();
        let is_port = |port: &str| port.chars().all(|digit| digit.is_ascii_digit());
        let host =
            host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(host, _)| host);
        let is = |name: &str| host.eq_ignore_ascii_case(name);
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_ours = is_address || is("localhost") || self.name.as_deref().is_some_and(is);
        let site = headers.get("sec-fetch-site").is_some_and(|site| site != "none");
        !is_ours
            || site
            || headers.contains_key(header::ORIGIN)
            || headers.contains_key(header::REFERER)
    }

    /// The request that goes upstream, or the status of the answer if none does.
    fn outgoing(&self, request: Request) -> Result<Request, StatusCode> {
        // Not the caller's authority: what is signed goes to the upstream and nowhere else.
        let path = request.uri().path_and_query().filter(|path| path.as_str().starts_with('/'));
        let path = path.ok_or(StatusCode::BAD_REQUEST)?;
        let uri: Uri =
            format!("{}{path}", self.upstream).parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        if request.method() == Method::POST
            && self.cache.endpoint_uri().is_some_and(|token| same_path(token, &uri))
        {
            // The answer would be a new token, and the one in use dead.
            return Err(StatusCode::FORBIDDEN);
        }
        let via = format!("{:?} tower-reauth", request.version());
        let (parts, body) = request.into_parts();
        // A request of its own, without the version and the extensions of the caller's connection.
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = end_to_end(parts.headers);
        // The client derives it from the URI. A caller's `Authorization` is replaced by the layer.
        outgoing.headers_mut().remove(header::HOST);
        outgoing
            .headers_mut()
            .append(header::VIA, HeaderValue::try_from(via).map_err(|_| StatusCode::BAD_REQUEST)?);
        Ok(outgoing)
    }
}

async fn refuse_web_pages(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Response {
    if gateway.is_of_a_web_page(&request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

async fn forward(State(gateway): State<Gateway>, request: Request) -> Response {
    let request = match gateway.outgoing(request) {
        Ok(request) => request,
        Err(status) => return status.into_response(),
    };
    let response = match gateway.client.oneshot(request).await {
        Ok(response) => response,
        Err(Error::Auth { error, .. }) => return without_token(&error),
        Err(Error::Inner { error, .. }) => {
            eprintln!("the upstream failed: {error}");
            return StatusCode::BAD_GATEWAY.into_response();
        }
    };
    // A 401 in which the caller has no part: its upload was too long to be sent again, but he can
    // do so.
    if response.extensions().get::<Declined>().is_some() {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")]).into_response();
    }
    // Another: there is no token.
    if let Some(error) = response.extensions().get::<AuthError>() {
        return without_token(error);
    }
    let (parts, body) = response.into_parts();
    let mut answer = Response::new(Body::new(body));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = end_to_end(parts.headers);
    answer
}

fn without_token(error: &AuthError) -> Response {
    eprintln!("no token: {error}");
    let status = if error.is_transient() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_GATEWAY
    };
    let mut response = status.into_response();
    if let Some(pause) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs()));
    }
    response
}

/// However many slashes there are.
fn same_path(one: &Uri, other: &Uri) -> bool {
    let [one, other] =
        [one, other].map(|uri| uri.path().split('/').filter(|segment| !segment.is_empty()));
    one.eq(other)
}

/// Without what speaks of one connection only (RFC 9110, section 7.6.1), or to the next proxy.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let connection =
        headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named =
        connection.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    let named: Vec<HeaderName> = named.collect();
    let fixed = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in named.iter().chain(&fixed) {
        headers.remove(name);
    }
    headers
}

async fn health(State(gateway): State<Gateway>) -> (StatusCode, &'static str) {
    match timeout(Duration::from_secs(5), gateway.cache.token()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no token\n"),
    }
}

async fn metrics(State(gateway): State<Gateway>) -> impl IntoResponse {
    let counters = gateway.cache.counters();
    let totals = [
        ("refreshes", counters.refreshes),
        ("token_requests", counters.token_requests),
        ("tokens_issued", counters.tokens_issued),
        ("refreshes_failed", counters.refreshes_failed),
        ("joined", counters.joined),
        ("backed_off", counters.backed_off),
        ("unauthorized", counters.unauthorized),
        ("unauthorized_expired", counters.unauthorized_expired),
        ("unauthorized_replaced", counters.unauthorized_replaced),
        ("unauthorized_foreign", counters.unauthorized_foreign),
        ("cooled_down", counters.cooled_down),
        ("breaker_open", counters.breaker_open),
        ("proofs_refused", counters.proofs_refused),
        ("replays", counters.replays),
        ("replays_declined", counters.replays_declined),
        ("holds", counters.holds),
        ("drains_timed_out", counters.drains_timed_out),
    ];
    let longest = [("drain", counters.longest_drain), ("hold", counters.longest_hold)];
    let mut text = String::new();
    for (name, total) in totals {
        let name = format!("tower_reauth_{name}_total");
        _ = writeln!(text, "# TYPE {name} counter\n{name} {total}");
    }
    for (name, time) in longest {
        let name = format!("tower_reauth_longest_{name}_seconds");
        _ = writeln!(text, "# TYPE {name} gauge\n{name} {}", time.as_secs_f64());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), BoxError> {
    if let Some(upstream) = &options.upstream {
        let credentials = EnvCredentials::new("SEND_CLIENT_ID", "SEND_CLIENT_SECRET");
        let auth = AuthLayer::send_payments(upstream, credentials)?;
        let gateway = Gateway::new(upstream, options.name.clone(), auth)?;
        return serve_until_ctrl_c(
            options.listen.unwrap_or(([127, 0, 0, 1], 8080).into()),
            gateway,
        )
        .await;
    }
    let sandbox = Sandbox::builder().start().await?;
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(sandbox.base_url(), client::https()?, credentials)?;
    // The sandbox knows each token at once, so one that it refuses need not be tried again.
    let policy = RefreshPolicy::default().propagation_delay(Duration::ZERO);
    let auth = AuthLayer::new(TokenCache::builder(endpoint).refresh_policy(policy).build()?);
    let gateway = Gateway::new(&sandbox.base_url(), options.name.clone(), auth)?;
    match options.listen {
        Some(address) => serve_until_ctrl_c(address, gateway).await,
        None => test_itself(&sandbox, gateway).await,
    }
}

async fn serve_until_ctrl_c(address: SocketAddr, gateway: Gateway) -> Result<(), BoxError> {
    let listener = TcpListener::bind(address).await?;
    println!("signing for {} at http://{}", gateway.upstream, listener.local_addr()?);
    serve(listener, gateway, async { _ = tokio::signal::ctrl_c().await }).await
}

async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), BoxError> {
    Ok(axum::serve(listener, gateway.router()).with_graceful_shutdown(stop).await?)
}

/// What a program without a token gets.
async fn test_itself(sandbox: &Sandbox, gateway: Gateway) -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, gateway, async { _ = stopped.await }));

    let client = client::https::<Body>()?;
    let send = async |request: http::request::Builder, body: Body, expected: u16| {
        let request = request.body(body)?;
        let line = format!("{} {}", request.method(), request.uri().path());
        let response = client.request(request).await?;
        let status = response.status();
        let body = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
        let shown = body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .take(3)
            .collect::<Vec<_>>()
            .join(", ");
        println!("{line}: {status} {shown}");
        if status.as_u16() == expected {
            Ok(body)
        } else {
            Err(BoxError::from(format!("not {expected}")))
        }
    };
    let post = |path| {
        Request::post(format!("{url}{path}")).header(header::CONTENT_TYPE, "application/json")
    };

    send(Request::get(format!("{url}/-/health")), Body::empty(), 200).await?;
    let ada = post("/accounts").header(header::AUTHORIZATION, "Basic of-the-caller");
    let ada = ada.header(header::CONNECTION, "x-hop").header("x-hop", "1");
    send(ada, r#"{"name": "Ada"}"#.into(), 201).await?;

    sandbox.revoke(Sandbox::CLIENT_ID);
    let chunks = [r#"{"name": ""#, "Grace ", "Hopper", r#""}"#].map(Ok::<_, Infallible>);
    let grace = send(post("/accounts"), Body::from_stream(stream::iter(chunks)), 201).await?;

    let page = post("/accounts").header(header::ORIGIN, "https://a-page.example");
    send(page, r#"{"name": "Eve"}"#.into(), 403).await?;
    let rebound = post("/accounts").header(header::HOST, "a-page.example");
    send(rebound, r#"{"name": "Eve"}"#.into(), 403).await?;
    let image = Request::get(format!("{url}/-/metrics")).header("sec-fetch-site", "cross-site");
    send(image, Body::empty(), 403).await?;
    let large = Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![b' '; 100_000])]));
    sandbox.revoke(Sandbox::CLIENT_ID);
    send(post("/accounts"), large, 503).await?;

    send(post("/auth"), r#"{"clientId": "x", "clientSecret": "y"}"#.into(), 403).await?;
    let metrics = send(Request::get(format!("{url}/-/metrics")), Body::empty(), 200).await?;

    drop(stop);
    server.await??;
    let counters = sandbox.counters();
    println!(
        "the API saw {} POST /auth and created {} accounts",
        counters.auth_requests, counters.accounts_created
    );
    let as_promised = grace.contains("Grace Hopper")
        && metrics.contains("tower_reauth_replays_total 1\n")
        && (counters.auth_requests, counters.accounts_created) == (2, 2);
    if !as_promised {
        return Err(format!("not as promised: {counters:#?}").into());
    }
    println!(
        "As promised: programs without a token were signed for, and pages of others were refused."
    );
    Ok(())
}
