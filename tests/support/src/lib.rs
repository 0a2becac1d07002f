//! Doubles without sockets: a token endpoint that does as it is told, and services that keep the
//! Tower contract strictly. The modules hold what else the tests share.

pub mod child;
pub mod closed_port;
pub mod log;
#[cfg(feature = "tls")]
pub mod tls;

/// For programs that a test compiles against this package alone.
pub use {http, http_body, tower, tower_reauth};

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode, Uri, header};
use tokio::sync::oneshot;
use tower::Service;
use tower_reauth::{
    AuthError, BoxError, RefreshPolicy, TokenCache,
    endpoint::{IssuedToken, Rotation, TokenEndpoint},
};

/// What one request for a token meets.
pub enum Step {
    Issue,
    IssueFor(Duration),
    /// Answers after this time, with a token of this lifetime.
    Late(Duration, Duration),
    Fail(AuthError),
    Hang,
    Panic,
    /// Waits for the gate, then issues.
    Gate(oneshot::Receiver<()>),
}

/// Issues `token-1`, `token-2`, ... unless told otherwise.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    rotation: Rotation,
    lifetime: Duration,
    uri: Option<http::Uri>,
    name: &'static str,
    script: Mutex<VecDeque<Step>>,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// How long each answer takes.
    delay: Mutex<Duration>,
}

impl Endpoint {
    pub fn new(rotation: Rotation) -> Self {
        Self::custom(rotation, "token", Duration::from_secs(300))
    }

    pub fn exclusive() -> Self {
        Self::new(Rotation::Exclusive)
    }

    pub fn overlapping() -> Self {
        Self::new(Rotation::Overlapping)
    }

    pub fn custom(rotation: Rotation, name: &'static str, lifetime: Duration) -> Self {
        Self(Arc::new(Inner {
            rotation,
            lifetime,
            uri: Some(http::Uri::from_static("https://api.example.com/auth")),
            name,
            script: Mutex::default(),
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            delay: Mutex::default(),
        }))
    }

    pub fn then(&self, step: Step) -> &Self {
        self.0.script.lock().unwrap().push_back(step);
        self
    }

    /// Each answer takes so long; the token is issued, and the one before it dies, when the request
    /// arrives.
    pub fn answer_after(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    /// The next request waits until the gate is opened (or dropped).
    pub fn gate(&self) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        self.then(Step::Gate(gate));
        open
    }

    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub fn most_under_way(&self) -> usize {
        self.0.most_under_way.load(Ordering::SeqCst)
    }

    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TokenEndpoint for Endpoint {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let inner = &*self.0;
        let number = inner.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let under_way = inner.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let _under_way = UnderWay(&inner.under_way);
        let delay = *inner.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let step = inner.script.lock().unwrap().pop_front().unwrap_or(Step::Issue);
        let token = |lifetime| {
            Ok(IssuedToken::new(format!("{}-{number}", inner.name)).expires_in(lifetime))
        };
        match step {
            Step::Issue => token(inner.lifetime),
            Step::IssueFor(lifetime) => token(lifetime),
            Step::Late(delay, lifetime) => {
                tokio::time::sleep(delay).await;
                token(lifetime)
            }
            Step::Fail(error) => Err(error),
            Step::Hang => std::future::pending().await,
            Step::Panic => panic!("the endpoint panics, as it was told to"),
            Step::Gate(gate) => {
                let _ = gate.await;
                token(inner.lifetime)
            }
        }
    }

    fn rotation(&self) -> Rotation {
        self.0.rotation
    }

    fn uri(&self) -> Option<&http::Uri> {
        self.0.uri.as_ref()
    }
}

/// The value of the `Authorization` header, or nothing.
pub fn authorization<B>(request: &Request<B>) -> String {
    request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

pub fn get(uri: &str) -> Request<String> {
    // Parsed once, because some tests send 100,000 requests there.
    static PARSED: LazyLock<Uri> = LazyLock::new(|| Uri::from_static(URI));
    let uri = if uri == URI { PARSED.clone() } else { uri.parse().unwrap() };
    Request::get(uri).body(String::new()).unwrap()
}

pub const URI: &str = "https://api.example.com/accounts/1";

/// What a resource saw of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub authorization: String,
    pub body: String,
}

type Answer = dyn Fn(usize, &Request<String>) -> Response<String> + Send + Sync;

/// A resource that answers by a function of (number of the request from 1, request). It loses its
/// readiness on clone, and panics if it is called without being ready.
pub struct Resource {
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Seen>>>,
    ready: bool,
    latency: Duration,
    forgetful: bool,
}

impl Resource {
    pub fn new(
        answer: impl Fn(usize, &Request<String>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
            ready: false,
            latency: Duration::ZERO,
            forgetful: false,
        }
    }

    /// 200 for this token, 401 for every other.
    pub fn accepting(token: &'static str) -> Self {
        Self::new(move |_, request| {
            if authorization(request) == format!("Bearer {token}") { ok() } else { unauthorized() }
        })
    }

    /// Accepts the token that `endpoint` has issued last, as it is after `latency`.
    pub fn of(endpoint: &Endpoint, latency: Duration) -> Self {
        let endpoint = endpoint.clone();
        let resource = Self::new(move |_, request| {
            let alive = format!("Bearer token-{}", endpoint.calls());
            if authorization(request) == alive { ok() } else { unauthorized() }
        });
        Self { latency, ..resource }
    }

    #[must_use]
    pub fn taking(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Keeps no record of what it saw.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { forgetful: true, ..self }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn tokens(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.authorization).collect()
    }
}

impl Clone for Resource {
    fn clone(&self) -> Self {
        Self {
            answer: Arc::clone(&self.answer),
            seen: Arc::clone(&self.seen),
            ready: false,
            latency: self.latency,
            forgetful: self.forgetful,
        }
    }
}

impl Service<Request<String>> for Resource {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        let mut seen = self.seen.lock().unwrap();
        if self.forgetful {
            seen.clear();
        }
        seen.push(Seen { authorization: authorization(&request), body: request.body().clone() });
        let (number, answer, latency) = (seen.len(), Arc::clone(&self.answer), self.latency);
        drop(seen);
        // Answers on the second poll at the earliest, as a network would.
        Box::pin(async move {
            if latency.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(latency).await;
            }
            Ok(answer(number, &request))
        })
    }
}

pub fn ok() -> Response<String> {
    Response::new("done".into())
}

pub fn unauthorized() -> Response<String> {
    Response::builder().status(StatusCode::UNAUTHORIZED).body("who are you?".into()).unwrap()
}

/// Lets every spawned task run until it waits.
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A policy by which a refresh is one attempt, in as much time as attempts have by default. The
/// pause before another would outlast the refresh.
#[must_use]
pub fn one_attempt() -> RefreshPolicy {
    let day = Duration::from_secs(24 * 60 * 60);
    RefreshPolicy::default().retry_base(day).retry_cap(day).max_backoff(day)
}

/// Returns a cache that takes a new token for known everywhere. So a refused token that no resource
/// has accepted is renewed at once, and its request is sent twice.
///
/// # Panics
///
/// Panics if the cache can't be built.
pub fn known_at_once(endpoint: impl TokenEndpoint) -> TokenCache {
    let policy = RefreshPolicy::default().propagation_delay(Duration::ZERO);
    TokenCache::builder(endpoint).refresh_policy(policy).build().expect("a policy that can work")
}
