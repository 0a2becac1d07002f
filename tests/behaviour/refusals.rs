//! A 401 is evidence, not a verdict: what it costs, and whom.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{Endpoint, Resource, URI, get, ok, unauthorized};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, SendPayments, TokenCache, endpoint::HttpService,
};

const FORBIDDEN: &str = "https://api.example.com/forbidden";

/// An endpoint that can be switched off: then the connection is refused, so that nothing is issued.
fn switchable() -> (SendPayments<impl HttpService, Credentials>, Arc<AtomicBool>, Arc<AtomicUsize>)
{
    let (down, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_down, count) = (Arc::clone(&down), Arc::clone(&calls));
    let http = service_fn(move |_: Request<Full<Bytes>>| {
        let number = count.fetch_add(1, SeqCst) + 1;
        let response: Result<Response<Full<Bytes>>, BoxError> = if is_down.load(SeqCst) {
            Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())
        } else {
            let body =
                format!(r#"{{"accessToken":"token-{number}","expiresAt":"2026-11-24T02:49:00Z"}}"#);
            let response = Response::builder().status(201);
            let response = response.header("date", "Tue, 24 Nov 2026 02:44:00 GMT");
            Ok(response.body(Full::from(body)).unwrap())
        };
        async move { response }
    });
    let credentials = Credentials::new("id", "s");
    let endpoint = SendPayments::new("https://api.example.com", http, credentials).unwrap();
    (endpoint, down, calls)
}

#[tokio::test(start_paused = true)]
async fn one_401_during_an_outage_of_the_endpoint_costs_no_other_request() {
    // Refused once, or over and over again.
    for every in [u32::MAX, 10] {
        let (endpoint, down, calls) = switchable();
        let cache = TokenCache::new(endpoint);
        let resource =
            Resource::new(
                |_, request| {
                    if request.uri().path() == "/forbidden" { unauthorized() } else { ok() }
                },
            );
        let service = AuthLayer::new(cache.clone()).layer(resource);
        let started = Instant::now();
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        sleep(Duration::from_secs(3)).await;
        down.store(true, SeqCst);
        let refused = service.clone().oneshot(get(FORBIDDEN)).await.unwrap();
        assert_eq!(refused.status(), 401);
        let mut sent = 0;
        while started.elapsed() < Duration::from_secs(290) {
            let patience = Duration::from_secs(5);
            let response = timeout(patience, service.clone().oneshot(get(URI))).await;
            assert_eq!(response.unwrap().unwrap().status(), 200);
            sent += 1;
            if sent % every == 0 {
                let refused = timeout(patience, service.clone().oneshot(get(FORBIDDEN))).await;
                assert_eq!(refused.unwrap().unwrap().status(), 401);
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert!(sent > 250, "{sent}");
        assert!(calls.load(SeqCst) < 100, "{} requests", calls.load(SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_that_blames_the_request_costs_no_token_and_is_its_callers() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let resource = Resource::new(|_, request| {
        if request.uri().path() != "/forbidden" {
            return ok();
        }
        let mut response = unauthorized();
        let challenge = r#"Basic realm="x", Bearer error="insufficient_scope", scope="admin""#;
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        response
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    for _ in 0..100 {
        assert_eq!(service.clone().oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    }
    assert_eq!((endpoint.calls(), resource.seen().len()), (1, 200));
    assert_eq!(cache.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn only_2xx_and_304_say_that_a_token_lives() {
    for (status, accepts) in [(200, true), (204, true), (304, true), (302, false), (404, false)] {
        let (endpoint, down, _) = switchable();
        let cache = TokenCache::new(endpoint);
        let resource = Resource::new(move |_, request| match request.uri().path() {
            "/forbidden" => unauthorized(),
            _ => Response::builder().status(status).body(String::new()).unwrap(),
        });
        let service = AuthLayer::new(cache.clone()).layer(resource);
        service.clone().oneshot(get(URI)).await.unwrap();
        down.store(true, SeqCst);
        // Without a successor, a token that was accepted is served on, and no other.
        service.clone().oneshot(get(FORBIDDEN)).await.unwrap();
        assert_eq!(cache.current().is_some(), accepts, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_a_401_asks_for_drains_the_requests_in_flight() {
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(Duration::from_millis(50));
    let cache = TokenCache::new(endpoint.clone());
    let healthy = Resource::of(&endpoint, Duration::from_secs(1));
    let uploads = AuthLayer::new(cache.clone()).without_replay().layer(healthy);
    let mean = AuthLayer::new(cache.clone()).layer(Resource::new(|_, _| unauthorized()));
    cache.token().await.unwrap();
    let uploads: Vec<_> =
        (0..10).map(|_| tokio::spawn(uploads.clone().oneshot(get(URI)))).collect();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(mean.oneshot(get(FORBIDDEN)).await.unwrap().status(), 401);
    for upload in uploads {
        assert_eq!(upload.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(endpoint.calls(), 2);
}
