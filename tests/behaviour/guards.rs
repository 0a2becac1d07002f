//! Where the token may go, and what the layer asks of the service below.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use support::{Endpoint, Resource, Step, URI, get, known_at_once, ok, unauthorized};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_reauth::{
    AuthError, AuthLayer, BoxError, CallerAuthorization, ConfigError, Credentials,
    CrossOriginRequests, Error, TokenCache, endpoint::SendPayments,
};
use tower_test::mock;

fn cache() -> TokenCache {
    TokenCache::new(Endpoint::exclusive())
}

#[tokio::test(start_paused = true)]
async fn a_request_to_another_origin_is_refused_or_passed_unsigned_and_never_signed() {
    let foreign = "https://evil.example/accounts/1";
    let resource = Resource::new(|_, _| ok());
    let layer = AuthLayer::new(cache());
    let error = layer.clone().layer(resource.clone()).oneshot(get(foreign)).await.unwrap_err();
    let auth = error.as_auth().unwrap();
    assert!(auth.is_refused_origin() && auth.to_string().contains("evil.example"), "{auth}");
    assert!(auth.to_string().contains("allow_origin"), "says what to do: {auth}");
    assert_eq!(resource.seen(), []);

    let passing = layer
        .clone()
        .cross_origin_requests(CrossOriginRequests::PassUnsigned)
        .layer(resource.clone());
    passing.oneshot(get(foreign)).await.unwrap();
    assert_eq!(resource.tokens(), [""]);

    let allowing = layer.allow_origin("https://evil.example").unwrap().layer(resource.clone());
    allowing.oneshot(get(foreign)).await.unwrap();
    assert_eq!(resource.tokens(), ["", "Bearer token-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_origin_does_not_take_the_token_along() {
    let redirecting = || {
        Resource::new(|n, _| match n {
            1 => Response::builder()
                .status(307)
                .header("location", "https://evil.example/")
                .body(String::new())
                .unwrap(),
            _ => ok(),
        })
    };
    let layer = AuthLayer::new(cache()).cross_origin_requests(CrossOriginRequests::PassUnsigned);
    // Above the layer, as it should be: the second request passes the guard.
    let resource = redirecting();
    let above = FollowRedirectLayer::new().layer(layer.layer(resource.clone()));
    assert_eq!(above.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", ""]);
    // Below it, the follower knows to drop `Authorization`.
    let resource = redirecting();
    let below = layer.layer(FollowRedirectLayer::new().layer(resource.clone()));
    assert_eq!(below.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", ""]);
}

#[tokio::test(start_paused = true)]
async fn plain_http_beyond_this_machine_is_refused_unless_allowed_by_name() {
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        let body = r#"{"accessToken": "opaque", "expiresAt": null}"#;
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(body.as_bytes()))))
    });
    let credentials = || Credentials::new("id", "secret");
    // The secret ...
    let refused = SendPayments::new("http://payments.internal", http, credentials());
    assert!(matches!(refused, Err(ConfigError::PlainHttp { .. })));
    assert!(SendPayments::new("http://127.0.0.1:8080", http, credentials()).is_ok());
    let endpoint =
        SendPayments::allow_plain_http("http://payments.internal", http, credentials()).unwrap();
    // ... and the token are two permissions.
    let resource = Resource::new(|_, _| ok());
    let layer = AuthLayer::new(TokenCache::new(endpoint))
        .cross_origin_requests(CrossOriginRequests::PassUnsigned);
    let target = "http://payments.internal/accounts/1";
    let error = layer.clone().layer(resource.clone()).oneshot(get(target)).await.unwrap_err();
    assert!(error.as_auth().is_some_and(AuthError::is_refused_origin));
    assert_eq!(resource.seen(), []);
    let allowing = layer.allow_plain_http("http://payments.internal").unwrap();
    allowing.layer(resource.clone()).oneshot(get(target)).await.unwrap();
    assert_eq!(resource.tokens(), ["Bearer opaque"]);
}

#[tokio::test(start_paused = true)]
async fn the_request_for_a_token_passes_the_layer_unsigned() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| ok());
    let service = AuthLayer::new(TokenCache::new(endpoint.clone())).layer(resource.clone());
    let request = Request::post("https://api.example.com/auth").body(String::new()).unwrap();
    service.oneshot(request).await.unwrap();
    assert_eq!(resource.tokens(), [""]);
    assert_eq!(endpoint.calls(), 0, "and does not wait for a token");
}

#[tokio::test(start_paused = true)]
async fn the_token_client_does_not_follow_a_redirect_with_the_secret() {
    for status in [301, 302, 303, 307, 308] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let location = "https://evil.example/auth";
            let response = Response::builder().status(status).header("location", location);
            std::future::ready(Ok::<_, BoxError>(response.body(Full::<Bytes>::default()).unwrap()))
        });
        let endpoint =
            SendPayments::new("https://api.example.com", http, Credentials::new("id", "secret"))
                .unwrap();
        let error = TokenCache::new(endpoint).token().await.unwrap_err();
        assert!(error.is_invalid_response() && error.to_string().contains("redirect"), "{error}");
        assert_eq!(error.status(), StatusCode::from_u16(status).ok());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_client_that_runs_through_its_own_layer_does_not_wait_for_itself() {
    // Wrong wiring: the client for the token endpoint carries the layer whose tokens it asks for.
    let wired: Arc<Mutex<Option<AuthLayer>>> = Arc::default();
    let through = Arc::clone(&wired);
    let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let layer = through.lock().unwrap().clone().unwrap();
        layer
            .layer(tower::service_fn(|request: Request<Full<Bytes>>| async move {
                assert!(!request.headers().contains_key(header::AUTHORIZATION));
                Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(
                    br#"{"accessToken": "opaque"}"#,
                ))))
            }))
            .oneshot(request)
    });
    let endpoint =
        SendPayments::new("https://api.example.com", http, Credentials::new("id", "s")).unwrap();
    let cache = TokenCache::new(endpoint);
    *wired.lock().unwrap() = Some(AuthLayer::new(cache.clone()));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "opaque");
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_authorization_is_replaced_or_kept_and_never_doubled() {
    let request = || {
        let mut request = get(URI);
        request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static("Basic one"));
        request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static("Basic two"));
        request
    };
    for (setting, expected) in [
        (CallerAuthorization::Replace, vec!["Bearer token-1"]),
        (CallerAuthorization::Keep, vec!["Basic one", "Basic two"]),
    ] {
        let resource = tower::service_fn(move |request: Request<String>| {
            let values: Vec<_> =
                request.headers().get_all(header::AUTHORIZATION).iter().cloned().collect();
            assert_eq!(values, expected);
            async { Ok::<_, BoxError>(ok()) }
        });
        let service = AuthLayer::new(cache()).caller_authorization(setting).layer(resource);
        service.oneshot(request()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn header_name_and_scheme_can_be_set() {
    let cache = TokenCache::builder(Endpoint::exclusive()).scheme("Token").build().unwrap();
    let resource = tower::service_fn(|request: Request<String>| async move {
        assert_eq!(request.headers()["x-access-token"], "Token token-1");
        assert!(request.headers()["x-access-token"].is_sensitive());
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
        Ok::<_, BoxError>(ok())
    });
    let layer = AuthLayer::new(cache).header_name(HeaderName::from_static("x-access-token"));
    layer.layer(resource).oneshot(get(URI)).await.unwrap();
    let wrong = TokenCache::builder(Endpoint::exclusive()).scheme("Bea rer").build().unwrap_err();
    assert!(matches!(wrong, ConfigError::InvalidScheme(_)));
}

// ---- The Tower contract.

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_own() {
    let (mock, mut handle) = mock::pair::<Request<String>, Response<String>>();
    handle.allow(0);
    let mut service = task::spawn(AuthLayer::new(cache()).layer(mock));
    assert_pending!(service.enter(|cx, mut service| service.poll_ready(cx)));
    handle.allow(1);
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    handle.send_error("broken");
    let error: Error = assert_ready_err!(service.enter(|cx, mut service| service.poll_ready(cx)));
    assert!(matches!(error, Error::Inner { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_loses_its_readiness_on_clone_works_and_is_ready_before_the_replay() {
    // `Resource` loses its readiness on clone, and panics when called without it.
    let endpoint = Endpoint::exclusive();
    let resource = Resource::accepting("token-2");
    let mut service = AuthLayer::new(known_at_once(endpoint)).layer(resource.clone());
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(get(URI)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(resource.seen().len(), 4, "one replay");
}

#[tokio::test(start_paused = true)]
async fn the_replay_waits_until_the_service_is_ready_again() {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    cache.token().await.unwrap();
    let (mock, mut handle) = mock::pair::<Request<String>, Response<String>>();
    handle.allow(1);
    let mut service = AuthLayer::new(cache).layer(mock);
    let mut response = task::spawn(service.ready().await.unwrap().call(get(URI)));
    assert_pending!(response.poll());
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(support::authorization(&request), "Bearer token-1");
    reply.send_response(unauthorized());
    while endpoint.calls() < 2 {
        assert_pending!(response.poll());
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        assert_pending!(response.poll(), "not ready, so not called");
        tokio::task::yield_now().await;
    }
    handle.allow(1);
    assert_pending!(response.poll());
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(support::authorization(&request), "Bearer token-2");
    reply.send_response(ok());
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_becomes_ready_late_goes_out_with_the_newest_token() {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    cache.token().await.unwrap();
    let (mock, mut handle) = mock::pair::<Request<String>, Response<String>>();
    handle.allow(1);
    let mut service = AuthLayer::new(cache.clone()).layer(mock);
    let mut response = task::spawn(service.ready().await.unwrap().call(get(URI)));
    assert_pending!(response.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(unauthorized());
    while endpoint.calls() < 2 {
        assert_pending!(response.poll());
        tokio::task::yield_now().await;
    }
    assert_pending!(response.poll());
    // While it waits for its slot, the token that it waited for is replaced in its turn.
    assert_eq!(cache.refresh().await.unwrap().expose_secret(), "token-3");
    handle.allow(1);
    assert_pending!(response.poll());
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(support::authorization(&request), "Bearer token-3");
    reply.send_response(ok());
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_limit_shared_with_the_token_client_does_not_stop_the_refresh_it_waits_for() {
    let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        tokio::task::yield_now().await;
        let body = match request.uri().path() {
            "/auth" => r#"{"accessToken": "opaque"}"#,
            _ => "done",
        };
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(body.as_bytes()))))
    });
    let limited = tower::limit::ConcurrencyLimit::new(http, 2);
    let endpoint =
        SendPayments::new("https://api.example.com", limited.clone(), Credentials::new("id", "s"))
            .unwrap();
    let service = AuthLayer::new(TokenCache::new(endpoint)).layer(limited);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move {
                let request = Request::get(URI).body(Full::default()).unwrap();
                service.ready().await.unwrap().call(request).await
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_gives_its_slot_back() {
    let limited = tower::limit::ConcurrencyLimit::new(Resource::new(|_, _| ok()), 1);
    let mut service = AuthLayer::new(cache()).layer(limited);
    let mut other = service.clone();
    let refused = service.ready().await.unwrap().call(get("https://evil.example/"));
    assert!(refused.await.is_err());
    assert_eq!(other.ready().await.unwrap().call(get(URI)).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_becomes_ready_after_its_token_expired_gets_another_one() {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    cache.token().await.unwrap();
    let (mock, mut handle) = mock::pair::<Request<String>, Response<String>>();
    handle.allow(1);
    let mut service = AuthLayer::new(cache).layer(mock);
    let mut response = task::spawn(service.ready().await.unwrap().call(get(URI)));
    assert_pending!(response.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(unauthorized());
    while endpoint.calls() < 2 {
        assert_pending!(response.poll());
        tokio::task::yield_now().await;
    }
    assert_pending!(response.poll());
    tokio::time::advance(Duration::from_secs(301)).await;
    handle.allow(1);
    assert_pending!(response.poll());
    support::settle().await;
    assert_pending!(response.poll());
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(support::authorization(&request), "Bearer token-3");
    reply.send_response(ok());
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_for_the_replay_is_the_callers_error() {
    #[derive(Clone)]
    struct BreaksAfterOne(Arc<AtomicUsize>);
    impl Service<Request<String>> for BreaksAfterOne {
        type Response = Response<String>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Response<String>, std::io::Error>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
            Poll::Ready(if self.0.load(Ordering::SeqCst) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::other("gone"))
            })
        }
        fn call(&mut self, _: Request<String>) -> Self::Future {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(unauthorized()))
        }
    }
    let service = AuthLayer::new(cache()).layer(BreaksAfterOne(Arc::default()));
    match service.oneshot(get(URI)).await.unwrap_err() {
        Error::Inner { error: inner, .. } => assert!(inner.is::<std::io::Error>()),
        Error::Auth { error, .. } => panic!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_needs_no_token_and_costs_none() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Panic);
    let mut service =
        AuthLayer::new(TokenCache::new(endpoint.clone())).layer(Resource::new(|_, _| ok()));
    let mut response =
        task::spawn(service.ready().await.unwrap().call(get("https://evil.example/")));
    assert!(assert_ready!(response.poll()).is_err());
    assert_eq!(endpoint.calls(), 0);
}
