//! When the endpoint fails, or resources refuse: what is asked for, how often, and what callers
//! get.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{Endpoint, Resource, Step, URI, get, known_at_once, log::Log};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, RefreshPolicy, SendPayments, TokenCache,
    credentials::from_fn,
    endpoint::{HttpService, Rotation},
};
use tracing::Level;

fn cache(endpoint: &Endpoint) -> TokenCache {
    TokenCache::new(endpoint.clone())
}

#[tokio::test(start_paused = true)]
async fn during_back_off_calls_get_the_stored_error_at_once_without_contact() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Fail(AuthError::rejected("closed")));
    let cache = cache(&endpoint);
    let first = cache.token().await.unwrap_err();
    let started = Instant::now();
    for _ in 0..1000 {
        assert_eq!(cache.token().await.unwrap_err().to_string(), first.to_string());
    }
    assert_eq!((started.elapsed(), endpoint.calls()), (Duration::ZERO, 1));
    assert_eq!(cache.counters().backed_off, 1000);
    advance(Duration::from_secs(1)).await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_repeated_within_the_flight_until_its_deadline() {
    let endpoint = Endpoint::exclusive();
    for _ in 0..100 {
        endpoint.then(Step::Fail(AuthError::transient("503")));
    }
    let cache = cache(&endpoint);
    let started = Instant::now();
    assert!(cache.token().await.unwrap_err().is_transient());
    assert!(started.elapsed() <= Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(
        (7..60).contains(&endpoint.calls()),
        "{} attempts with growing pauses in 30 s",
        endpoint.calls()
    );
    assert_eq!(cache.counters().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_do_not_hammer_the_endpoint() {
    let endpoint = Endpoint::exclusive();
    for _ in 0..1000 {
        endpoint.then(Step::Fail(AuthError::rejected("no such client")));
    }
    let cache = cache(&endpoint);
    for _ in 0..3600 * 10 {
        assert!(cache.token().await.unwrap_err().is_rejected());
        advance(Duration::from_millis(100)).await;
    }
    assert!((100..200).contains(&endpoint.calls()), "{} requests in an hour", endpoint.calls());
}

#[tokio::test(start_paused = true)]
async fn a_corrected_secret_is_used_without_a_restart_and_without_waiting_for_the_gate() {
    let secret = Arc::new(Mutex::new("wrong"));
    let (posts, looks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&posts);
    let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
            let right = String::from_utf8_lossy(&body).contains("\"right\"");
            let (status, body) =
                if right { (201, r#"{"accessToken": "opaque"}"#) } else { (401, "{}") };
            Ok::<_, BoxError>(
                Response::builder()
                    .status(status)
                    .body(Full::new(Bytes::from_static(body.as_bytes())))?,
            )
        }
    });
    let (source, counter) = (Arc::clone(&secret), Arc::clone(&looks));
    let credentials = from_fn(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let credentials = Credentials::new("id", *source.lock().unwrap());
        async { Ok::<_, BoxError>(credentials) }
    });
    let cache =
        TokenCache::new(SendPayments::new("https://api.example.com", http, credentials).unwrap());
    // Long enough for the gate to be shut for 16 s and more.
    for _ in 0..600 {
        assert!(cache.token().await.unwrap_err().is_rejected());
        advance(Duration::from_millis(100)).await;
    }
    let (before, looked) = (posts.load(Ordering::SeqCst), looks.load(Ordering::SeqCst));
    assert!((4..12).contains(&before), "{before} requests in a minute");
    assert!((40..75).contains(&looked), "the source is asked about once a second: {looked}");
    *secret.lock().unwrap() = "right";
    let corrected = Instant::now();
    while cache.token().await.is_err() {
        advance(Duration::from_millis(100)).await;
    }
    assert!(corrected.elapsed() <= Duration::from_millis(1200), "{:?}", corrected.elapsed());
    assert_eq!(posts.load(Ordering::SeqCst), before + 1);
}

/// An endpoint that answers with this status and `Retry-After`, once, and then with tokens.
fn busy(
    status: u16,
    retry_after: &'static str,
) -> (SendPayments<impl HttpService, Credentials>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let response = if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            let response =
                Response::builder().status(status).header("date", "Tue, 24 Nov 2026 02:44:00 GMT");
            response.header("retry-after", retry_after).body(Full::default())
        } else {
            Response::builder()
                .status(201)
                .body(Full::new(Bytes::from_static(br#"{"accessToken": "opaque"}"#)))
        };
        std::future::ready(response)
    });
    (
        SendPayments::new("https://api.example.com", http, Credentials::new("id", "s")).unwrap(),
        calls,
    )
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_before_retry_after_has_passed() {
    for status in [429, 503] {
        // Within the flight's deadline, it waits in the flight.
        for retry_after in ["20", "Tue, 24 Nov 2026 02:44:20 GMT"] {
            let (endpoint, calls) = busy(status, retry_after);
            let started = Instant::now();
            TokenCache::new(endpoint).token().await.unwrap();
            assert!(started.elapsed() >= Duration::from_secs(20), "{status} {retry_after}");
            assert_eq!(calls.load(Ordering::SeqCst), 2);
        }
        // Beyond it, nobody is kept waiting, and nobody lets through.
        for retry_after in ["120", "Tue, 24 Nov 2026 02:46:00 GMT"] {
            let (endpoint, calls) = busy(status, retry_after);
            let cache = TokenCache::new(endpoint);
            for _ in 0..119 {
                assert_eq!(
                    cache.token().await.unwrap_err().retry_after(),
                    Some(Duration::from_secs(120))
                );
                advance(Duration::from_secs(1)).await;
            }
            assert_eq!(calls.load(Ordering::SeqCst), 1, "{status} {retry_after}");
            advance(Duration::from_secs(2)).await;
            cache.token().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_success_back_off_starts_at_its_base_again() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let pause_after_failure = async || {
        let failed = Instant::now();
        loop {
            match cache.token().await {
                Ok(token) => return (failed.elapsed(), token),
                Err(_) => advance(Duration::from_millis(10)).await,
            }
        }
    };
    for _ in 0..5 {
        endpoint.then(Step::Fail(AuthError::rejected("x")));
    }
    let (pause, token) = pause_after_failure().await;
    assert!(pause > Duration::from_secs(15), "1 + 2 + 4 + 8 + 16 s, less jitter: {pause:?}");
    assert!(cache.invalidate(&token));
    endpoint.then(Step::Fail(AuthError::rejected("x")));
    let (pause, _) = pause_after_failure().await;
    assert!(pause <= Duration::from_millis(1010), "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn during_back_off_a_401_makes_no_request_and_is_the_callers() {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-3"));
    cache.token().await.unwrap();
    endpoint.then(Step::Fail(AuthError::rejected("not now")));
    assert!(cache.refresh().await.is_err());
    let response = service.clone().oneshot(get(URI)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<AuthError>().unwrap().is_rejected());
    assert_eq!(endpoint.calls(), 2);
    advance(Duration::from_secs(1)).await;
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_401s_from_an_endpoint_that_refuses_everything_cost_a_few_requests() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("nothing").forgetful());
    for _ in 0..1000 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 401);
    }
    assert!(endpoint.calls() <= 3, "{}", endpoint.calls());
    // The cause is there for whoever asks.
    let response = service.clone().oneshot(get(URI)).await.unwrap();
    assert!(response.extensions().get::<AuthError>().unwrap().is_cooling_down());
    // For an hour, at 10 requests a second.
    for _ in 0..3600 * 10 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 401);
        advance(Duration::from_millis(100)).await;
    }
    assert!((100..200).contains(&endpoint.calls()), "{} requests in an hour", endpoint.calls());
    let counters = cache.counters();
    assert!(
        counters.breaker_open > 20_000 && counters.cooled_down >= counters.breaker_open,
        "{counters:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_for_an_hour_is_asked_within_the_documented_bound() {
    let policy = RefreshPolicy::default().attempt_timeout(Duration::from_secs(5));
    let failures: [fn() -> Step; 3] = [
        || Step::Fail(AuthError::transient("500")),
        || Step::Hang,
        || Step::Fail(AuthError::invalid_response("garbage")),
    ];
    for failure in failures {
        let endpoint = Endpoint::exclusive();
        for _ in 0..5000 {
            endpoint.then(failure());
        }
        let cache =
            TokenCache::builder(endpoint.clone()).refresh_policy(policy.clone()).build().unwrap();
        let until = Instant::now() + Duration::from_secs(3600);
        let callers = (0..5).map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                while Instant::now() < until {
                    let started = Instant::now();
                    cache.token().await.unwrap_err();
                    assert!(
                        started.elapsed() <= Duration::from_secs(30),
                        "every call ends within its bound"
                    );
                    sleep(Duration::from_millis(500)).await;
                }
            })
        });
        for caller in futures_util::future::join_all(callers).await {
            caller.unwrap();
        }
        assert!((60..1500).contains(&endpoint.calls()), "{} requests in an hour", endpoint.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn each_401_is_classed_as_expired_replaced_or_foreign() {
    let endpoint = Endpoint::custom(Rotation::Overlapping, "token", Duration::from_secs(100));
    let cache = cache(&endpoint);
    let foreign = cache.token().await.unwrap();
    assert!(cache.invalidate(&foreign));
    assert_eq!(cache.counters().unauthorized_foreign, 1);
    let replaced = cache.token().await.unwrap();
    cache.refresh().await.unwrap();
    assert!(!cache.invalidate(&replaced));
    assert_eq!(cache.counters().unauthorized_replaced, 1);
    let expired = cache.current().unwrap();
    advance(Duration::from_secs(101)).await;
    assert!(cache.invalidate(&expired));
    let counters = cache.counters();
    assert_eq!((counters.unauthorized_expired, counters.unauthorized), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_share_a_client_id_do_not_duel() {
    let (log, _logging) = Log::of_this_thread(Level::WARN);
    // One endpoint, whose newest token alone is alive; two caches that know nothing of each other.
    let endpoint = Endpoint::exclusive();
    let resource = Resource::of(&endpoint, Duration::from_millis(5)).forgetful();
    let services = [cache(&endpoint), cache(&endpoint)]
        .map(|cache| AuthLayer::new(cache).layer(resource.clone()));
    let until = Instant::now() + Duration::from_secs(3600);
    let processes = services.map(|service| {
        tokio::spawn(async move {
            let (mut ok, mut refused) = (0, 0);
            while Instant::now() < until {
                match service.clone().oneshot(get(URI)).await.unwrap().status().as_u16() {
                    200 => ok += 1,
                    401 => refused += 1,
                    status => panic!("{status}"),
                }
                sleep(Duration::from_millis(250)).await;
            }
            (ok, refused)
        })
    });
    for process in processes {
        let (ok, refused) = process.await.unwrap();
        // Neither is shut out: each has the token in turn.
        assert!(ok * 5 > refused, "{ok} of {}", ok + refused);
    }
    assert!(endpoint.calls() < 500, "{} requests in an hour, of two processes", endpoint.calls());
    let log = log.text();
    assert!(log.contains("the client id seems to be in use by another process"));
    assert!(log.matches("WARN").count() <= 60, "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_credentials_source_that_hangs_when_looked_at_keeps_nobody() {
    let hang = Arc::new(Mutex::new(false));
    let http = tower::service_fn(|_: Request<Full<Bytes>>| {
        std::future::ready(Response::builder().status(401).body(Full::<Bytes>::default()))
    });
    let hangs = Arc::clone(&hang);
    let credentials = from_fn(move || {
        let hangs = *hangs.lock().unwrap();
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<_, BoxError>(Credentials::new("id", "wrong"))
        }
    });
    let cache =
        TokenCache::new(SendPayments::new("https://api.example.com", http, credentials).unwrap());
    for _ in 0..6 {
        assert!(cache.token().await.unwrap_err().is_rejected());
        advance(Duration::from_millis(990)).await;
    }
    *hang.lock().unwrap() = true;
    for _ in 0..10 {
        let started = Instant::now();
        cache.token().await.unwrap_err();
        assert!(started.elapsed() <= Duration::from_secs(30), "{:?}", started.elapsed());
        advance(Duration::from_millis(400)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_panics_each_time_is_left_alone_too() {
    let endpoint = Endpoint::exclusive();
    for _ in 0..5000 {
        endpoint.then(Step::Panic);
    }
    let cache = cache(&endpoint);
    for _ in 0..3600 * 10 {
        assert!(cache.token().await.unwrap_err().is_interrupted());
        advance(Duration::from_millis(100)).await;
    }
    assert!(endpoint.calls() < 250, "{} requests in an hour", endpoint.calls());
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_may_have_a_bound_of_its_own() {
    let slow = Duration::from_secs(5);
    let policy = RefreshPolicy::default().first_attempt_timeout(Duration::from_secs(3));
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(slow);
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    let started = Instant::now();
    cache.token().await.unwrap();
    let took = started.elapsed();
    assert!((8000..8500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(endpoint.calls(), 2);
    // A refresh that holds callers back ends with its first attempt. The next one has more time.
    assert!(cache.refresh().await.unwrap_err().is_timeout());
    sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    cache.refresh().await.unwrap();
    assert_eq!((started.elapsed(), endpoint.calls()), (slow, 4));
}
