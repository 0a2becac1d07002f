//! What the benches have in common: a cache with a token that lasts, services that answer at once,
//! and a stopwatch that runs its contenders in turn, so that a noisy machine is noisy for all of
//! them.

#![allow(dead_code, reason = "each bench uses its part")]

pub mod bars;
pub mod burst;
pub mod figures;
pub mod future_size;

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    path::Path,
    pin::pin,
    process::Command,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tower::{Service, retry::Policy, service_fn};
use tower_http::set_header::SetRequestHeader;
use tower_reauth::{
    AuthLayer, BoxError, Credentials, SendPayments, TokenCache, TokenEndpoint, store::MemoryStore,
};

pub type Body = Full<Bytes>;

/// Answers every request at once.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(())))
    }
}

/// Polls a future that is done at once.
pub fn done<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that should be done at once is not"),
    }
}

/// A static header on every request, and nothing else.
pub fn with_header<S>(inner: S, value: &HeaderValue) -> SetRequestHeader<S, HeaderValue> {
    SetRequestHeader::overriding(inner, header::AUTHORIZATION, value.clone())
}

/// Retries nothing, but keeps a clone of each request, as every policy that may retry does.
#[derive(Clone)]
pub struct KeepsAClone;

impl<Res, E> Policy<Request<Body>, Res, E> for KeepsAClone {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<Body>, _: &mut Result<Res, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

/// Makes the service ready and calls it. The response is there to be read, as for any caller: of an
/// inlined future, the compiler would else leave out what nobody looks at.
pub fn call<S, B>(service: &mut S, request: Request<B>)
where
    S: Service<Request<B>>,
{
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    black_box(&mut done(service.call(request)));
}

/// A JWT-like token of so many characters.
pub fn secret(length: usize) -> String {
    "eyJhbGciOiJIUzI1NiJ9.".chars().cycle().take(length).collect()
}

/// Where the requests go that [`get`] and [`post`] make.
const BASE_URL: &str = "https://api.example.com";

/// A cache without a token, whose endpoint answers when the future is done that `wait` makes.
pub fn cold_cache<F>(
    base_url: &str,
    token: &str,
    wait: impl Fn() -> F + Send + Sync + Clone + 'static,
) -> TokenCache
where
    F: Future<Output = ()> + Send + 'static,
{
    TokenCache::new(endpoint(base_url, token, wait))
}

fn endpoint<F>(
    base_url: &str,
    token: &str,
    wait: impl Fn() -> F + Send + Sync + Clone + 'static,
) -> impl TokenEndpoint
where
    F: Future<Output = ()> + Send + 'static,
{
    let body = format!(r#"{{"accessToken": "{token}", "expiresAt": "2100-01-01T00:00:00Z"}}"#);
    let endpoint = service_fn(move |_: Request<Body>| {
        let (answered, body) = (wait(), Body::from(body.clone()));
        async move {
            answered.await;
            Ok::<_, BoxError>(Response::builder().status(201).body(body).unwrap())
        }
    });
    let credentials = Credentials::new("id", "secret");
    SendPayments::new(base_url, endpoint, credentials).unwrap()
}

/// A layer that has a token until the end of the century, for requests to that API.
pub fn layer_for(base_url: &str, token: &str) -> AuthLayer {
    warm(cold_cache(base_url, token, || ready(())))
}

/// A layer as [`layer`] makes it, whose token is shared through a store.
pub fn shared_layer(token: &str) -> AuthLayer {
    let endpoint = endpoint(BASE_URL, token, || ready(()));
    warm(TokenCache::builder(endpoint).shared(MemoryStore::new()).build().unwrap())
}

fn warm(cache: TokenCache) -> AuthLayer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cache.token()).unwrap();
    AuthLayer::new(cache)
}

pub fn layer(token: &str) -> AuthLayer {
    layer_for(BASE_URL, token)
}

/// A header of the length that the token's has.
pub fn static_header(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    value.set_sensitive(true);
    value
}

/// A GET with so many headers (4 or 12), as a client sends them.
pub fn get(headers: usize) -> Request<Body> {
    request("GET", headers, Full::default())
}

/// A POST of 1 KiB of JSON.
pub fn post() -> Request<Body> {
    request("POST", 4, Full::new(Bytes::from_static(&[b'x'; 1024])))
}

fn request(method: &str, headers: usize, body: Body) -> Request<Body> {
    const HEADERS: [(HeaderName, &str); 12] = [
        (header::ACCEPT, "application/json"),
        (header::USER_AGENT, "payments-service/1.4.2"),
        (header::CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("idempotency"), "4d3a9a0e-6f0e-4b43-9f6c-8a3f5f2f7a10"),
        (header::ACCEPT_ENCODING, "gzip, br"),
        (header::ACCEPT_LANGUAGE, "en"),
        (header::CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("traceparent"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        (HeaderName::from_static("x-request-id"), "7c4b8a7e-36a5-4a76-8b8e-5f6d1b1c7e55"),
        (HeaderName::from_static("x-tenant"), "tenant-0042"),
        (header::ORIGIN, "https://shop.example.com"),
        (header::REFERER, "https://shop.example.com/checkout"),
    ];
    let mut map = HeaderMap::with_capacity(headers + 1);
    for (name, value) in &HEADERS[..headers] {
        map.insert(name.clone(), HeaderValue::from_static(value));
    }
    let mut request = Request::builder()
        .method(method)
        .uri("https://api.example.com/accounts/1234/payments?limit=10")
        .body(body)
        .unwrap();
    *request.headers_mut() = map;
    request
}

/// One of those that are compared: it runs so many calls, and says how long they took.
pub struct Contender<'a> {
    pub name: String,
    pub run: Box<dyn FnMut(u32) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// Makes the input outside of the time.
    pub fn new<I: 'a>(
        name: impl Into<String>,
        mut input: impl FnMut() -> I + 'a,
        mut work: impl FnMut(I) + 'a,
    ) -> Self {
        let run = move |calls: u32| {
            let inputs: Vec<I> = (0..calls).map(|_| input()).collect();
            let start = Instant::now();
            for input in inputs {
                work(input);
            }
            start.elapsed()
        };
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The median time of one call of each, in nanoseconds.
pub fn medians(rounds: usize, calls: u32, contenders: &mut [Contender<'_>]) -> Vec<f64> {
    self::rounds(rounds, calls, contenders).into_iter().map(median).collect()
}

/// The times of one call of each, in nanoseconds, from so many rounds in which each has its turn.
pub fn rounds(rounds: usize, calls: u32, contenders: &mut [Contender<'_>]) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds + rounds / 10 {
        for turn in 0..contenders.len() {
            // Each is the first one in turn, and the last.
            let turn = (turn + round) % contenders.len();
            let time = (contenders[turn].run)(calls);
            // The first tenth warms up.
            if round >= rounds / 10 {
                samples[turn].push(time.as_secs_f64() * 1e9 / f64::from(calls));
            }
        }
    }
    samples
}

/// The median of the ratios between what two contenders took in the same round: what slows the
/// machine down for longer than a round cancels out.
pub fn median_ratio(of: &[f64], over: &[f64]) -> f64 {
    median(of.iter().zip(over).map(|(of, over)| of / over).collect())
}

pub fn median(samples: Vec<f64>) -> f64 {
    quantile(samples, 0.5)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
pub fn quantile(mut samples: Vec<f64>, fraction: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(as_f64(samples.len()) * fraction) as usize]
}

pub fn as_f64(number: usize) -> f64 {
    number as f64
}

/// What this bench prints with these arguments, in a process of its own.
pub fn in_a_process<T: DeserializeOwned>(arguments: &[&str]) -> T {
    in_a_process_of(&env::current_exe().unwrap(), arguments)
}

/// What `program` prints with these arguments.
pub fn in_a_process_of<T: DeserializeOwned>(program: &Path, arguments: &[&str]) -> T {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `rustc 1.2.3`.
pub fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    version.split(" (").next().unwrap_or_default().trim().to_owned()
}
