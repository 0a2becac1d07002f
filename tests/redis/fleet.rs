//! [`Fleet`]: processes that share a token through a real server, and callers that watch.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinHandle, time::sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AccessToken, Auth, AuthLayer, Counters, Credentials, Error, RefreshPolicy, SendPayments,
    TokenCache,
    client::{self, HttpsClient},
    sandbox::Sandbox,
    store::{RedisStore, StoreDown},
};

use crate::server::{Server, name};

/// Processes of a fleet, each with a connection of its own.
const PROCESSES: usize = 3;
const CALLERS: u32 = 2;

/// The pause of a caller between two requests.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) type Client = Auth<HttpsClient<Full<Bytes>>>;

/// Caches that share a token and send requests until this is dropped.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) sandbox: Sandbox,
    pub(crate) caches: Vec<TokenCache>,
    callers: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

/// What callers saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    /// Answers with the status 401.
    pub(crate) refused: u64,
    /// Transient errors that name the store.
    pub(crate) store_down: u64,
    /// Other errors.
    pub(crate) errors: Vec<String>,
}

impl Fleet {
    /// Starts a fleet and waits until all processes have the first token.
    pub(crate) async fn start(
        server: Server,
        lifetime: Duration,
        store_down: StoreDown,
        policy: RefreshPolicy,
    ) -> Self {
        let latency = Duration::from_millis(100);
        Self::start_at(server, (lifetime, latency), store_down, policy).await
    }

    /// Starts a fleet at an endpoint whose tokens have this lifetime, and that takes so long for
    /// each.
    pub(crate) async fn start_at(
        server: Server,
        (lifetime, latency): (Duration, Duration),
        store_down: StoreDown,
        policy: RefreshPolicy,
    ) -> Self {
        let sandbox = Sandbox::builder()
            .token_lifetime(lifetime)
            .auth_latency(latency)
            .start()
            .await
            .unwrap();
        let cache = |_| cache(&server, &sandbox.base_url(), store_down, policy.clone());
        let caches: Vec<_> = (0..PROCESSES).map(cache).collect();
        let seen = Arc::<Mutex<Seen>>::default();
        let callers = caches.iter().flat_map(|cache| call(cache, &sandbox.base_url(), &seen));
        let fleet = Self { callers: callers.collect(), server, sandbox, caches, seen };
        fleet.until("the first token", Duration::from_secs(5), Self::is_of_one_mind).await;
        assert_eq!(fleet.posts(), 1);
        fleet
    }

    /// Returns whether all processes serve the token that lives.
    pub(crate) fn is_of_one_mind(&self) -> bool {
        let mut tokens = self.caches.iter().map(TokenCache::current);
        let Some(Some(first)) = tokens.next() else { return false };
        let has_first = |token: Option<AccessToken>| {
            token.is_some_and(|token| token.expose_secret() == first.expose_secret())
        };
        tokens.all(has_first) && self.sandbox.accepts(first.expose_secret())
    }

    /// Returns how often a token was asked for.
    pub(crate) fn posts(&self) -> u64 {
        self.sandbox.counters().auth_requests
    }

    pub(crate) fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.caches.iter().map(|cache| of(&cache.counters())).sum()
    }

    /// Returns what callers saw since the last call.
    pub(crate) fn seen(&self) -> Seen {
        mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Expects that callers have seen nothing but responses since the last call.
    pub(crate) fn assert_unseen(&self) {
        let seen = self.seen();
        assert!(seen.answers > 0, "{seen:?}");
        assert_eq!((seen.refused, seen.store_down), (0, 0), "{seen:?}");
        assert!(seen.errors.is_empty(), "{seen:?}");
    }

    /// Waits until `condition` holds, which has to be within `bound`. Returns how long it took.
    pub(crate) async fn until(
        &self,
        what: &str,
        bound: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Duration {
        let started = Instant::now();
        while !condition(self) {
            let serving: Vec<_> =
                self.caches.iter().map(|it| it.current().map(|it| it.sequence())).collect();
            assert!(started.elapsed() < bound, "no {what} within {bound:?}: {serving:?}");
            sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    }

    /// Waits until the living token is one that was asked for after `posts` requests.
    pub(crate) async fn renewed(&self, posts: u64, bound: Duration) {
        let is_renewed = |it: &Self| it.posts() > posts && it.is_of_one_mind();
        self.until("renewal", bound, is_renewed).await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

/// Returns the cache of a process that uses `server`.
pub(crate) fn cache(
    server: &Server,
    base_url: &str,
    store_down: StoreDown,
    policy: RefreshPolicy,
) -> TokenCache {
    cache_at(&server.url(), base_url, store_down, policy)
}

/// Returns the cache of a process that uses the server at `url`.
pub(crate) fn cache_at(
    url: &str,
    base_url: &str,
    store_down: StoreDown,
    policy: RefreshPolicy,
) -> TokenCache {
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(base_url, client::https().unwrap(), credentials).unwrap();
    TokenCache::builder(endpoint)
        .refresh_policy(policy)
        .shared_as(RedisStore::connect(url).unwrap(), name("payments"))
        .store_down(store_down)
        .build()
        .unwrap()
}

/// Starts the callers of a process. What they see is added to `seen`.
pub(crate) fn call(
    cache: &TokenCache,
    base_url: &str,
    seen: &Arc<Mutex<Seen>>,
) -> Vec<JoinHandle<()>> {
    let client = AuthLayer::new(cache.clone()).layer(client::https().unwrap());
    let callers = (0..CALLERS).map(|caller| {
        let (client, seen) = (client.clone(), Arc::clone(seen));
        let url = format!("{base_url}/accounts");
        tokio::spawn(async move {
            sleep(PAUSE * caller / CALLERS).await;
            loop {
                let outcome = create_account(client.clone(), &url).await;
                seen.lock().unwrap().count(outcome);
                sleep(PAUSE).await;
            }
        })
    });
    callers.collect()
}

async fn create_account(client: Client, url: &str) -> Result<StatusCode, Error> {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .body(Full::from(r#"{"name": "fleet"}"#))
        .unwrap();
    let response = client.oneshot(request).await?;
    let status = response.status();
    response.into_body().collect().await.map_err(Error::inner)?;
    Ok(status)
}

impl Seen {
    fn count(&mut self, outcome: Result<StatusCode, Error>) {
        match outcome {
            Ok(status) => {
                self.answers += 1;
                self.refused += u64::from(status == StatusCode::UNAUTHORIZED);
            }
            Err(error) => match error.as_auth() {
                Some(auth) if auth.is_store_down() && auth.is_transient() => self.store_down += 1,
                _ => self.errors.push(format!("{error:?}")),
            },
        }
    }
}
