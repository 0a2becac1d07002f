//! Processes that do not have the same secret, or can't have theirs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use support::{Endpoint, settle};
use tokio::time::sleep;
use tower::service_fn;
use tower_reauth::{
    AuthError, BoxError, Credentials, SendPayments, TokenCache, TokenEndpoint,
    endpoint::{Identity, IssuedToken, Rotation},
    store::{KeyRing, MemoryStore, TokenStore},
};

use super::world::{LIFETIME, name};

/// An endpoint that accepts one secret, as one process uses it.
#[derive(Clone)]
struct Guarded {
    inner: Endpoint,
    accepted: Arc<Mutex<&'static str>>,
    secret: Arc<Mutex<Option<&'static str>>>,
    refusals: Arc<AtomicUsize>,
}

impl Guarded {
    fn new(accepted: &'static str) -> Self {
        Self {
            inner: Endpoint::exclusive(),
            accepted: Arc::new(Mutex::new(accepted)),
            secret: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// The endpoint as a process with this `secret` uses it.
    fn with(&self, secret: &'static str) -> Self {
        Self { secret: Arc::new(Mutex::new(Some(secret))), ..self.clone() }
    }

    fn accept(&self, secret: &'static str) {
        *self.accepted.lock().unwrap() = secret;
    }

    fn refusals(&self) -> usize {
        self.refusals.load(Ordering::SeqCst)
    }

    fn secret(&self) -> Result<&'static str, AuthError> {
        self.secret.lock().unwrap().ok_or_else(|| AuthError::credentials("no such file"))
    }

    fn shared(&self, store: &MemoryStore, ring: Option<KeyRing>) -> TokenCache {
        let builder = TokenCache::builder(self.clone()).shared_as(store.clone(), name());
        match ring {
            Some(ring) => builder.seal(ring).build().unwrap(),
            None => builder.build().unwrap(),
        }
    }
}

impl TokenEndpoint for Guarded {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        if self.secret()? != *self.accepted.lock().unwrap() {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(AuthError::rejected("401"));
        }
        self.inner.issue().await
    }

    fn rotation(&self) -> Rotation {
        self.inner.rotation()
    }

    async fn identity(&self) -> Result<Option<Identity>, AuthError> {
        Ok(Some(Identity::new("client").with_secret(self.secret()?)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_holds_back_nobody_who_has_another() {
    for ring in [None, Some(KeyRing::new([7; 32], []))] {
        let (endpoint, store) = (Guarded::new("old"), MemoryStore::new());
        let stale = endpoint.with("old").shared(&store, ring.clone());
        let updated = endpoint.with("new").shared(&store, ring);
        stale.token().await.unwrap();
        settle().await;
        endpoint.accept("new");
        sleep(LIFETIME).await;
        assert!(stale.token().await.unwrap_err().is_rejected());
        let token = updated.token().await.unwrap();
        assert_eq!((token.expose_secret(), endpoint.refusals()), ("token-2", 1));
        // The process with the old secret has the token too.
        settle().await;
        assert_eq!(stale.current().unwrap().expose_secret(), "token-2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_waits_for_a_process_with_a_refused_secret_is_not_refused() {
    let (endpoint, store) = (Guarded::new("new"), MemoryStore::new());
    let stale = endpoint.with("old").shared(&store, None);
    let updated = endpoint.with("new").shared(&store, None);
    let waits = async {
        // The other process has the lease by now.
        tokio::task::yield_now().await;
        updated.token().await
    };
    let (refused, waited) = tokio::join!(stale.token(), waits);
    assert!(refused.unwrap_err().is_rejected());
    assert_eq!(waited.unwrap().expose_secret(), "token-1");
    assert_eq!(endpoint.refusals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_tried_by_one_process_of_those_who_have_it() {
    let (old, new) = ([7; 32], [8; 32]);
    let plain = [None, None];
    // A key is about to be replaced.
    let sealed = [Some(KeyRing::new(old, [new])), Some(KeyRing::new(new, [old]))];
    for rings in [plain, sealed] {
        let (endpoint, store) = (Guarded::new("new"), MemoryStore::new());
        for ring in rings.into_iter().cycle().take(10) {
            let cache = endpoint.with("old").shared(&store, ring);
            assert!(cache.token().await.unwrap_err().is_rejected());
        }
        assert_eq!(endpoint.refusals(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_refused_is_neither_in_the_store_nor_in_the_debug_output() {
    let (endpoint, store) = (Guarded::new("new"), MemoryStore::new());
    let stale = endpoint.with("hunter2");
    assert!(stale.shared(&store, None).token().await.is_err());
    let value = store.get(&name()).await.unwrap().unwrap().value;
    let value = String::from_utf8_lossy(&value);
    assert!(value.contains("credentials") && !value.contains("hunter2"), "{value}");
    let identity = format!("{:?}", stale.identity().await.unwrap());
    assert_eq!(identity, "Some(Identity { client_id: \"client\", others: [], .. })");
}

#[tokio::test(start_paused = true)]
async fn send_payments_tells_whose_secret_was_refused() {
    let refusals = Arc::<AtomicUsize>::default();
    let process = |secret: &str, store: &MemoryStore| {
        let refusals = Arc::clone(&refusals);
        let service = service_fn(move |request: Request<Full<Bytes>>| {
            let refusals = Arc::clone(&refusals);
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                let is_right = body.ends_with(b"\"new\"}");
                refusals.fetch_add(usize::from(!is_right), Ordering::SeqCst);
                let body = Full::<Bytes>::from(r#"{"accessToken": "t"}"#);
                let status = if is_right { 201 } else { 401 };
                Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
            }
        });
        let credentials = Credentials::new("client", secret);
        let endpoint = SendPayments::new("https://api.example.com", service, credentials).unwrap();
        TokenCache::builder(endpoint).shared(store.clone()).build().unwrap()
    };
    let store = MemoryStore::new();
    for _ in 0..3 {
        assert!(process("old", &store).token().await.unwrap_err().is_rejected());
    }
    assert_eq!(process("new", &store).token().await.unwrap().expose_secret(), "t");
    assert_eq!(refusals.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_credentials_holds_back_no_other() {
    let (endpoint, store) = (Guarded::new("new"), MemoryStore::new());
    let without = endpoint.with("new");
    *without.secret.lock().unwrap() = None;
    let error = without.shared(&store, None).token().await.unwrap_err();
    assert!(error.is_credentials(), "{error:?}");
    let with = endpoint.with("new").shared(&store, None);
    assert_eq!(with.token().await.unwrap().expose_secret(), "token-1");
}

/// Has processes with these secrets, none of which is right, ask for a token ten times a second.
/// Returns the requests in each of `minutes`.
async fn refused(secrets: &[&'static str], minutes: usize) -> Vec<usize> {
    let (endpoint, store) = (Guarded::new("right"), MemoryStore::new());
    let caches: Vec<_> =
        secrets.iter().map(|secret| endpoint.with(secret).shared(&store, None)).collect();
    let mut counts = Vec::new();
    for _ in 0..minutes {
        let before = endpoint.refusals();
        for _ in 0..600 {
            for cache in &caches {
                assert!(cache.token().await.is_err());
            }
            sleep(Duration::from_millis(100)).await;
        }
        counts.push(endpoint.refusals() - before);
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn one_wrong_secret_costs_ten_processes_what_it_costs_one() {
    let alone = refused(&["wrong"], 10).await;
    let ten = refused(&["wrong"; 10], 10).await;
    for counts in [&alone, &ten] {
        let later = counts[1..].iter().sum::<usize>();
        assert!(counts[0] <= 10 && later <= 9 * 4, "{alone:?} {ten:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_wrong_secrets_cost_less_than_processes_without_a_store() {
    let two = refused(&["a", "b"], 10).await;
    let later = two[1..].iter().sum::<usize>();
    assert!(two[0] <= 2 * 10 && later <= 2 * 9 * 4, "each as one alone: {two:?}");
    // Each refusal takes the place of that of the other secret, and those who have that try again.
    let ten = refused(&["a", "b", "a", "b", "a", "b", "a", "b", "a", "b"], 10).await;
    let later = ten[1..].iter().sum::<usize>();
    assert!((20..=70).contains(&ten[0]) && later <= 9 * 20, "{ten:?}");
}
