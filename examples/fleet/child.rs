//! One process of the fleet. It sends requests until its standard input ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, stdin},
    sync::watch,
    time::{Instant, interval, sleep},
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, BoxError, Credentials, SendPayments, TokenCache, TokenEndpoint,
    cache::TokenCacheBuilder,
    client::{self, HttpsClient},
    sandbox::Sandbox,
    store::{FileStore, StoreDown},
};

use crate::{
    args::{Options, StoreDownName},
    chain,
    lease_events::LeaseEvents,
    lines::{Counts, Line},
};

/// The pause of a caller between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// The time between two reports of all numbers.
const REPORT_EVERY: Duration = Duration::from_millis(100);

type Client = Auth<HttpsClient<Full<Bytes>>>;

/// What the callers saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Counts>>);

pub(crate) async fn run(options: &Options, base_url: &str) -> Result<(), BoxError> {
    tracing::subscriber::set_global_default(LeaseEvents)?;
    let cache = cache(options, base_url)?;
    let client = AuthLayer::new(cache.clone()).layer(client::https()?);
    tokio::spawn(report_tokens(cache.clone()));

    let seen = Seen::default();
    let (stop, stopped) = watch::channel(false);
    let callers: Vec<_> = (0..options.callers)
        .map(|caller| {
            let (seen, stopped) = (seen.clone(), stopped.clone());
            let first_pause = PAUSE * caller.into() / options.callers.into();
            let client = client.clone();
            let base_url = base_url.to_owned();
            tokio::spawn(async move {
                sleep(first_pause).await;
                send_until(stopped, client, &base_url, &seen).await;
            })
        })
        .collect();
    report_until_told(&seen, &cache).await;
    stop.send_replace(true);
    for caller in callers {
        caller.await?;
    }
    seen.report(&cache);
    Ok(())
}

/// The lines that share a token: a store, and `shared`.
fn cache(options: &Options, base_url: &str) -> Result<TokenCache, BoxError> {
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(base_url, client::https()?, credentials)?;
    let mut builder = TokenCache::builder(endpoint);
    if let Some(directory) = &options.store {
        let store_down = match options.store_down {
            StoreDownName::Alone => StoreDown::Alone,
            StoreDownName::Fail => StoreDown::Fail,
        };
        builder = match &options.redis {
            Some(url) => share_through_redis(builder, url)?,
            None => builder.shared(FileStore::open(directory)?),
        };
        builder = builder.store_down(store_down).namespace(options.namespace.clone());
    }
    Ok(builder.build()?)
}

#[cfg(feature = "redis")]
fn share_through_redis<E: TokenEndpoint>(
    builder: TokenCacheBuilder<E>,
    url: &str,
) -> Result<TokenCacheBuilder<E>, BoxError> {
    Ok(builder.shared(tower_reauth::store::RedisStore::connect(url)?))
}

#[cfg(not(feature = "redis"))]
fn share_through_redis<E: TokenEndpoint>(
    _: TokenCacheBuilder<E>,
    _: &str,
) -> Result<TokenCacheBuilder<E>, BoxError> {
    Err("build it with `--features redis` to use `--redis`".into())
}

async fn report_tokens(cache: TokenCache) {
    let mut updates = cache.subscribe();
    while let Some(token) = updates.next().await {
        Line::Token { sequence: token.sequence() }.print();
    }
}

/// Reports all numbers again and again, until the standard input ends.
async fn report_until_told(seen: &Seen, cache: &TokenCache) {
    let mut told = tokio::spawn(async { stdin().read_to_end(&mut Vec::new()).await });
    let mut ticks = interval(REPORT_EVERY);
    loop {
        tokio::select! {
            _ = &mut told => return,
            _ = ticks.tick() => seen.report(cache),
        }
    }
}

async fn send_until(
    stopped: watch::Receiver<bool>,
    mut client: Client,
    base_url: &str,
    seen: &Seen,
) {
    while !*stopped.borrow() {
        seen.change(|counts| counts.requests += 1);
        let started = Instant::now();
        let outcome = create_account(&mut client, base_url).await;
        seen.count(&outcome, started.elapsed());
        sleep(PAUSE).await;
    }
}

async fn create_account(client: &mut Client, base_url: &str) -> Result<StatusCode, BoxError> {
    let request = Request::post(format!("{base_url}/accounts"))
        .header("content-type", "application/json")
        .body(Full::from(r#"{"name": "fleet"}"#))?;
    let response = client.ready().await?.call(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}

impl Seen {
    fn count(&self, outcome: &Result<StatusCode, BoxError>, took: Duration) {
        if let Err(error) = outcome
            && self.is_first_error()
        {
            eprintln!("fleet: a request failed: {}", chain(&**error));
        }
        let took = took.as_secs_f64() * 1e3;
        self.change(|counts| {
            match outcome {
                Ok(status) => {
                    counts.answers += 1;
                    counts.seen += u64::from(*status == StatusCode::UNAUTHORIZED);
                }
                Err(_) => counts.errors += 1,
            }
            counts.lately_longest_ms = counts.lately_longest_ms.max(took);
            counts.longest_ms = counts.longest_ms.max(took);
        });
    }

    fn is_first_error(&self) -> bool {
        self.change(|counts| counts.errors == 0)
    }

    fn report(&self, cache: &TokenCache) {
        let counters = cache.counters();
        let longest_hold = counters.longest_hold.max(counters.longest_sibling_hold);
        let longest_hold_ms = longest_hold.as_secs_f64() * 1e3;
        let counts = self.change(|counts| {
            let now = Counts { longest_hold_ms, ..*counts };
            counts.lately_longest_ms = 0.0;
            now
        });
        Line::Counts(counts).print();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
