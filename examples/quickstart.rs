//! The main job, end to end on real sockets: many concurrent requests, signed with tokens of a few
//! seconds.
//!
//! ```text
//! cargo run --example quickstart
//! cargo run --example quickstart -- --concurrency 200 --duration 20 --token-lifetime 5
//! SEND_CLIENT_ID=... SEND_CLIENT_SECRET=... cargo run --example quickstart -- \
//!     --base-url https://api.example.com --path /accounts/1
//! ```
//!
//! Without `--base-url` it starts the sandbox in this process and drives it over several token
//! lifetimes. The last line says if what the crate promises was kept: every request succeeded, and
//! the token endpoint was asked once for each token. The exit status is 0 only then.
//!
//! With `--base-url`, and with credentials in the environment, it makes one signed call to a real
//! API. The exit status is 0 only if that call succeeded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "an example, with the clock of the machine"
)]

use std::{
    fmt::Display,
    io::{self, IsTerminal},
    ops::RangeInclusive,
    process::ExitCode,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, BoxError, Counters, Credentials, RefreshPolicy, SendPayments, TokenCache,
    client::{self, HttpsClient},
    credentials::EnvCredentials,
    sandbox::{self, Sandbox},
};

const HELP: &str = "\
Signs many concurrent requests with tokens of a few seconds, and counts what happened

Usage: quickstart [OPTIONS]

      --concurrency <NUMBER>      Requests under way at once, 1 to 10000 [default: 50]
      --duration <SECONDS>        How long to send, 1 to 3600 [default: 10]
      --token-lifetime <SECONDS>  How long each token lives, 2 to 3600 [default: 3]
      --without-hold              Renew while requests are sent with the old token, for comparison:
                                  they are answered 401, and replayed
      --base-url <URL>            A real API to make one signed call to, instead of the sandbox
      --path <PATH>               What to call there [default: /]
  -h, --help                      Print help
";

struct Options {
    concurrency: u16,
    duration: u64,
    token_lifetime: u64,
    without_hold: bool,
    base_url: Option<String>,
    path: Option<String>,
}

impl Options {
    /// Returns the options of the command line; `None` if it asks for help.
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self {
            concurrency: 50,
            duration: 10,
            token_lifetime: 3,
            without_hold: false,
            base_url: None,
            path: None,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("concurrency") => {
                    options.concurrency = number(&mut arguments, "concurrency", 1..=10_000)?;
                }
                Long("duration") => {
                    options.duration = number(&mut arguments, "duration", 1..=3600)?;
                }
                Long("token-lifetime") => {
                    options.token_lifetime = number(&mut arguments, "token-lifetime", 2..=3600)?;
                }
                Long("without-hold") => options.without_hold = true,
                Long("base-url") => options.base_url = Some(arguments.value()?.string()?),
                Long("path") => options.path = Some(arguments.value()?.string()?),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        if options.path.is_some() && options.base_url.is_none() {
            return Err("--path needs --base-url as well".into());
        }
        Ok(Some(options))
    }
}

/// Returns the value of `option`, which has to be within `range`.
fn number<N>(
    arguments: &mut lexopt::Parser,
    option: &str,
    range: RangeInclusive<N>,
) -> Result<N, lexopt::Error>
where
    N: FromStr + PartialOrd + Display,
{
    let number = arguments.value()?.to_str().and_then(|value| value.parse().ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("--{option} has to be a number from {least} to {most}").into()
    })
}

type Client = Auth<HttpsClient<Full<Bytes>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("quickstart: {error}; --help lists the options");
            return ExitCode::from(2);
        }
    };
    let outcome = match &options.base_url {
        Some(base_url) => call_once(base_url, options.path.as_deref().unwrap_or("/")).await,
        None => drive_sandbox(&options).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The three lines that it takes: credentials, layer, client.
async fn call_once(base_url: &str, path: &str) -> Result<bool, BoxError> {
    let credentials = EnvCredentials::new("SEND_CLIENT_ID", "SEND_CLIENT_SECRET");
    let auth = AuthLayer::send_payments(base_url, credentials)?;
    let client = auth.layer(client::https()?);

    let request = Request::get(format!("{}{path}", base_url.trim_end_matches('/')))
        .body(Full::<Bytes>::default())?;
    let response = client.oneshot(request).await?;
    println!("GET {path}: {}", response.status());
    if let Some(token) = auth.cache().current() {
        println!("signed with {token:?}, {} s left", token.time_left().as_secs());
    }
    Ok(response.status().is_success())
}

async fn drive_sandbox(options: &Options) -> Result<bool, BoxError> {
    let sandbox = Sandbox::builder()
        .token_lifetime(Duration::from_secs(options.token_lifetime))
        .start()
        .await?;
    let base_url = sandbox.base_url();
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(&base_url, client::https()?, credentials)?;
    let policy = RefreshPolicy::default();
    let policy = if options.without_hold { policy.without_hold() } else { policy };
    let auth = AuthLayer::new(TokenCache::builder(endpoint).refresh_policy(policy).build()?);
    let client = auth.layer(client::https()?);

    println!(
        "sandbox at {base_url}, tokens of {} s, {} requests at once",
        options.token_lifetime, options.concurrency
    );
    let seen = Arc::new(Seen::default());
    let started = Instant::now();
    let until = started + Duration::from_secs(options.duration);
    let senders: Vec<_> = (0..options.concurrency)
        .map(|_| {
            tokio::spawn(send_until(until, client.clone(), base_url.clone(), Arc::clone(&seen)))
        })
        .collect();
    show_progress(until, &seen).await;
    for sender in senders {
        sender.await?;
    }
    let (server, took) = (sandbox.counters(), started.elapsed());
    report(&seen, &server, &auth.cache().counters(), took);
    sandbox.shutdown().await;
    // Of the token's lifetime whole seconds are known, and three quarters of them pass before the
    // next token is asked for.
    let shortest = 0.7 * (options.token_lifetime - 1) as f64;
    let broken = broken_promises(&seen, &server, 1.0 + took.as_secs_f64() / shortest);
    if broken.is_empty() {
        println!(
            "As promised: all {} requests succeeded, with {} tokens and one POST /auth for each.",
            seen.sent(),
            server.tokens_issued
        );
    } else {
        println!("NOT as promised: {}.", broken.join("; "));
    }
    Ok(broken.is_empty())
}

/// Returns what was not kept of the promises: every request succeeds, and there is one request for
/// each token, of which there are `most`.
fn broken_promises(seen: &Seen, server: &sandbox::SandboxCounters, most: f64) -> Vec<String> {
    let mut broken = Vec::new();
    let failed = seen.sent() - seen.succeeded();
    if seen.sent() == 0 {
        broken.push("no request was sent".to_owned());
    }
    if failed > 0 {
        broken.push(format!("{failed} of {} requests failed", seen.sent()));
    }
    let (asked, issued) = (server.auth_requests, server.tokens_issued);
    if asked != issued || asked as f64 > most {
        broken.push(format!("{asked} POST /auth for {issued} tokens, where {most:.0} would do"));
    }
    broken
}

/// What the callers saw.
struct Seen {
    answers: [AtomicU64; 600],
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    latencies: Mutex<Vec<Duration>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            answers: std::array::from_fn(|_| AtomicU64::default()),
            errors: AtomicU64::default(),
            first_error: Mutex::default(),
            latencies: Mutex::default(),
        }
    }
}

impl Seen {
    fn count(&self, outcome: &Result<StatusCode, BoxError>) {
        let counter = match outcome {
            Ok(status) => &self.answers[usize::from(status.as_u16()).min(599)],
            Err(error) => {
                self.first_error.lock().unwrap().get_or_insert_with(|| chain(&**error));
                &self.errors
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers there were of each status.
    fn by_status(&self) -> Vec<(usize, u64)> {
        let counts = self.answers.iter().map(|counter| counter.load(Ordering::Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0).collect()
    }

    fn succeeded(&self) -> u64 {
        self.by_status()
            .into_iter()
            .filter(|(status, _)| (200..300).contains(status))
            .map(|(_, count)| count)
            .sum()
    }

    fn sent(&self) -> u64 {
        self.by_status().into_iter().map(|(_, count)| count).sum::<u64>()
            + self.errors.load(Ordering::Relaxed)
    }
}

async fn send_until(until: Instant, mut client: Client, base_url: String, seen: Arc<Seen>) {
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let outcome = create_account(&mut client, &base_url).await;
        latencies.push(started.elapsed());
        seen.count(&outcome);
    }
    seen.latencies.lock().unwrap().append(&mut latencies);
}

async fn create_account(client: &mut Client, base_url: &str) -> Result<StatusCode, BoxError> {
    let request = Request::post(format!("{base_url}/accounts"))
        .header("content-type", "application/json")
        .body(Full::from(r#"{"name": "quickstart"}"#))?;
    let response = client.ready().await?.call(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}

/// Keeps one line up to date on a terminal. Elsewhere, such as in the log of a CI, prints a line
/// each second.
async fn show_progress(until: Instant, seen: &Seen) {
    let is_terminal = io::stderr().is_terminal();
    let pause = if is_terminal { Duration::from_millis(100) } else { Duration::from_secs(1) };
    let mut tick = tokio::time::interval(pause);
    tick.tick().await;
    while Instant::now() < until {
        tick.tick().await;
        let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
        let (start, end) = if is_terminal { ("\r", "") } else { ("", "\n") };
        eprint!("{start}{left:5.1} s left, {} requests {end}", seen.succeeded());
    }
    if is_terminal {
        eprint!("\r{:40}\r", "");
    }
}

fn report(seen: &Seen, server: &sandbox::SandboxCounters, client: &Counters, took: Duration) {
    let mut latencies = seen.latencies.lock().unwrap();
    latencies.sort_unstable();
    let milliseconds = |percent: usize| {
        latencies.get(latencies.len() * percent / 100).map_or(0.0, |at| at.as_secs_f64() * 1e3)
    };
    let on_the_wire = server.unauthorized_missing
        + server.unauthorized_unknown
        + server.unauthorized_expired
        + server.unauthorized_replaced;
    let seen_401 = seen.answers[401].load(Ordering::Relaxed);
    println!("requests               {:>10}   in {:.1} s", seen.sent(), took.as_secs_f64());
    for (status, count) in seen.by_status() {
        println!("  answered {status}         {count:>10}");
    }
    println!("  failed               {:>10}", seen.errors.load(Ordering::Relaxed));
    println!("401s seen by callers   {seen_401:>10}");
    println!("401s on the wire       {on_the_wire:>10}   replayed with a new token");
    println!("  with a killed token  {:>10}", server.unauthorized_replaced);
    println!("POST /auth             {:>10}", server.auth_requests);
    println!("longest hold           {:>10.2}   ms", client.longest_hold.as_secs_f64() * 1e3);
    println!("latency p50            {:>10.2}   ms", milliseconds(50));
    println!("latency p99            {:>10.2}   ms", milliseconds(99));
    if let Some(error) = &*seen.first_error.lock().unwrap() {
        println!("first failure: {error}");
    }
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
