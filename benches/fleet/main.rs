//! A fleet of ten processes at the sandbox, whose new token kills the old one: what a renewal
//! costs, and what it costs if its holder is killed. `cargo bench --bench fleet`.
//!
//! With `--features redis` Redis and Valkey are measured as well as files. `REDIS_SERVER` and
//! `VALKEY_SERVER` name the programs, if they are not in the path.

mod line;
mod member;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant},
};

use support::{
    as_f64,
    bars::{P9_HOLD, P9_POSTS, P9_SEEN, P10_COLD, P10_TAKEOVER, Report},
    figures::Fleet,
    median, quantile,
};
use tokio::{
    runtime::Builder,
    sync::mpsc,
    time::{sleep, timeout},
};
use tower_reauth::sandbox::Sandbox;

use self::{
    line::{Line, Request},
    member::{Member, Place},
    server::Server,
};

const PROCESSES: usize = 10;
const RENEWALS: usize = 3;
const KILLS: usize = 3;
const TOKEN_LIFETIME: Duration = Duration::from_secs(3);
/// The lease of such tokens.
const LEASE: Duration = Duration::from_secs(1);
/// What the sandbox takes for `POST /auth`, and for a request.
const AUTH: Duration = Duration::from_millis(50);
const RESOURCE: Duration = Duration::from_millis(10);
/// Nothing takes so long.
const TOO_LONG: Duration = Duration::from_secs(20);
/// What of a hand-over is drawn, in milliseconds before and after its request for a token, and in
/// which steps.
const DRAWN: (i32, i32) = (-150, 300);
const STEP: usize = 5;

fn main() {
    if let Some(place) = env::args().skip_while(|argument| argument != member::OPTION).nth(1) {
        return member::run(&serde_json::from_str(&place).unwrap());
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut report = Report::new("fleet", Vec::new());
    for (name, grace, server) in [
        ("files", 20, Some(Server::files())),
        ("Redis", 50, Server::start("REDIS_SERVER", "redis-server")),
        ("Valkey", 50, Server::start("VALKEY_SERVER", "valkey-server")),
    ] {
        let grace = Duration::from_millis(grace);
        let figures = server.map(|server| runtime.block_on(measure(name, grace, &server)));
        let value = |of: fn(&Fleet) -> f64| figures.as_ref().map(of);
        report.bar(&P9_POSTS, name, value(|of| of.posts as f64 / of.renewals as f64));
        report.bar(&P9_SEEN, name, value(|of| of.seen_401s as f64));
        report.bar(&P9_HOLD, name, value(|of| of.hold_p99_ms / of.hold_floor_ms));
        report.bar(&P10_TAKEOVER, name, value(|of| of.takeover_ms / milliseconds(LEASE)));
        report.bar(&P10_COLD, name, value(|of| of.cold_posts as f64));
        report.figures.extend(figures);
    }
    report.write();
}

/// A fleet, and what its processes told.
struct World {
    sandbox: Sandbox,
    members: Vec<Member>,
    lines: mpsc::UnboundedReceiver<(usize, Line)>,
    tokens: BTreeSet<u64>,
    /// In milliseconds.
    holds: Vec<f64>,
    posts: Vec<(u64, u64)>,
    requests: Vec<Request>,
}

async fn measure(name: &str, grace: Duration, server: &Server) -> Fleet {
    let mut world = World::start(server).await;
    world.until(|world| world.all_have(1)).await;
    let cold_posts = world.sandbox.counters().auth_requests;
    world.until(|world| world.tokens.len() > RENEWALS && world.all_have(RENEWALS + 1)).await;
    // The last lines of this renewal.
    world.listen(Duration::from_millis(300)).await;
    let counters = world.sandbox.counters();
    let renewals = u64::try_from(world.tokens.len()).unwrap() - 1;
    let floor = milliseconds(grace) + world.longest_post();
    let waiting = world.waiting();
    let holds = std::mem::take(&mut world.holds);
    let mut takeovers = Vec::new();
    for _ in 0..KILLS {
        takeovers.push(milliseconds(world.kill_holder().await));
    }
    world.listen(Duration::from_millis(300)).await;
    let seen = world.requests.iter().filter(|request| request.refused).count();
    let figures = Fleet {
        name: name.to_owned(),
        processes: PROCESSES,
        requests: world.requests.len(),
        renewals,
        posts: counters.auth_requests - cold_posts,
        seen_401s: u64::try_from(seen).unwrap(),
        wire_401s: counters.unauthorized_replaced + counters.unauthorized_expired,
        hold_p50_ms: median(holds.clone()),
        hold_p99_ms: quantile(holds, 0.99),
        hold_floor_ms: floor,
        longest_takeover_ms: takeovers.iter().copied().fold(0.0, f64::max),
        takeover_ms: median(takeovers),
        cold_posts,
        waiting,
    };
    print(&figures);
    figures
}

fn print(of: &Fleet) {
    println!(
        "{}: {} requests by {} processes, {} renewals, {} POSTs, 401s seen {}, on the wire {}",
        of.name, of.requests, of.processes, of.renewals, of.posts, of.seen_401s, of.wire_401s
    );
    println!(
        "  hold p50 {:.1} ms, p99 {:.1} ms; grace and longest POST {:.1} ms; take-over {:.0} ms, \
         longest {:.0} ms; cold start {} POSTs",
        of.hold_p50_ms,
        of.hold_p99_ms,
        of.hold_floor_ms,
        of.takeover_ms,
        of.longest_takeover_ms,
        of.cold_posts
    );
}

impl World {
    async fn start(server: &Server) -> Self {
        let sandbox = Sandbox::builder()
            .token_lifetime(TOKEN_LIFETIME)
            .auth_latency(AUTH)
            .resource_latency(RESOURCE)
            .start()
            .await
            .unwrap();
        let place = Place { base_url: sandbox.base_url(), store: server.url.clone() };
        let (sender, lines) = mpsc::unbounded_channel();
        let start = |number| Member::start(&place, number, &sender);
        let members = (0..PROCESSES).map(start).collect();
        let (tokens, holds, posts, requests) = Default::default();
        Self { sandbox, members, lines, tokens, holds, posts, requests }
    }

    /// Takes lines in until `is_done`.
    async fn until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_done(self) {
            assert!(started.elapsed() < TOO_LONG, "the fleet is stuck");
            self.listen(Duration::from_millis(1)).await;
        }
    }

    /// Takes lines in for so long.
    async fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now())
            && let Ok(Some((number, line))) = timeout(left, self.lines.recv()).await
        {
            self.take(number, line);
        }
    }

    fn take(&mut self, number: usize, line: Line) {
        match line {
            Line::Asking => self.members[number].asks = true,
            Line::Asked { start, end } => {
                self.members[number].asks = false;
                self.posts.push((start, end));
            }
            Line::Token { sequence } => {
                self.members[number].sequence = sequence;
                self.tokens.insert(sequence);
            }
            Line::Held { seconds } => self.holds.push(seconds * 1e3),
            Line::Answered(request) => self.requests.push(request),
        }
    }

    /// Returns whether all processes serve the newest token, of so many at least.
    fn all_have(&self, tokens: usize) -> bool {
        let newest = self.tokens.last().copied().unwrap_or_default();
        let mut living = self.members.iter().filter(|member| member.is_alive);
        self.tokens.len() >= tokens && living.all(|member| member.sequence == newest)
    }

    /// Kills the next holder once its request has arrived. Returns how long it took until all
    /// others had a new token.
    async fn kill_holder(&mut self) -> Duration {
        let (tokens, posts) = (self.tokens.len(), self.sandbox.counters().auth_requests);
        self.until(|world| world.members.iter().any(|member| member.asks)).await;
        while self.sandbox.counters().auth_requests == posts {
            sleep(Duration::from_micros(200)).await;
        }
        let holder = self.members.iter_mut().find(|member| member.asks).unwrap();
        holder.kill().await;
        let killed = Instant::now();
        self.until(|world| world.all_have(tokens + 1)).await;
        killed.elapsed()
    }

    /// Returns how long the longest request for a token took, in milliseconds. The first one has
    /// connected as well, which the others need not.
    fn longest_post(&self) -> f64 {
        let times = self.posts.iter().skip(1).map(|(start, end)| end - start);
        times.max().unwrap_or_default() as f64 / 1e3
    }

    /// Returns how many requests had no response, around the last request for a token.
    fn waiting(&self) -> Vec<(f64, f64)> {
        let asked = self.posts.last().unwrap().0;
        let at = |step: i32| asked.saturating_add_signed(i64::from(step) * 1000);
        let count = |at: u64| {
            let waits = |of: &&Request| of.start <= at && at < of.end;
            as_f64(self.requests.iter().filter(waits).count())
        };
        let steps = (DRAWN.0..DRAWN.1).step_by(STEP);
        steps.map(|step| (f64::from(step), count(at(step)))).collect()
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
