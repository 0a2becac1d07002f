//! A process: a cache, its callers, and the resource that they call.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use fastrand::Rng;
use http::{Request, Response, StatusCode, header};
use support::get;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, Counters, Error, RefreshPolicy, TokenCache, replay::NoReplay, store::StoreDown,
};

use super::{
    endpoint::Endpoint,
    link::{Link, Wire},
    world::{World, name},
};

/// No call takes so long, whatever goes wrong.
const ENDLESS: Duration = Duration::from_secs(30);

/// Several, since a path that refuses each token is taken for one that refuses this client.
const PATHS: [&str; 8] =
    ["accounts", "balances", "cards", "payments", "rates", "refunds", "transfers", "users"];

pub(super) struct Process {
    pub(super) link: Arc<Link>,
    pub(super) cache: TokenCache,
    callers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(super) fn start(
        world: &Arc<World>,
        number: usize,
        policy: RefreshPolicy,
        store_down: StoreDown,
    ) -> Self {
        let link = Link::new(world, number);
        let cache = TokenCache::builder(Endpoint(Arc::clone(&link)))
            .refresh_policy(policy)
            .shared_as(Wire(Arc::clone(&link)), name())
            .store_down(store_down)
            .build()
            .unwrap();
        Self { link, cache, callers: Vec::new() }
    }

    /// Has a caller send one request after the other, with pauses around `pause`.
    pub(super) fn call(&mut self, pause: Duration) {
        let client = Client::new(self);
        self.callers.push(tokio::spawn(async move {
            loop {
                sleep(client.draw(|rng| pause.mul_f64(2.0 * rng.f64()))).await;
                client.call().await;
            }
        }));
    }

    /// Sends requests at chance moments, `gap` apart on average, whether or not those before were
    /// answered.
    pub(super) fn call_by_chance(&mut self, gap: Duration) {
        let client = Client::new(self);
        self.callers.push(tokio::spawn(async move {
            loop {
                sleep(client.draw(|rng| gap.mul_f64(-(1.0 - rng.f64()).ln()))).await;
                let client = client.clone();
                tokio::spawn(async move { client.call().await });
            }
        }));
    }

    /// Returns the number of the token that is served now; 0 if there is none.
    pub(super) fn serving(&self) -> usize {
        serving(&self.cache)
    }

    pub(super) fn counters(&self) -> Counters {
        self.cache.counters()
    }

    /// Ends the process at once: nothing that it was about to do happens.
    pub(super) fn stop(self) {
        self.link.weather().dead = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

fn serving(cache: &TokenCache) -> usize {
    cache.current().map_or(0, |token| number(token.expose_secret()))
}

fn number(secret: &str) -> usize {
    secret.strip_prefix("token-").unwrap().parse().unwrap()
}

/// What makes the calls of a process.
#[derive(Clone)]
struct Client {
    link: Arc<Link>,
    cache: TokenCache,
    service: Auth<Resource>,
    /// For requests that can't be sent again.
    unrepeatable: Auth<Resource, NoReplay>,
}

impl Client {
    fn new(process: &Process) -> Self {
        let (link, cache) = (Arc::clone(&process.link), process.cache.clone());
        let (auth, resource) = (AuthLayer::new(cache.clone()), Resource(Arc::clone(&link)));
        let service = auth.clone().layer(resource.clone());
        let unrepeatable = auth.without_replay().layer(resource);
        Self { link, cache, service, unrepeatable }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        self.link.world.draw(|rng, _| draw(rng))
    }

    /// Makes one call, and takes in what came of it.
    async fn call(&self) {
        let world = &self.link.world;
        let (repeats, path) = world.draw(|rng, figures| {
            (rng.f64() >= figures.unrepeatable, PATHS[rng.usize(0..PATHS.len())])
        });
        let mut request = get(&format!("https://api.example.com/{path}"));
        let sends = Sends::default();
        request.extensions_mut().insert(sends.clone());
        let (started, known) = (Instant::now(), self.link.sent());
        let answer = if repeats {
            timeout(ENDLESS, self.service.clone().oneshot(request)).await
        } else {
            timeout(ENDLESS, self.unrepeatable.clone().oneshot(request)).await
        };
        if self.link.weather().dead {
            return;
        }
        let answer = answer.map(|answer| answer.map(|response| response.status()));
        let Ok(answer) = answer else { return world.wrong("a call without end") };
        let Sending { first, last } = *sends.0.lock().unwrap();
        self.was_held(known, started, first.unwrap_or_else(Instant::now));
        let waited = started.elapsed().saturating_sub(last);
        if !answer.as_ref().is_ok_and(StatusCode::is_success) {
            world.tell(&format!("{}: a caller gets {answer:?}", self.link.process));
        }
        world.takes_in(&answer, waited, repeats, serving(&self.cache));
    }

    /// Checks that a request of this process, which had sent `token` last, was not held for too
    /// long while that was alive.
    fn was_held(&self, token: usize, started: Instant, sent: Instant) {
        let world = &self.link.world;
        let bound = world.lock().hold_bound;
        let until = self.link.held_until(started, bound);
        // The number of a token that was asked for alone goes by the wall clock, which the numbers
        // of these worlds are ahead of. So such a token may have to give way to an older one.
        if self.cache.counters().store_alone > 0 {
            return;
        }
        if sent > until && world.was_good(token, until) && self.link.trusts(token) {
            let (process, held) = (self.link.process, sent - started);
            let from = (started - world.started).as_secs_f64();
            world.wrong(&format!(
                "a request of {process} was held for {held:?} from {from:.3} s on, though \
                 token-{token} was alive"
            ));
        }
    }
}

impl World {
    fn takes_in(
        &self,
        answer: &Result<StatusCode, Error>,
        waited: Duration,
        repeats: bool,
        serving: usize,
    ) {
        let is_served = self.is_alive(serving);
        let mut state = self.lock();
        let calls = &mut state.calls;
        if !waited.is_zero() {
            calls.delays.push(waited);
        }
        match answer {
            Ok(StatusCode::UNAUTHORIZED) if repeats => calls.seen += 1,
            Ok(StatusCode::UNAUTHORIZED) => calls.seen_unrepeatable += 1,
            Ok(_) => calls.answered += 1,
            Err(_) => calls.errors += 1,
        }
        let is_fine = answer.as_ref().is_ok_and(StatusCode::is_success);
        let is_calm = state.is_calm();
        drop(state);
        if is_calm && !is_fine {
            self.wrong(&format!("{answer:?} though nothing is wrong"));
        }
        if answer.is_err() && is_served {
            self.wrong(&format!("{answer:?} though token {serving} is alive"));
        }
    }
}

/// The sends of one request.
#[derive(Clone, Default)]
struct Sends(Arc<Mutex<Sending>>);

#[derive(Clone, Copy, Default)]
struct Sending {
    /// When it was sent first.
    first: Option<Instant>,
    /// How long the last send took.
    last: Duration,
}

/// A resource, as one process reaches it. It accepts what is alive.
#[derive(Clone)]
struct Resource(Arc<Link>);

impl Service<Request<String>> for Resource {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let link = Arc::clone(&self.0);
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
        let token = number(token.strip_prefix("Bearer ").unwrap());
        let sends = request.extensions().get::<Sends>().cloned().unwrap_or_default();
        let sent = Instant::now();
        sends.0.lock().unwrap().first.get_or_insert(sent);
        link.sends(token);
        Box::pin(async move {
            let world = &link.world;
            link.awake().await;
            let (there, work, back, late) = world.draw(|rng, figures| {
                let times = (figures.upload(rng), figures.work.draw(rng), figures.way.draw(rng));
                (times.0, times.1, times.2, rng.f64() < figures.late_checks)
            });
            sleep(there + if late { work } else { Duration::ZERO }).await;
            let is_alive = world.is_alive(token);
            let accepts = is_alive && world.accepts();
            if is_alive && !accepts {
                link.is_refused(token);
            }
            sleep(back + if accepts && !late { work } else { Duration::ZERO }).await;
            link.awake().await;
            sends.0.lock().unwrap().last = sent.elapsed();
            let mut response = Response::new(());
            if !accepts {
                world.lock().refused();
                world.tell(&format!("{} is refused with token-{token}", link.process));
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok(response)
        })
    }
}
