//! Who shares a token with whom, and under which name.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use support::{Endpoint, Resource, Step, URI, get, settle};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, TokenCache, TokenEndpoint,
    endpoint::{Identity, IssuedToken, Rotation},
    store::{KeyRing, MemoryStore, Swap, TokenStore},
};

use super::world::{Process, World, name};

/// An endpoint that tells whose tokens it issues. The client may change.
#[derive(Clone)]
struct Named {
    inner: Endpoint,
    client: Arc<Mutex<&'static str>>,
    asked: Arc<AtomicUsize>,
}

impl Named {
    fn new(inner: &Endpoint, client: &'static str) -> Self {
        let client = Arc::new(Mutex::new(client));
        Self { inner: inner.clone(), client, asked: Arc::default() }
    }

    fn identity_now(&self) -> Identity {
        Identity::new(*self.client.lock().unwrap())
    }
}

impl TokenEndpoint for Named {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let issued = self.inner.issue().await?;
        Ok(issued.issued_to(self.identity_now()))
    }

    fn rotation(&self) -> Rotation {
        self.inner.rotation()
    }

    fn uri(&self) -> Option<&http::Uri> {
        self.inner.uri()
    }

    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Some(self.identity_now()))
    }
}

fn shared(endpoint: &Named, store: &MemoryStore) -> TokenCache {
    TokenCache::builder(endpoint.clone()).shared(store.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn processes_of_one_client_share_a_token_and_those_of_another_do_not() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
    let (one, other) = (Named::new(&endpoint, "one"), Named::new(&endpoint, "other"));
    let first = shared(&one, &store).token().await.unwrap();
    let second = shared(&one, &store).token().await.unwrap();
    assert_eq!(first.expose_secret(), second.expose_secret());
    let third = shared(&other, &store).token().await.unwrap();
    assert_ne!(third.expose_secret(), first.expose_secret());
    let namespaced = TokenCache::builder(one).shared(store).namespace("test").build().unwrap();
    assert_ne!(namespaced.token().await.unwrap().expose_secret(), first.expose_secret());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_an_identity_needs_a_name() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).shared(MemoryStore::new()).build().unwrap();
    let error = cache.token().await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("shared_as"), "{error}");
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_another_client_is_not_published_under_the_name_of_the_first() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
    let named = Named::new(&endpoint, "one");
    let (changes, stays) = (shared(&named, &store), shared(&Named::new(&endpoint, "one"), &store));
    changes.token().await.unwrap();
    assert_eq!(stays.token().await.unwrap().expose_secret(), "token-1");
    // The client changes while a flight is on its way.
    let open = endpoint.gate();
    let refreshed = changes.refresh();
    let refreshed = tokio::spawn(refreshed);
    sleep(Duration::from_millis(200)).await;
    *named.client.lock().unwrap() = "other";
    open.send(()).unwrap();
    assert_eq!(refreshed.await.unwrap().unwrap().expose_secret(), "token-2");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stays.current().unwrap().expose_secret(), "token-1", "it was not handed over");
    // The next one is asked for under the name of the other client.
    let sequence = changes.current().unwrap().sequence();
    let refreshed = changes.refresh().await.unwrap();
    assert!(refreshed.sequence() > sequence);
    assert_eq!(refreshed.expose_secret(), "token-3");
    let others = shared(&named, &store).token().await.unwrap();
    assert_eq!(others.expose_secret(), "token-3");
    assert_eq!(stays.current().unwrap().expose_secret(), "token-1");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_an_overlapping_endpoint_are_shared_without_a_hold() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::overlapping());
    endpoint.answer_after(Duration::from_millis(500));
    let processes = [Process::new(&endpoint, &store), Process::new(&endpoint, &store)];
    for process in &processes {
        process.cache.token().await.unwrap();
    }
    let refreshed = tokio::spawn(processes[0].cache.refresh());
    for _ in 0..10 {
        sleep(Duration::from_millis(45)).await;
        for process in &processes {
            assert_eq!(process.cache.current().unwrap().expose_secret(), "token-1");
        }
    }
    refreshed.await.unwrap().unwrap();
    settle().await;
    assert_eq!(processes[1].cache.current().unwrap().expose_secret(), "token-2");
    assert_eq!(endpoint.calls(), 2);
    assert!(processes.iter().all(|process| process.counters().sibling_holds == 0));
}

fn sealed(endpoint: &Endpoint, store: &MemoryStore, ring: &KeyRing) -> TokenCache {
    let builder = TokenCache::builder(endpoint.clone()).seal(ring.clone());
    builder.shared_as(store.clone(), name()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_sealed_token_is_in_the_store() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
    let ring = KeyRing::new([7; 32], []);
    let first = sealed(&endpoint, &store, &ring);
    let second = sealed(&endpoint, &store, &ring);
    first.token().await.unwrap();
    assert_eq!(second.token().await.unwrap().expose_secret(), "token-1");
    let value = store.get(&name()).await.unwrap().unwrap().value;
    let contains = |part: &[u8]| value.windows(part.len()).any(|window| window == part);
    assert!(!contains(b"token-1") && !contains(b"Bearer"));
    // Without a key it is there.
    let plain = Process::new(&Endpoint::exclusive(), &MemoryStore::new());
    plain.cache.token().await.unwrap();
    let value = plain.wire.get(&name()).await.unwrap().unwrap().value;
    assert!(value.windows(7).any(|window| window == b"token-1"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_opened_is_neither_absent_nor_overwritten() {
    let mine = KeyRing::new([7; 32], []);
    for theirs in [None, Some(KeyRing::new([8; 32], []))] {
        let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
        let others = match &theirs {
            Some(ring) => sealed(&endpoint, &store, ring),
            None => Process::new(&endpoint, &store).cache,
        };
        others.token().await.unwrap();
        let before = store.get(&name()).await.unwrap().unwrap();
        let cache = sealed(&endpoint, &store, &mine);
        assert_eq!(cache.token().await.unwrap().expose_secret(), "token-2");
        sleep(Duration::from_secs(30)).await;
        let counters = cache.counters();
        assert_eq!(counters.store_alone, 1, "{counters:?}");
        let after = store.get(&name()).await.unwrap().unwrap();
        assert_eq!(after.value, before.value);
        assert_eq!(endpoint.calls(), 2, "one alone, and none in a loop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_of_a_newer_version_is_left_alone() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
    let newer = b"{\"v\":2}\n";
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(store.compare_and_set(&name(), 0, 5, newer, day).await.unwrap(), Swap::Done);
    let process = Process::new(&endpoint, &store);
    process.cache.token().await.unwrap();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(store.get(&name()).await.unwrap().unwrap().value, Bytes::from_static(newer));
    assert_eq!((endpoint.calls(), process.counters().store_alone), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_is_introduced_and_given_up_process_by_process() {
    let (store, endpoint) = (MemoryStore::new(), Endpoint::exclusive());
    let resource = Resource::of(&endpoint, Duration::from_millis(5)).forgetful();
    let alone = || TokenCache::builder(endpoint.clone()).build().unwrap();
    let with = || Process::new(&endpoint, &store).cache;
    let mut processes = vec![alone(), alone(), alone()];
    for step in 0..7 {
        // Each of them sends, whoever has killed its token meanwhile.
        for _ in 0..5 {
            for cache in &processes {
                let service = AuthLayer::new(cache.clone()).layer(resource.clone());
                let response = service.oneshot(get(URI)).await.unwrap();
                assert!(response.status() == 200 || step != 3, "all have the store");
                sleep(Duration::from_secs(2)).await;
            }
        }
        match step {
            0..3 => processes[step] = with(),
            3..6 => processes[step - 3] = alone(),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_data_costs_one_request() {
    let mut world = World::new(3);
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    let before = world.serving();
    world.processes.iter().for_each(|process| process.wire.forget());
    let load = world.load(Duration::from_secs(400)).await;
    assert_eq!((load.seen, load.errors), (0, 0), "{load:?}");
    assert!(world.is_of_one_mind());
    let after = world.serving();
    assert!(
        before.iter().zip(&after).all(|(before, after)| before < after),
        "{before:?} {after:?}"
    );
    assert!(world.endpoint.calls() <= 3, "{}", world.endpoint.calls());
    world.processes.clear();
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_answer_is_lost_is_not_taken_twice() {
    let world = World::new(2);
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    for lost in 1..=4 {
        let calls = world.endpoint.calls();
        world.processes[0].wire.lose_answer(lost);
        let _ = world.processes[0].cache.refresh().await;
        sleep(Duration::from_secs(10)).await;
        assert!(world.is_of_one_mind(), "answer {lost}: {:?}", world.serving());
        let calls = world.endpoint.calls() - calls;
        assert!(calls <= 2, "answer {lost}: {calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_of_a_token_that_may_have_died_is_told_to_all() {
    let world = World::new(2);
    for process in &world.processes {
        process.cache.token().await.unwrap();
    }
    world.endpoint.then(Step::Fail(AuthError::transient("cut off")));
    assert!(world.processes[0].cache.refresh().await.is_err());
    sleep(Duration::from_secs(1)).await;
    // The endpoint has issued a token that nobody has. The first 401 renews at once, without a
    // probe.
    let service = AuthLayer::new(world.processes[1].cache.clone()).layer(world.resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(world.processes[1].counters().doubts, 0);
    assert_eq!(world.endpoint.calls(), 3);
}
