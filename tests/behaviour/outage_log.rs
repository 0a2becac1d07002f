//! What the log is told at WARN: changes of state, and not each request or attempt.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{Endpoint, Resource, Step, URI, get, log::Log, ok, unauthorized};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthError, AuthLayer, Credentials, RefreshPolicy, TokenCache, TokenEndpoint,
    endpoint::{IssuedToken, Rotation, TokenClient},
};
use tracing::Level;

const HOUR: Duration = Duration::from_secs(3600);
const TOKEN_URI: &str = "https://api.example.com/auth";
const ROTATIONS: [Rotation; 2] = [Rotation::Exclusive, Rotation::Overlapping];

/// What the log may be told at WARN in an hour.
const BOUND: usize = 60;

/// What a request for a token meets.
#[derive(Clone, Copy, Debug)]
enum Fault {
    ConnectionRefused,
    Status(u16),
    Hang,
    Panic,
    NoCredentials,
}

/// A token endpoint with one fault at a time, or none.
#[derive(Clone)]
struct Unsteady {
    rotation: Rotation,
    fault: Arc<Mutex<Option<Fault>>>,
    calls: Arc<AtomicUsize>,
    uri: http::Uri,
}

impl Unsteady {
    fn new(rotation: Rotation) -> Self {
        Self {
            rotation,
            fault: Arc::default(),
            calls: Arc::default(),
            uri: http::Uri::from_static(TOKEN_URI),
        }
    }

    fn meet(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap() = fault.into();
    }

    fn fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap()
    }
}

impl TokenEndpoint for Unsteady {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let status = match self.fault() {
            None => Ok(201),
            Some(Fault::Status(status)) => Ok(status),
            Some(Fault::ConnectionRefused) => Err(io::ErrorKind::ConnectionRefused),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("the endpoint panics, as it was told to"),
            Some(Fault::NoCredentials) => return Err(AuthError::credentials("the vault is shut")),
        };
        let service = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let response =
                |status| Response::builder().status(status).body(Full::<Bytes>::default());
            let answer = status.map(|status| response(status).unwrap()).map_err(io::Error::from);
            std::future::ready(answer)
        });
        let request = Request::post(TOKEN_URI).body(Full::default()).unwrap();
        TokenClient::new(service).send(request, &Credentials::new("id", "secret")).await?;
        Ok(IssuedToken::new(format!("token-{number}")).expires_in(Duration::from_secs(60)))
    }

    fn rotation(&self) -> Rotation {
        self.rotation
    }

    fn uri(&self) -> Option<&http::Uri> {
        Some(&self.uri)
    }

    async fn credentials_changed(&self) -> bool {
        self.fault().is_none()
    }
}

/// The rate of the promise, in requests a second.
const STEADY: u32 = 10;

/// Takes a fifth of the time. A line for each request would still be thousands in an hour.
const LIGHT: u32 = 2;

/// Sends `rate` requests a second for `time`, and waits for the last of them. Returns how many
/// there were.
async fn load<R>(service: &Auth<Resource, R>, rate: u32, time: Duration) -> u64
where
    Auth<Resource, R>: Service<Request<String>, Future: Send> + Clone + Send + 'static,
    <Auth<Resource, R> as Service<Request<String>>>::Response: Send,
    <Auth<Resource, R> as Service<Request<String>>>::Error: Send,
{
    let (until, mut requests, mut sent) = (Instant::now() + time, JoinSet::new(), 0);
    while Instant::now() < until {
        requests.spawn(service.clone().oneshot(get(URI)));
        while requests.try_join_next().is_some() {}
        sleep(Duration::from_secs(1) / rate).await;
        sent += 1;
    }
    requests.join_all().await;
    sent
}

fn warnings(log: &Log) -> Vec<String> {
    log.text().lines().filter(|line| line.contains("WARN")).map(ToOwned::to_owned).collect()
}

/// Returns how many lines at WARN say this.
fn warned(log: &Log, message: &str) -> usize {
    warnings(log).iter().filter(|line| line.contains(message)).count()
}

fn recoveries(log: &Log) -> usize {
    log.text().matches("a token was issued again").count()
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_is_logged_when_it_begins_and_when_it_ends() {
    for rotation in ROTATIONS {
        // What is logged once in ten minutes, whatever happens again and again, is in an hour.
        for (fault, rate, time) in [
            (Fault::Status(503), STEADY, HOUR),
            (Fault::ConnectionRefused, LIGHT, HOUR / 6),
            (Fault::Status(401), LIGHT, HOUR / 6),
            (Fault::Hang, LIGHT, HOUR / 6),
            (Fault::Panic, LIGHT, HOUR / 6),
            (Fault::NoCredentials, LIGHT, HOUR / 6),
        ] {
            let (log, _logging) = Log::of_this_thread(Level::INFO);
            let endpoint = Unsteady::new(rotation);
            let cache = TokenCache::new(endpoint.clone());
            let service =
                AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| ok()).forgetful());
            load(&service, rate, Duration::from_secs(60)).await;
            assert_eq!(warnings(&log).len(), 0, "{rotation:?} {fault:?}");
            endpoint.meet(fault);
            let requests = load(&service, rate, time).await;
            let warnings = warnings(&log);
            let begun = warned(&log, "the refresh failed");
            assert_eq!(begun, 1, "{rotation:?} {fault:?}: {warnings:#?}");
            assert!(warnings.len() <= 2, "{rotation:?} {fault:?}: {warnings:#?}");
            // What is not logged is counted.
            let counters = cache.counters();
            assert!(counters.refreshes_failed >= 8, "{fault:?}: {counters:?}");
            let unserved = counters.backed_off + counters.joined + counters.refreshes;
            assert!(unserved > requests * 4 / 5, "{fault:?}: {counters:?}");
            endpoint.meet(None);
            load(&service, rate, Duration::from_secs(60)).await;
            assert_eq!(recoveries(&log), 1, "{rotation:?} {fault:?}");
            assert_eq!(warned(&log, ""), warnings.len(), "{rotation:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_failure_is_logged_once_in_an_outage() {
    for rotation in ROTATIONS {
        let (log, _logging) = Log::of_this_thread(Level::INFO);
        let endpoint = Unsteady::new(rotation);
        let service = AuthLayer::new(TokenCache::new(endpoint.clone()))
            .layer(Resource::new(|_, _| ok()).forgetful());
        // As behind a load balancer whose backends come and go.
        for _ in 0..15 {
            for fault in [Fault::Status(502), Fault::Status(503), Fault::ConnectionRefused] {
                endpoint.meet(fault);
                load(&service, LIGHT, Duration::from_secs(80)).await;
            }
        }
        let warnings = warnings(&log);
        for kind in ["502 Bad Gateway", "503 Service Unavailable", "connection refused"] {
            let of_kind =
                |line: &&String| line.contains("the refresh failed") && line.contains(kind);
            assert_eq!(warnings.iter().filter(of_kind).count(), 1, "{kind}: {warnings:#?}");
        }
        assert!(warnings.len() <= 4, "{warnings:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_outage_of_an_endpoint_that_comes_and_goes_is_logged() {
    for rotation in ROTATIONS {
        let (log, _logging) = Log::of_this_thread(Level::INFO);
        let endpoint = Unsteady::new(rotation);
        let cache = TokenCache::new(endpoint.clone());
        let service = AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| ok()).forgetful());
        for outages in 0..6 {
            endpoint.meet(None);
            load(&service, LIGHT, Duration::from_secs(300)).await;
            assert_eq!(recoveries(&log), outages);
            endpoint.meet(Fault::Status(503));
            load(&service, LIGHT, Duration::from_secs(300)).await;
            assert_eq!(warned(&log, "the refresh failed"), outages + 1, "{rotation:?}");
        }
        let warnings = warnings(&log);
        assert!(warnings.len() <= 2 * 6, "{warnings:#?}");
        assert!(cache.counters().token_requests > 5 * BOUND as u64, "{:?}", cache.counters());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_refused_while_no_token_can_be_had_are_logged_once() {
    for rotation in ROTATIONS {
        for fault in [Fault::ConnectionRefused, Fault::Status(401), Fault::Hang, Fault::Panic] {
            let (log, _logging) = Log::of_this_thread(Level::INFO);
            let endpoint = Unsteady::new(rotation);
            let cache = TokenCache::new(endpoint.clone());
            let refuses = Arc::new(Mutex::new(false));
            let it = Arc::clone(&refuses);
            let resource =
                Resource::new(move |_, _| if *it.lock().unwrap() { unauthorized() } else { ok() });
            let service = AuthLayer::new(cache.clone()).layer(resource.forgetful());
            load(&service, LIGHT, Duration::from_secs(1)).await;
            endpoint.meet(fault);
            *refuses.lock().unwrap() = true;
            // Each token is refused, first the last one, then those of short recoveries.
            for minute in 0..20 {
                endpoint.meet(Some(fault).filter(|_| minute % 10 != 9));
                load(&service, LIGHT, Duration::from_secs(60)).await;
            }
            let warnings = warnings(&log);
            assert!(warnings.len() <= BOUND / 3, "{rotation:?} {fault:?}: {warnings:#?}");
            assert!(warned(&log, "answered 401") > 0, "{rotation:?} {fault:?}: {warnings:#?}");
            assert!(cache.counters().unauthorized > 100, "{:?}", cache.counters());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_every_token_does_not_flood_the_log() {
    for (rotation, rate) in ROTATIONS.into_iter().zip([STEADY, LIGHT]) {
        let (log, _logging) = Log::of_this_thread(Level::WARN);
        let endpoint = Unsteady::new(rotation);
        let cache = TokenCache::new(endpoint.clone());
        let service =
            AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| unauthorized()).forgetful());
        let requests = load(&service, rate, HOUR).await;
        let warnings = warnings(&log);
        assert!((1..=BOUND).contains(&warnings.len()), "{rotation:?}: {warnings:#?}");
        assert!(cache.counters().unauthorized > requests * 4 / 5, "{:?}", cache.counters());
    }
}

#[tokio::test(start_paused = true)]
async fn drains_that_time_out_one_after_the_other_are_logged_once() {
    let (log, _logging) = Log::of_this_thread(Level::WARN);
    let endpoint = Endpoint::custom(Rotation::Exclusive, "token", Duration::from_secs(60));
    let cache = TokenCache::new(endpoint.clone());
    let takes = |seconds| {
        let resource = Resource::new(|_, _| ok()).taking(Duration::from_secs(seconds)).forgetful();
        AuthLayer::new(cache.clone()).layer(resource)
    };
    let (slow, quick) = (takes(20), takes(0));
    for times in 1..=2 {
        load(&slow, LIGHT, HOUR / 2).await;
        assert_eq!(warned(&log, "the drain timed out"), times);
        load(&quick, LIGHT, Duration::from_secs(120)).await;
    }
    assert_eq!(warnings(&log).len(), 2);
    assert!(cache.counters().drains_timed_out > BOUND as u64 / 2, "{:?}", cache.counters());
}

#[tokio::test(start_paused = true)]
async fn a_margin_that_is_cut_for_each_token_is_logged_once() {
    let (log, _logging) = Log::of_this_thread(Level::WARN);
    let endpoint = Endpoint::exclusive();
    let policy = RefreshPolicy::default().expiry_margin(Duration::from_secs(30));
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    for times in 1..=2 {
        for _ in 0..100 {
            endpoint.then(Step::IssueFor(Duration::from_secs(60)));
            cache.refresh().await.unwrap();
        }
        assert_eq!(warned(&log, "the expiry margin"), times);
        cache.refresh().await.unwrap();
    }
    assert_eq!(warnings(&log).len(), 2);
}
