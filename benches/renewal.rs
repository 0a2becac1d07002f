//! 401s and waiting while tokens are renewed under load, on the sandbox, whose tokens are
//! exclusive: a new one kills the one before it. `cargo bench --bench renewal`.
//!
//! Three loads of the same number of workers, one after the other: requests that are answered in
//! time, requests that take longer than a renewal waits for them, and the first load again with a
//! client that renews while it sends.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hdrhistogram::Histogram;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use support::{
    Body, as_f64,
    bars::{P7_HOLD, P7_SEEN, Report},
    figures::Renewal,
    static_header,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::Instant,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, RefreshPolicy, SendPayments, TokenCache,
    client::{self, HttpsClient},
    sandbox::Sandbox,
};

const WORKERS: usize = 16;
const LOAD: Duration = Duration::from_secs(7);
const TOKEN_LIFETIME: Duration = Duration::from_secs(3);
/// What the sandbox takes for `POST /auth`.
const AUTH: Duration = Duration::from_millis(20);
/// What a request takes that is answered in time.
const QUICK: Duration = Duration::from_millis(5);
/// And one that a renewal does not wait for.
const SLOW: Duration = Duration::from_millis(400);
/// How long a renewal waits for requests under way.
const DRAIN: Duration = Duration::from_millis(100);
const BUCKET: Duration = Duration::from_millis(100);

/// What the callers saw, and how long the longest `POST /auth` took.
struct Seen {
    start: Instant,
    /// Requests and 401s.
    over_time: Vec<(u64, u64)>,
    latency: Histogram<u64>,
    longest_post: Duration,
}

fn main() {
    let mut report = Report::new("renewal", Vec::new());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let quick = ours(&runtime, "tower-reauth", QUICK);
    let slow = ours(&runtime, "tower-reauth, slow requests", SLOW);
    let optimistic = optimistic(&runtime);
    let seen = quick.seen_401s + slow.seen_401s;
    let bound = |of: &Renewal| DRAIN.as_secs_f64() * 1e3 + of.longest_post_ms;
    let hold = |of: &Renewal| of.longest_hold_ms.unwrap() / bound(of);
    let (hold_quick, hold_slow) = (hold(&quick), hold(&slow));
    report.figures.extend([quick, slow, optimistic]);
    report.figures.iter().for_each(print);
    report.bar(&P7_SEEN, "both loads of ours", as_f64(usize::try_from(seen).unwrap()));
    report.bar(&P7_HOLD, "requests answered in time", hold_quick);
    report.bar(&P7_HOLD, "requests that outlast the drain", hold_slow);
    report.write();
}

fn print(of: &Renewal) {
    let Renewal { name, requests, renewals, seen_401s, wire_401s, longest_post_ms, p99_ms, .. } =
        of;
    println!("{name}: {requests} requests, {renewals} renewals");
    println!("  401s seen by callers {seen_401s:6}, on the wire {wire_401s}");
    let hold = of.longest_hold_ms.map_or("none".to_owned(), |hold| format!("{hold:.1} ms"));
    println!("  longest hold {hold}, longest POST {longest_post_ms:.1} ms, p99 {p99_ms:.1} ms");
}

impl Seen {
    fn new() -> Arc<Mutex<Self>> {
        let latency = Histogram::new(3).unwrap();
        let start = Instant::now();
        Arc::new(Mutex::new(Self {
            start,
            over_time: Vec::new(),
            latency,
            longest_post: Duration::ZERO,
        }))
    }

    fn answered(&mut self, status: StatusCode, took: Duration) {
        let bucket =
            usize::try_from(self.start.elapsed().as_millis() / BUCKET.as_millis()).unwrap();
        if self.over_time.len() <= bucket {
            self.over_time.resize(bucket + 1, (0, 0));
        }
        self.over_time[bucket].0 += 1;
        self.over_time[bucket].1 += u64::from(status == StatusCode::UNAUTHORIZED);
        self.latency.record(u64::try_from(took.as_micros()).unwrap()).unwrap();
    }

    fn figures(&self, name: &str, sandbox: &Sandbox, longest_hold: Option<Duration>) -> Renewal {
        let counters = sandbox.counters();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Renewal {
            name: name.to_owned(),
            requests: self.over_time.iter().map(|(requests, _)| requests).sum(),
            renewals: counters.tokens_issued - 1,
            seen_401s: self.over_time.iter().map(|(_, refused)| refused).sum(),
            wire_401s: counters.unauthorized_replaced + counters.unauthorized_expired,
            longest_hold_ms: longest_hold.map(milliseconds),
            longest_post_ms: milliseconds(self.longest_post),
            p99_ms: milliseconds(Duration::from_micros(self.latency.value_at_quantile(0.99))),
            over_time: self.over_time.clone(),
            bucket_ms: u64::try_from(BUCKET.as_millis()).unwrap(),
        }
    }
}

fn ours(runtime: &Runtime, name: &str, latency: Duration) -> Renewal {
    runtime.block_on(async {
        let (sandbox, seen) = (sandbox(latency).await, Seen::new());
        let http: HttpsClient<Body> = client::https().unwrap();
        let (timed, posts) = (http.clone(), Arc::clone(&seen));
        let timed = service_fn(move |request| post(timed.clone(), request, Arc::clone(&posts)));
        let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
        let endpoint = SendPayments::new(sandbox.base_url(), timed, credentials).unwrap();
        let policy = RefreshPolicy::default().drain_timeout(DRAIN);
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        cache.token().await.unwrap();
        load(AuthLayer::new(cache.clone()).layer(http), &sandbox, &seen).await;
        seen.lock().unwrap().figures(name, &sandbox, Some(cache.counters().longest_hold))
    })
}

/// A client that asks for the next token while it sends with the old one, as is usual where tokens
/// overlap.
fn optimistic(runtime: &Runtime) -> Renewal {
    runtime.block_on(async {
        let (sandbox, seen) = (sandbox(QUICK).await, Seen::new());
        let http: HttpsClient<Body> = client::https().unwrap();
        let token = Arc::new(Mutex::new(ask(&http, &sandbox.base_url(), &seen).await));
        let signing = Arc::clone(&token);
        let sending = http.clone();
        let service = service_fn(move |mut request: Request<Body>| {
            request.headers_mut().insert(header::AUTHORIZATION, signing.lock().unwrap().clone());
            sending.clone().oneshot(request)
        });
        let (base_url, posts) = (sandbox.base_url(), Arc::clone(&seen));
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TOKEN_LIFETIME / 2).await;
                let new = ask(&http, &base_url, &posts).await;
                *token.lock().unwrap() = new;
            }
        });
        load(service, &sandbox, &seen).await;
        renewing.abort();
        seen.lock().unwrap().figures("optimistic renewal", &sandbox, None)
    })
}

async fn sandbox(latency: Duration) -> Sandbox {
    let sandbox = Sandbox::builder()
        .token_lifetime(TOKEN_LIFETIME)
        .auth_latency(AUTH)
        .resource_latency(latency);
    sandbox.start().await.unwrap()
}

/// Keeps the workers sending.
async fn load<S>(service: S, sandbox: &Sandbox, seen: &Arc<Mutex<Seen>>)
where
    S: Service<Request<Body>, Response = Response<Incoming>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
{
    {
        // The first POST has connected as well, which the others need not.
        let mut seen = seen.lock().unwrap();
        (seen.start, seen.longest_post) = (Instant::now(), Duration::ZERO);
    }
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(send(service.clone(), sandbox.base_url(), Arc::clone(seen)));
    }
    workers.join_all().await;
}

async fn send<S>(mut service: S, base_url: String, seen: Arc<Mutex<Seen>>)
where
    S: Service<Request<Body>, Response = Response<Incoming>>,
    S::Error: Into<BoxError>,
{
    let until = seen.lock().unwrap().start + LOAD;
    while Instant::now() < until {
        let request = Request::post(format!("{base_url}/accounts"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(r#"{"name": "Ada"}"#))
            .unwrap();
        let start = Instant::now();
        let response = service.ready().await.map_err(Into::into).unwrap().call(request).await;
        let response = response.map_err(Into::into).unwrap();
        let status = response.status();
        response.into_body().collect().await.unwrap();
        seen.lock().unwrap().answered(status, start.elapsed());
    }
}

/// A new token, as the value of a header.
async fn ask(http: &HttpsClient<Body>, base_url: &str, seen: &Arc<Mutex<Seen>>) -> HeaderValue {
    let credentials = serde_json::json!({
        "clientId": Sandbox::CLIENT_ID, "clientSecret": Sandbox::CLIENT_SECRET,
    });
    let request = Request::post(format!("{base_url}/auth"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(credentials.to_string()))
        .unwrap();
    let answer = post(http.clone(), request, Arc::clone(seen)).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    static_header(answer["accessToken"].as_str().unwrap())
}

/// Sends a `POST /auth`, and takes its time.
async fn post(
    http: HttpsClient<Body>,
    request: Request<Body>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Body>, BoxError> {
    let start = Instant::now();
    let (head, body) = http.oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut seen = seen.lock().unwrap();
    seen.longest_post = seen.longest_post.max(start.elapsed());
    Ok(Response::from_parts(head, Body::new(body)))
}
