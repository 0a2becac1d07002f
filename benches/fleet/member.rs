//! One process of the fleet: as its parent has it, and its own work.

use std::{env, process::Stdio, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::sleep,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    Auth, AuthLayer, BoxError, Credentials, SendPayments, TokenCache,
    client::{self, HttpsClient},
    sandbox::Sandbox,
};

use super::{
    line::{self, Line, now},
    server,
    support::Body,
};

/// Its value says where a process of the fleet works.
pub(crate) const OPTION: &str = "--member";

const CALLERS: u32 = 4;

/// The pause of a caller between two requests, on average. It is random, or the callers that a hold
/// has released together would stay together.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) base_url: String,
    pub(crate) store: String,
}

pub(crate) struct Member {
    process: Child,
    /// Its end tells the process to stop.
    _input: Option<ChildStdin>,
    pub(crate) sequence: u64,
    /// Its request for a token is on its way.
    pub(crate) asks: bool,
    pub(crate) is_alive: bool,
}

impl Member {
    /// Starts a process. Each of its lines goes to `lines`, with its number.
    pub(crate) fn start(
        place: &Place,
        number: usize,
        lines: &mpsc::UnboundedSender<(usize, Line)>,
    ) -> Self {
        let place = serde_json::to_string(place).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([OPTION, &place]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let lines = lines.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                if let Ok(line) = serde_json::from_str(&line) {
                    let _ = lines.send((number, line));
                }
            }
        });
        Self { process, _input: input, sequence: 0, asks: false, is_alive: true }
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
        (self.is_alive, self.asks) = (false, false);
    }
}

/// Sends requests until the standard input ends.
pub(crate) fn run(place: &Place) {
    metrics::set_global_recorder(Holds).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http: HttpsClient<Body> = client::https().unwrap();
        let timed = service_fn(move |request| post(http.clone(), request));
        let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
        let endpoint = SendPayments::new(&place.base_url, timed, credentials).unwrap();
        let cache = server::share(TokenCache::builder(endpoint), &place.store).build().unwrap();
        let client = AuthLayer::new(cache.clone()).layer(client::https().unwrap());
        let mut updates = cache.subscribe();
        tokio::spawn(async move {
            while let Some(token) = updates.next().await {
                Line::Token { sequence: token.sequence() }.print();
            }
        });
        for caller in 0..CALLERS {
            let (client, url) = (client.clone(), format!("{}/accounts", place.base_url));
            tokio::spawn(async move {
                sleep(PAUSE * caller / CALLERS).await;
                loop {
                    let start = now();
                    let refused = create_account(client.clone(), &url).await;
                    Line::Answered(line::Request { start, end: now(), refused }).print();
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                }
            });
        }
        stdin().read_to_end(&mut Vec::new()).await.unwrap();
    });
}

async fn post(http: HttpsClient<Body>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let start = now();
    Line::Asking.print();
    let (head, body) = http.oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Line::Asked { start, end: now() }.print();
    Ok(Response::from_parts(head, Body::new(body)))
}

/// Returns whether the response was a 401.
async fn create_account(client: Auth<HttpsClient<Body>>, url: &str) -> bool {
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"name": "Ada"}"#))
        .unwrap();
    let response = client.oneshot(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status == StatusCode::UNAUTHORIZED
}

/// Tells of each hold, and of nothing else that is counted.
struct Holds;

impl HistogramFn for Holds {
    fn record(&self, seconds: f64) {
        Line::Held { seconds }.print();
    }
}

impl Recorder for Holds {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == "tower_reauth_hold_seconds" {
            Histogram::from_arc(Arc::new(Self))
        } else {
            Histogram::noop()
        }
    }
}
