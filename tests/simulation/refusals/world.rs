//! The world of one scenario: its tokens, its endpoint, its resources, and what its callers saw.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Future, ready},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, sleep_until},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    AuthLayer, BoxError, Counters, Credentials, Error, SendPayments, TokenCache,
    endpoint::HttpService,
};

use super::scenario::{Answers, Arrivals, Origin, Scenario, Stream};

/// The way to a resource or back takes so long at least.
const NETWORK: Duration = Duration::from_millis(5);

/// A 401 takes its resource so long.
const REFUSAL: Duration = Duration::from_millis(5);

const LIFETIME: f64 = 300.0;

/// What a scenario has come to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) posts: u64,
    /// The callers of resources that accept what is alive, and the others.
    pub(super) healthy: Calls,
    pub(super) unhealthy: Calls,
    /// From each real death of a token to the first acceptance of a later one, in seconds.
    pub(super) recoveries: Vec<f64>,
    /// By client.
    pub(super) counters: Vec<Counters>,
    /// Healthy callers that got an error while their client had a token that was alive.
    pub(super) failed_with_a_token: u64,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) answered: u64,
    pub(super) unauthorized: u64,
    pub(super) errors: u64,
    /// The longest that a call took beside its last send, in seconds.
    pub(super) longest_wait: f64,
}

struct World {
    started: Instant,
    scenario: Scenario,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// All tokens, by number. The last one is the only one that may be alive.
    issued: Vec<Token>,
    /// The newest token of each client.
    received: Vec<Option<usize>>,
    /// When a stream's cache let a token in.
    cached: HashMap<(usize, usize), f64>,
    /// The last real death, in seconds, and whether a newer token has been accepted since.
    last_kill: f64,
    recovering: bool,
    outcome: Outcome,
}

struct Token {
    issued: f64,
    killed: f64,
    /// The client that has it, unless it is another process.
    client: Option<usize>,
}

/// Plays a scenario to its end.
pub(super) fn play(scenario: Scenario, seed: u64) -> Outcome {
    // The crate's own jitter.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(scenario, seed));
        let clients = 0..world.scenario.clients;
        let caches: Vec<_> =
            clients.map(|client| TokenCache::new(world.endpoint(client))).collect();
        for (index, stream) in world.scenario.streams.iter().enumerate() {
            let mut layer = AuthLayer::new(caches[stream.client].clone());
            if stream.origin == Origin::Other {
                layer = layer.allow_origin(stream.origin.uri()).unwrap();
            }
            let resource = Resource { world: Arc::clone(&world), stream: index };
            if stream.replays {
                tokio::spawn(drive(layer.layer(resource), Arc::clone(&world), index));
            } else {
                let service = layer.without_replay().layer(resource);
                tokio::spawn(drive(service, Arc::clone(&world), index));
            }
        }
        tokio::spawn(kill(Arc::clone(&world)));
        sleep_until(world.at(world.scenario.end)).await;
        let mut outcome = std::mem::take(&mut world.lock().outcome);
        outcome.counters = caches.iter().map(TokenCache::counters).collect();
        outcome
    })
}

/// Kills tokens at the times of the scenario.
async fn kill(world: Arc<World>) {
    let Scenario { kills, foreign_every, end, .. } = &world.scenario;
    for time in *kills {
        sleep_until(world.at(*time)).await;
        world.lock().kill(*time);
    }
    let Some(every) = foreign_every else { return };
    let mut time = *every;
    while time < *end {
        sleep_until(world.at(time)).await;
        let mut state = world.lock();
        state.issue(time, None);
        state.kill(time);
        drop(state);
        time += every;
    }
}

/// Makes the calls of one stream, for ever.
async fn drive<S>(service: S, world: Arc<World>, index: usize)
where
    S: Service<Request<String>, Response = Response<()>, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    let Stream { arrivals, gap, thinks, .. } = world.scenario.streams[index];
    let mut next = world.lock().rng.f64() * gap.max(thinks).min(30.0);
    loop {
        sleep_until(world.at(next)).await;
        if arrivals == Arrivals::OneByOne {
            let is_fine = call(service.clone(), Arc::clone(&world), index).await;
            next = world.now() + if is_fine { gap } else { gap.max(0.2) };
        } else {
            next += world.lock().exponential(gap);
            tokio::spawn(call(service.clone(), Arc::clone(&world), index));
        }
    }
}

/// Makes one call. Returns whether it was answered well.
async fn call<S>(service: S, world: Arc<World>, index: usize) -> bool
where
    S: Service<Request<String>, Response = Response<()>, Error = Error>,
{
    let stream = &world.scenario.streams[index];
    let slug = (stream.slugs > 0).then(|| world.lock().rng.u32(0..stream.slugs));
    let mut request = Request::get(stream.uri(slug)).body(String::new()).unwrap();
    let last_send = LastSend::default();
    request.extensions_mut().insert(last_send.clone());
    let started = Instant::now();
    let answer = service.oneshot(request).await.map(|response| response.status());
    let took = started.elapsed().as_secs_f64();
    let last_send = Duration::from_nanos(last_send.0.load(Ordering::Relaxed));
    world.answered(stream, &answer, took - last_send.as_secs_f64());
    answer.is_ok_and(|status| status.is_success())
}

/// How long the last send of a request took, in nanoseconds.
#[derive(Clone, Default)]
struct LastSend(Arc<AtomicU64>);

impl World {
    fn new(scenario: Scenario, seed: u64) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            issued: Vec::new(),
            received: vec![None; scenario.clients],
            cached: HashMap::new(),
            last_kill: f64::NEG_INFINITY,
            recovering: false,
            outcome: Outcome::default(),
        };
        Self { started: Instant::now(), scenario, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Seconds since the start.
    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn at(&self, seconds: f64) -> Instant {
        self.started + Duration::from_secs_f64(seconds)
    }

    /// The endpoint as `client` has it. A request for a token takes 30 ms on its way, and kills the
    /// token in use when it arrives. The answer takes 50 ms.
    fn endpoint(
        self: &Arc<Self>,
        client: usize,
    ) -> SendPayments<impl HttpService + use<>, Credentials> {
        let world = Arc::clone(self);
        let http = service_fn(move |_: Request<Full<Bytes>>| {
            let world = Arc::clone(&world);
            world.lock().outcome.posts += 1;
            async move {
                sleep(Duration::from_millis(30)).await;
                let now = world.now();
                if world.scenario.down.as_ref().is_some_and(|down| down.contains(&now)) {
                    sleep(NETWORK).await;
                    // Nothing was issued.
                    return Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionRefused)));
                }
                let number = world.lock().issue(now, Some(client));
                sleep(Duration::from_millis(50)).await;
                world.lock().received[client] = Some(number);
                // A second more than the lifetime, because dates are cut to seconds.
                let body = format!(
                    r#"{{"accessToken":"token-{number}","expiresAt":"2026-11-24T02:49:01Z"}}"#
                );
                let response = Response::builder().status(201);
                let response = response.header(header::DATE, "Tue, 24 Nov 2026 02:44:00 GMT");
                Ok(response.body(Full::<Bytes>::from(body)).unwrap())
            }
        });
        let credentials = Credentials::new("id", "secret");
        SendPayments::new("https://api.example.com", http, credentials).unwrap()
    }

    /// Takes in what a caller got.
    fn answered(&self, stream: &Stream, answer: &Result<StatusCode, Error>, waited: f64) {
        let (now, mut state) = (self.now(), self.lock());
        let at_hand = state.received[stream.client].is_some_and(|token| state.lives(token, now));
        let outcome = &mut state.outcome;
        outcome.failed_with_a_token += u64::from(answer.is_err() && at_hand && stream.healthy);
        let calls = if stream.healthy { &mut outcome.healthy } else { &mut outcome.unhealthy };
        match answer {
            Ok(StatusCode::UNAUTHORIZED) => calls.unauthorized += 1,
            Ok(_) => calls.answered += 1,
            Err(_) => calls.errors += 1,
        }
        calls.longest_wait = calls.longest_wait.max(waited);
    }
}

impl State {
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.rng.f64()).ln()
    }

    fn issue(&mut self, now: f64, client: Option<usize>) -> usize {
        self.end_current(now);
        self.issued.push(Token { issued: now, killed: f64::INFINITY, client });
        self.issued.len() - 1
    }

    fn end_current(&mut self, now: f64) {
        if let Some(current) = self.issued.last_mut() {
            current.killed = current.killed.min(now);
        }
    }

    /// Kills the client's token for real.
    fn kill(&mut self, now: f64) {
        if self.issued.last().is_some_and(|token| token.client.is_some()) {
            self.end_current(now);
        }
        (self.last_kill, self.recovering) = (now, true);
    }

    fn lives(&self, token: usize, at: f64) -> bool {
        self.issued.get(token).is_some_and(|token| {
            (token.issued..token.killed.min(token.issued + LIFETIME)).contains(&at)
        })
    }

    fn accepts(&mut self, index: usize, answers: Answers, token: usize, now: f64) -> bool {
        let lives = self.lives(token, now);
        let Some(issued) = self.issued.get(token).map(|token| token.issued) else { return false };
        match answers {
            Answers::Normal => lives,
            Answers::Never => false,
            Answers::Flaky(share) => lives && self.rng.f64() >= share,
            Answers::From(granted) => lives && now >= granted,
            Answers::Outside(window) => lives && !window.contains(now),
            Answers::OutsideAndOf(window) => {
                lives && !window.contains(now) && !window.contains(issued)
            }
            Answers::Replicas => {
                let lag = [0.0, 0.3, 1.5][self.rng.usize(0..3)];
                self.lives(token, now - lag) || (now < 5.0 && lives)
            }
            Answers::Behind(seconds) => lives && now - issued >= seconds,
            Answers::Cached(seconds) => {
                let key = (index, token);
                if self.cached.get(&key).is_some_and(|since| now - since < seconds) {
                    return true;
                }
                if lives {
                    self.cached.insert(key, now);
                }
                lives
            }
            Answers::Always | Answers::NotFound => true,
        }
    }

    /// Takes in that a response that is no 401 has arrived.
    fn accepted(&mut self, client: usize, token: usize, now: f64) {
        let issued = &self.issued[token];
        let is_newer = issued.issued >= self.last_kill && issued.client == Some(client);
        if self.recovering && is_newer && self.lives(token, now) {
            self.recovering = false;
            self.outcome.recoveries.push(now - self.last_kill);
        }
    }
}

/// The resource of one stream.
#[derive(Clone)]
struct Resource {
    world: Arc<World>,
    stream: usize,
}

impl Service<Request<String>> for Resource {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        let Some(token) = token.strip_prefix("Bearer token-").map(|it| it.parse().unwrap()) else {
            return Box::pin(ready(Ok(status(StatusCode::UNAUTHORIZED))));
        };
        let last_send = request.extensions().get::<LastSend>().cloned().unwrap_or_default();
        let Self { world, stream: index } = self.clone();
        Box::pin(async move {
            let Stream { arrivals, thinks, checks_late, answers, client, .. } =
                world.scenario.streams[index];
            let sent = Instant::now();
            let (thinks, way) = {
                let mut state = world.lock();
                let thinks = match arrivals {
                    Arrivals::OneByOne => thinks,
                    Arrivals::ByChance => state.exponential(thinks),
                };
                (Duration::from_secs_f64(thinks), Duration::from_secs_f64(state.exponential(0.003)))
            };
            sleep(NETWORK + way + if checks_late { thinks } else { Duration::ZERO }).await;
            let accepts = world.lock().accepts(index, answers, token, world.now());
            let works = accepts && answers != Answers::NotFound && !checks_late;
            sleep(NETWORK + if works { thinks } else { REFUSAL }).await;
            let took = u64::try_from(sent.elapsed().as_nanos()).unwrap();
            last_send.0.store(took, Ordering::Relaxed);
            if !accepts {
                return Ok(status(StatusCode::UNAUTHORIZED));
            }
            world.lock().accepted(client, token, world.now());
            Ok(status(match answers {
                Answers::NotFound => StatusCode::NOT_FOUND,
                _ => StatusCode::OK,
            }))
        })
    }
}

fn status(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
