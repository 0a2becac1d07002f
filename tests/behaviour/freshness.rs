//! Which token is sent, and for how long; what the endpoint's answer makes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use support::{Endpoint, Resource, Step, URI, get, ok, settle};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AccessToken, AuthError, AuthLayer, Credentials, TokenCache,
    endpoint::{HttpService, Rotation, SendPayments},
};

#[tokio::test(start_paused = true)]
async fn a_valid_token_needs_no_contact_with_the_endpoint() {
    let endpoint = Endpoint::exclusive();
    let service =
        AuthLayer::new(TokenCache::new(endpoint.clone())).layer(Resource::accepting("token-1"));
    // Until its renewal is due.
    for _ in 0..22 {
        assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_sent_and_a_failed_refresh_is_a_typed_error() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| ok());
    let service = AuthLayer::new(TokenCache::new(endpoint.clone())).layer(resource.clone());
    service.clone().oneshot(get(URI)).await.unwrap();
    for late in [295, 300, 10_000] {
        endpoint.then(Step::Fail(AuthError::rejected("no more")));
        tokio::time::advance(Duration::from_secs(late)).await;
        let error = service.clone().oneshot(get(URI)).await.unwrap_err();
        assert!(error.as_auth().is_some_and(AuthError::is_rejected), "{error:?}");
    }
    assert_eq!(resource.tokens(), ["Bearer token-1"], "sent once, while it lived");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_arrives_expired_is_a_failed_refresh_and_no_loop() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| ok());
    let service = AuthLayer::new(TokenCache::new(endpoint.clone())).layer(resource.clone());
    for call in 1..=3 {
        endpoint.then(Step::IssueFor(Duration::ZERO));
        let error = service.clone().oneshot(get(URI)).await.unwrap_err();
        let auth = error.as_auth().unwrap();
        assert!(auth.is_invalid_response() && auth.to_string().contains("expired"), "{auth}");
        assert_eq!(endpoint.calls(), call, "one attempt per refresh");
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    assert_eq!(resource.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_spent_its_life_on_the_way_replaces_nothing() {
    let endpoint = Endpoint::overlapping();
    let cache = TokenCache::new(endpoint.clone());
    cache.token().await.unwrap();
    endpoint.then(Step::Late(Duration::from_millis(1200), Duration::from_secs(1)));
    assert!(cache.refresh().await.unwrap_err().is_invalid_response());
    assert_eq!(cache.current().unwrap().expose_secret(), "token-1");
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_never_sent_unsigned_when_there_is_no_token_to_be_had() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| ok());
    let service = AuthLayer::new(TokenCache::new(endpoint.clone())).layer(resource.clone());
    for step in [
        Step::Fail(AuthError::rejected("x")),
        Step::Fail(AuthError::permanent("x")),
        Step::Panic,
        Step::IssueFor(Duration::ZERO),
    ] {
        endpoint.then(step);
        assert!(service.clone().oneshot(get(URI)).await.unwrap_err().as_auth().is_some());
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    assert_eq!((resource.seen(), endpoint.calls()), (vec![], 4));
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_asks_for_nothing() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    settle().await;
    assert_eq!((endpoint.calls(), alive()), (0, 0), "nothing before the first call");
    cache.token().await.unwrap();
    for _ in 0..24 {
        tokio::time::advance(Duration::from_secs(3600)).await;
        settle().await;
    }
    assert_eq!((endpoint.calls(), alive()), (1, 0), "and nothing for a day after it");
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_does_not_blank_the_stored_token_before_the_new_one_is_there() {
    // Overlapping: the old one goes on being served.
    let endpoint = Endpoint::overlapping();
    let cache = TokenCache::new(endpoint.clone());
    cache.token().await.unwrap();
    let gate = endpoint.gate();
    let forced = tokio::spawn(cache.refresh());
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-1");
    gate.send(()).unwrap();
    assert_eq!(forced.await.unwrap().unwrap().expose_secret(), "token-2");
    assert_eq!(cache.current().unwrap().expose_secret(), "token-2");

    // Exclusive: callers are held, and get the old one if the refresh fails.
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    cache.token().await.unwrap();
    let (fail, wait) = tokio::sync::oneshot::channel::<()>();
    endpoint.then(Step::Gate(wait));
    let forced = tokio::spawn(cache.refresh());
    settle().await;
    assert!(cache.current().is_none(), "its own renewal is killing it");
    let held = tokio::spawn(cache.token());
    settle().await;
    assert!(!held.is_finished());
    drop(fail);
    assert_eq!(forced.await.unwrap().unwrap().expose_secret(), "token-2");
    assert_eq!(held.await.unwrap().unwrap().expose_secret(), "token-2");

    endpoint.then(Step::Fail(AuthError::rejected("not now")));
    let (forced, needy) = tokio::join!(cache.refresh(), cache.token());
    assert!(forced.unwrap_err().is_rejected());
    assert_eq!(
        needy.unwrap().expose_secret(),
        "token-2",
        "a failed refresh costs nobody the old token"
    );
    assert_eq!(cache.current().unwrap().expose_secret(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn watchers_see_each_new_token() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let mut updates = cache.subscribe();
    assert!(updates.newest().is_none());
    cache.token().await.unwrap();
    assert_eq!(updates.next().await.as_ref().map(AccessToken::sequence), Some(1));
    cache.refresh().await.unwrap();
    assert_eq!(updates.next().await.as_ref().map(AccessToken::sequence), Some(2));
    assert!(updates.next().now_or_never().is_none(), "each token is seen once");
    let mut late = cache.subscribe();
    assert_eq!(late.next().await.as_ref().map(AccessToken::sequence), Some(2));
    drop(cache);
    assert!(updates.next().await.is_none(), "a watcher does not keep the cache alive");
    assert!(late.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_was_woken_takes_no_other_watchers_place() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let mut first = cache.subscribe();
    let mut second = cache.subscribe();
    assert!(first.next().now_or_never().is_none());
    cache.token().await.unwrap();
    second.next().await.unwrap();
    let waits = tokio::spawn(async move { second.next().await.map(|token| token.sequence()) });
    settle().await;
    // The first one waits again, in a list in which the second one has its old place.
    first.next().await.unwrap();
    assert!(first.next().now_or_never().is_none());
    cache.refresh().await.unwrap();
    assert_eq!(waits.await.unwrap(), Some(2));
}

// ---- `SendPayments`, over a service that answers without a socket.

/// An endpoint whose n-th answer is `answers(n)`, and the count of its requests.
fn answering(
    answers: impl Fn(usize) -> Response<Full<Bytes>> + Clone + Send + 'static,
) -> (SendPayments<impl HttpService, Credentials>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/auth"));
        let response = answers(counter.fetch_add(1, Ordering::SeqCst) + 1);
        async move { Ok::<_, std::io::Error>(response) }
    });
    let credentials = Credentials::new("my-client-id", "my-client-secret");
    (SendPayments::new("https://api.example.com", service, credentials).unwrap(), calls)
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("date", "Tue, 24 Nov 2026 02:39:00 GMT")
        .body(Full::new(body.into()))
        .unwrap()
}

const GOOD: &str = r#"{"accessToken": "opaque", "expiresAt": "2026-11-24T02:44:00Z"}"#;

#[tokio::test(start_paused = true)]
async fn status_200_and_201_are_both_success_and_so_is_every_2xx_with_a_token() {
    for status in [200, 201, 202, 203, 204, 206, 226, 299] {
        let (endpoint, _) = answering(move |_| answer(status, GOOD));
        let token = TokenCache::new(endpoint).token().await.unwrap();
        assert_eq!(
            (token.expose_secret(), token.lifetime().as_secs()),
            ("opaque", 299),
            "{status}"
        );
    }
    for status in [204, 205] {
        let (endpoint, calls) = answering(move |_| answer(status, ""));
        let error = TokenCache::new(endpoint).token().await.unwrap_err();
        assert!(error.is_invalid_response() && error.to_string().contains("no content"), "{error}");
        assert_eq!((error.status().unwrap().as_u16(), calls.load(Ordering::SeqCst)), (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_with_an_unusable_expiry_is_adopted() {
    // {"iat":1800000000,"exp":1800000120}
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMDEyMH0.c2ln";
    for (token, lifetime) in [(jwt, 119), ("opaque", 60)] {
        for expiry in
            [r#""soon""#, r#""""#, "null", "17", "{}", r#""2026-11-24""#, r#""24.11.2026 02:44""#]
        {
            let body = format!(r#"{{"accessToken": "{token}", "expiresAt": {expiry}}}"#);
            let (endpoint, calls) = answering(move |_| answer(201, body.clone()));
            let adopted = TokenCache::new(endpoint).token().await.unwrap();
            assert_eq!(
                (adopted.expose_secret(), adopted.lifetime().as_secs()),
                (token, lifetime),
                "{expiry}"
            );
            assert_eq!(calls.load(Ordering::SeqCst), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_or_cut_body_is_transient_and_asked_for_again() {
    for cut in ["", r#"{"accessToken": "opa"#, r#"{"accessToken": "opaque", "expiresAt""#] {
        let (endpoint, calls) = answering(move |n| answer(201, if n < 3 { cut } else { GOOD }));
        assert_eq!(TokenCache::new(endpoint).token().await.unwrap().expose_secret(), "opaque");
        assert_eq!(calls.load(Ordering::SeqCst), 3, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_token_is_not_forgotten_over_a_later_failure() {
    let (endpoint, calls) = answering(move |n| match n {
        1 => answer(201, GOOD),
        // A token may have been issued, which has killed the first. Then the endpoint refuses.
        2 => answer(201, ""),
        3 => answer(401, "{}"),
        _ => answer(201, r#"{"accessToken": "newer"}"#),
    });
    let cache = TokenCache::new(endpoint);
    let first = cache.token().await.unwrap();
    for _ in 2..=3 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.refresh().await.is_err());
        assert_eq!(cache.current().unwrap().expose_secret(), "opaque", "nobody knows that it died");
    }
    // Backing off. Its first 401 says that it died, and is not held against the resource.
    assert!(cache.invalidate(&first));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "newer");
    let counters = cache.counters();
    assert_eq!((counters.unauthorized_replaced, counters.unauthorized_foreign), (1, 0));
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn an_empty_missing_or_unsendable_token_is_a_typed_error() {
    for body in [
        r#"{"accessToken": "", "expiresAt": "2026-11-24T02:44:00Z"}"#,
        r#"{"expiresAt": "2026-11-24T02:44:00Z"}"#,
        r#"{"accessToken": null}"#,
        r#"{"accessToken": 7}"#,
        r#"{"accessToken": "a\nb"}"#,
        r#"{"accessToken": "a b"}"#,
        "[]",
        "null",
        "<html>",
    ] {
        let (endpoint, calls) = answering(move |_| answer(201, body));
        let error = TokenCache::new(endpoint).token().await.unwrap_err();
        assert!(error.is_invalid_response() && !error.is_transient(), "{body}: {error:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_local_clock_does_not_shorten_or_lengthen_a_life() {
    // The answer is dated in 2026 by its own `Date`; whatever this machine's clock says, the
    // lifetime is its own.
    for (date, expires) in [
        ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:05:00Z"),
        ("Fri, 01 Jan 2100 00:00:00 GMT", "2100-01-01T00:05:00Z"),
    ] {
        let (endpoint, _) = answering(move |_| {
            let mut response =
                answer(201, format!(r#"{{"accessToken": "opaque", "expiresAt": "{expires}"}}"#));
            response.headers_mut().insert("date", http::HeaderValue::from_static(date));
            response
        });
        assert_eq!(TokenCache::new(endpoint).token().await.unwrap().lifetime().as_secs(), 299);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overlapping_token_is_served_until_its_own_end_too() {
    let endpoint = Endpoint::custom(Rotation::Overlapping, "token", Duration::from_secs(100));
    let cache = TokenCache::new(endpoint.clone());
    cache.token().await.unwrap();
    tokio::time::advance(Duration::from_millis(97_900)).await;
    assert!(cache.current().is_some());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(cache.current().is_none(), "98 s of 100 are used");
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-2");
}
