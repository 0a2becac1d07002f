//! Client, token endpoint and resource in a simulated network: latency, partitions, resets before
//! and after a token was issued, crashes, wrong clocks, and callers that go away. What must hold is
//! checked at every send.
//!
//! ```text
//! cargo test --release -p simulation                                    20 seeds
//! SIMULATION_SEEDS=10000 cargo test --release -p simulation             more of them
//! SIMULATION_SEED=42 cargo test --release -p simulation                 one again
//! ```

mod fleet;
mod network;
mod refusals;
mod seeds;
mod steady_day;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, BoxError, Credentials, Error, RefreshPolicy, SendPayments, TokenCache,
    credentials::CredentialsSource,
};
use turmoil::{Builder, Sim};

use self::world::World;

const STORM: Duration = Duration::from_secs(40);
const CALM: Duration = Duration::from_secs(30);
/// A flight may drain (1 s) and try until its deadline (6 s); a caller can meet a few, and two
/// sends of 3 s.
const CALL_BOUND: Duration = Duration::from_secs(30);

#[test]
fn what_must_hold_holds_in_every_seed() {
    if let Some(seed) = seeds::number("SIMULATION_SEED") {
        return simulate(seed).unwrap();
    }
    let seeds =
        seeds::number("SIMULATION_SEEDS").unwrap_or(if cfg!(debug_assertions) { 4 } else { 20 });
    let started = Instant::now();
    let failed = seeds::failures(0..seeds, simulate);
    seeds::report(&failed, |seed| format!("SIMULATION_SEED={seed} cargo test -p simulation"));
    println!("{seeds} seeds in {:.1} s", started.elapsed().as_secs_f64());
}

fn simulate(seed: u64) -> Result<(), BoxError> {
    // The crate's own jitter.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let world = Arc::new(World::new(&mut rng));
    let mut sim = Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .simulation_duration(STORM + CALM + Duration::from_secs(120))
        .tick_duration(Duration::from_millis(10))
        .tcp_capacity(4096)
        .ephemeral_ports(1024..=65535)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(rng.u64(2..80)))
        .enable_random_order()
        .build();
    for host in ["auth", "api"] {
        let world = Arc::clone(&world);
        sim.host(host, move || network::serve(Arc::clone(&world)));
    }
    let (app, callers) = (Arc::clone(&world), rng.u64(1..12));
    let app_rng = rng.fork();
    sim.client("app", async move {
        run(app, callers, app_rng).await.map_err(|error| error.to_string().into())
    });
    weather(&mut sim, &world, &mut rng)?;
    world.verdict()
}

/// Steps through the simulation; in a storm, links and hosts fail and come back.
fn weather(sim: &mut Sim<'_>, world: &World, rng: &mut Rng) -> Result<(), BoxError> {
    let mut calm = !world.stormy;
    while !sim.step().map_err(|error| error.to_string())? {
        if !calm && sim.elapsed() > STORM {
            calm = true;
            world.calm_down();
            for host in ["auth", "api"] {
                sim.repair("app", host);
                if !sim.is_host_running(host) {
                    sim.bounce(host);
                }
            }
        }
        if calm || rng.u32(0..500) != 0 {
            continue;
        }
        let host = if rng.bool() { "auth" } else { "api" };
        match rng.u32(0..5) {
            0 => sim.partition("app", host),
            1 => sim.hold("app", host),
            2 => sim.release("app", host),
            3 if sim.is_host_running(host) => sim.crash(host),
            _ => {
                sim.repair("app", host);
                if !sim.is_host_running(host) {
                    sim.bounce(host);
                }
            }
        }
    }
    Ok(())
}

type Client = Auth<network::Http>;

async fn run(world: Arc<World>, callers: u64, mut rng: Rng) -> Result<(), BoxError> {
    let policy = RefreshPolicy::default()
        .attempt_timeout(Duration::from_secs(2))
        .deadline(Duration::from_secs(6))
        .drain_timeout(Duration::from_secs(1))
        .max_backoff(Duration::from_secs(4))
        .cooldown_cap(Duration::from_secs(4));
    let http = network::Http::new(Arc::clone(&world));
    let endpoint = SendPayments::allow_plain_http(
        "http://auth:80",
        http.clone(),
        LateCredentials(Arc::clone(&world)),
    )?;
    let cache = TokenCache::builder(endpoint)
        .refresh_policy(policy)
        .keep_warm(rng.u32(0..4) == 0)
        .build()?;
    let client = AuthLayer::new(cache.clone()).allow_plain_http("http://api:80")?.layer(http);

    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call_for_a_while(
            client.clone(),
            cache.clone(),
            Arc::clone(&world),
            rng.fork(),
        ));
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    // Whatever has happened, it works again once all is well, and stays so through a renewal.
    sleep(CALM / 2).await;
    for _ in 0..40 {
        let status = call(&client).await?;
        if status != StatusCode::OK {
            return Err(format!("{status} when all is well").into());
        }
        sleep(CALM / 80).await;
    }
    world.check_posts(&cache.counters());
    drop((client, cache));
    Ok(())
}

/// Credentials that take their time.
struct LateCredentials(Arc<World>);

impl CredentialsSource for LateCredentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        sleep(self.0.asks_for_credentials()).await;
        Ok(Credentials::new("id", "secret"))
    }
}

async fn call(client: &Client) -> Result<StatusCode, Error> {
    call_at(client, "/accounts").await
}

async fn call_at(client: &Client, path: &str) -> Result<StatusCode, Error> {
    let uri = format!("http://api:80{path}");
    let request = Request::post(uri).body(Full::<Bytes>::from("{}")).unwrap();
    client.clone().oneshot(request).await.map(|response| response.status())
}

async fn call_for_a_while(
    client: Client,
    cache: TokenCache,
    world: Arc<World>,
    mut rng: Rng,
) -> Result<(), BoxError> {
    let pause = rng.u64(20..400);
    while turmoil::sim_elapsed().unwrap_or_default() < STORM {
        match rng.u32(0..100) {
            // A caller that goes away.
            0..10 => {
                let _ = timeout(Duration::from_millis(rng.u64(0..300)), call(&client)).await;
            }
            10 => {
                world.forces();
                let _ = timeout(CALL_BOUND, cache.refresh())
                    .await
                    .map_err(|_| "a forced refresh without end")?;
            }
            11..20 if world.forbids => {
                let answer = timeout(CALL_BOUND, call_at(&client, network::FORBIDDEN))
                    .await
                    .map_err(|_| "a refused call without end")?;
                world.answered_by_the_mean_one(&answer);
            }
            _ => {
                let answer = timeout(CALL_BOUND, call(&client))
                    .await
                    .map_err(|_| "a call without end, or a waiter left behind")?;
                world.answered(&answer);
            }
        }
        sleep(Duration::from_millis(rng.u64(0..=pause))).await;
    }
    Ok(())
}

/// The servers' clock.
fn wall(skew: i64) -> SystemTime {
    let now = UNIX_EPOCH
        + Duration::from_secs(1_800_000_000)
        + turmoil::sim_elapsed().unwrap_or_default();
    let shift = Duration::from_secs(skew.unsigned_abs());
    if skew < 0 { now - shift } else { now + shift }
}
