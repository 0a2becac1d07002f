//! The probes of Kubernetes over a cache, as the docs of `TokenCache::is_ready` have them.

use std::time::Duration;

use axum::{Router, body::Body, extract::State, routing::get};
use http::{Request, StatusCode};
use support::{Endpoint, Step, settle};
use tokio::time::{advance, sleep, timeout};
use tower::ServiceExt;
use tower_reauth::{
    AuthError, TokenCache,
    store::{MemoryStore, Name},
};

// The recipe, word for word.

/// For `readinessProbe: {httpGet: {path: /ready, port: 8080}}`.
async fn ready(State(cache): State<TokenCache>) -> StatusCode {
    if cache.is_ready() || cache.warm_up().await.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// For `livenessProbe: {httpGet: {path: /live, port: 8080}}`.
async fn live() -> StatusCode {
    StatusCode::OK
}

fn probes(cache: TokenCache) -> Router {
    Router::new().route("/ready", get(ready)).route("/live", get(live)).with_state(cache)
}

// The end of the recipe.

#[test]
fn the_recipe_is_that_of_the_docs() {
    let docs = include_str!("../../src/cache/readiness.rs");
    let lines = docs.lines().filter_map(|line| line.trim_start().strip_prefix("///"));
    let lines: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let shown = lines.join("\n");
    let here = include_str!("probes.rs");
    let begins = here.find("/// For `readinessProbe").unwrap();
    let ends = here.find("\n// The end of the recipe").unwrap();
    assert!(shown.contains(&here[begins..ends]), "{shown}");
}

/// A pod, and what the kubelet learns of it.
struct Pod {
    cache: TokenCache,
    router: Router,
}

impl Pod {
    fn new(cache: TokenCache) -> Self {
        Self { router: probes(cache.clone()), cache }
    }

    fn of(endpoint: &Endpoint) -> Self {
        Self::new(TokenCache::new(endpoint.clone()))
    }

    /// Probes once, for a second at most. `None` is a probe that timed out.
    async fn probe(&self, path: &str) -> Option<u16> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = timeout(Duration::from_secs(1), self.router.clone().oneshot(request)).await;
        response.ok().map(|response| response.unwrap().status().as_u16())
    }

    async fn is_ready(&self) -> bool {
        assert_eq!(self.probe("/live").await, Some(200), "nothing here is mended by a restart");
        self.probe("/ready").await == Some(200)
    }
}

fn down() -> Step {
    Step::Fail(AuthError::rejected("down"))
}

/// The period of a probe.
const PERIOD: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn an_idle_pod_is_ready_and_asks_for_no_token() {
    let endpoint = Endpoint::exclusive();
    let pod = Pod::of(&endpoint);
    for _ in 0..100 {
        assert!(pod.is_ready().await);
        sleep(PERIOD).await;
    }
    assert_eq!(endpoint.calls(), 0);
    pod.cache.token().await.unwrap();
    for _ in 0..100 {
        assert!(pod.is_ready().await);
        sleep(PERIOD).await;
    }
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_holds_its_requests_is_ready_at_once() {
    let endpoint = Endpoint::exclusive();
    let pod = Pod::of(&endpoint);
    pod.cache.token().await.unwrap();
    let open = endpoint.gate();
    let held = tokio::spawn(pod.cache.refresh());
    settle().await;
    assert!(pod.cache.current().is_none());
    assert!(pod.is_ready().await);
    assert!(pod.cache.current().is_none(), "it was held all the time");
    open.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert!(pod.is_ready().await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_good_token_is_ready_while_the_endpoint_is_down() {
    let endpoint = Endpoint::exclusive();
    let pod = Pod::of(&endpoint);
    pod.cache.token().await.unwrap();
    endpoint.then(down());
    pod.cache.refresh().await.unwrap_err();
    for _ in 0..20 {
        assert!(pod.is_ready().await);
        sleep(PERIOD).await;
    }
    assert_eq!(endpoint.calls(), 2, "the probes asked for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_token_is_not_ready_until_a_probe_gets_one() {
    let endpoint = Endpoint::exclusive();
    (0..4).for_each(|_| _ = endpoint.then(down()));
    let pod = Pod::of(&endpoint);
    pod.cache.token().await.unwrap_err();
    // No request comes to a pod that is not ready. The probes alone ask, and respect the back-off.
    let mut probes = 0;
    while !pod.is_ready().await {
        probes += 1;
        assert!(probes < 20, "it never became ready again");
        sleep(PERIOD).await;
    }
    assert!(probes >= 3);
    assert_eq!(endpoint.calls(), 5);
    assert!(pod.cache.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_times_out_leaves_the_token_to_the_next_one() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(down()).then(Step::Late(Duration::from_secs(3), Duration::from_secs(300)));
    let pod = Pod::of(&endpoint);
    pod.cache.token().await.unwrap_err();
    advance(PERIOD).await;
    assert_eq!(pod.probe("/ready").await, None);
    sleep(PERIOD).await;
    assert_eq!(pod.probe("/ready").await, Some(200));
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_a_fleet_becomes_ready_with_the_token_of_another() {
    let (store, name) = (MemoryStore::new(), Name::new("payments").unwrap());
    let pod = |endpoint: &Endpoint| {
        let builder = TokenCache::builder(endpoint.clone());
        Pod::new(builder.shared_as(store.clone(), name.clone()).build().unwrap())
    };
    let (works, missing) = (Endpoint::exclusive(), Endpoint::exclusive());
    let (one, other) = (pod(&works), pod(&missing));
    // Its secret is not mounted.
    missing.then(Step::Fail(AuthError::credentials("no such file")));
    other.cache.token().await.unwrap_err();
    assert!(!other.is_ready().await && one.is_ready().await);
    one.cache.token().await.unwrap();
    sleep(PERIOD).await;
    assert!(other.is_ready().await);
    assert_eq!((works.calls(), missing.calls()), (1, 1));
    // A renewal by one of them holds the requests of both, and shows nowhere.
    let open = works.gate();
    let held = tokio::spawn(one.cache.refresh());
    sleep(Duration::from_millis(500)).await;
    assert!(one.cache.current().is_none() && other.cache.current().is_none());
    assert!(one.is_ready().await && other.is_ready().await);
    open.send(()).unwrap();
    held.await.unwrap().unwrap();
}
