//! End to end: the sandbox, hyper, TLS with a test CA.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::{
    closed_port::ClosedPort,
    tls::{self, Tls},
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthError, AuthLayer, ConfigError, Credentials, RefreshPolicy, SendPayments, TokenCache,
    client::{self, HttpsClient},
    jsonwebtoken::{DecodingKey, Validation},
    sandbox::{AuthFault, Sandbox},
};

type PlainClient = Client<HttpConnector, Full<Bytes>>;

fn credentials() -> Credentials {
    Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET)
}

fn plain() -> PlainClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Short pauses between attempts. The attempts themselves have all the time that a busy machine may
/// need.
fn quick() -> RefreshPolicy {
    RefreshPolicy::default()
        .retry_base(Duration::from_millis(1))
        .retry_cap(Duration::from_millis(10))
}

fn cache_of(sandbox: &Sandbox, policy: RefreshPolicy) -> TokenCache {
    let endpoint = SendPayments::new(sandbox.base_url(), plain(), credentials()).unwrap();
    TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap()
}

fn create(base_url: &str) -> Request<Full<Bytes>> {
    Request::post(format!("{base_url}/accounts"))
        .header("content-type", "application/json")
        .body(Full::from(r#"{"name": "Ada"}"#))
        .unwrap()
}

async fn json(response: Response<Incoming>) -> serde_json::Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_requests_on_a_cold_cache_cost_one_request_for_a_token() {
    let sandbox =
        Sandbox::builder().auth_latency(Duration::from_millis(100)).start().await.unwrap();
    let base_url = sandbox.base_url();
    let first = AuthLayer::new(cache_of(&sandbox, RefreshPolicy::default())).layer(plain());
    let account = json(first.oneshot(create(&base_url)).await.unwrap()).await;
    let uri = format!("{base_url}/accounts/{}", account["id"].as_str().unwrap());
    let before = sandbox.counters();

    // HTTP/2, so that ten thousand requests need no ten thousand sockets.
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let cache = cache_of(&sandbox, RefreshPolicy::default());
    let service = AuthLayer::new(cache.clone()).layer(http);
    let requests = (0..10_000).map(|_| {
        let request = Request::get(&uri).body(Full::default()).unwrap();
        tokio::spawn(service.clone().oneshot(request))
    });
    for response in join_all(requests).await {
        assert_eq!(response.unwrap().unwrap().status(), StatusCode::OK);
    }
    let after = sandbox.counters();
    assert_eq!(after.auth_requests - before.auth_requests, 1);
    assert_eq!(after.resource_ok - before.resource_ok, 10_000);
    assert_eq!(cache.counters().token_requests, 1);
}

#[tokio::test]
async fn a_token_replaced_by_another_process_is_renewed_and_the_request_replayed() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let policy = RefreshPolicy::default().propagation_delay(Duration::ZERO);
    let client = AuthLayer::new(cache_of(&sandbox, policy)).layer(client::https().unwrap());
    assert_eq!(client.clone().oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
    sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    assert_eq!(client.clone().oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
    sandbox.revoke(Sandbox::CLIENT_ID);
    assert_eq!(client.oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
    let counters = sandbox.counters();
    // Each dead token is refused twice, because it had been accepted before.
    assert_eq!((counters.auth_requests, counters.unauthorized_replaced), (3, 4));
    assert_eq!(counters.accounts_created, 3, "a replay applies a request once");
}

#[tokio::test]
async fn tokens_are_renewed_as_they_expire() {
    let sandbox = Sandbox::builder().token_lifetime(Duration::from_secs(2)).start().await.unwrap();
    let auth = AuthLayer::send_payments(sandbox.base_url(), credentials()).unwrap();
    let client = auth.layer(client::https().unwrap());
    while sandbox.counters().auth_requests < 3 {
        assert_eq!(
            client.clone().oneshot(create(&sandbox.base_url())).await.unwrap().status(),
            201
        );
    }
}

#[tokio::test]
async fn renewals_under_load_are_seen_by_nobody() {
    let sandbox = Sandbox::builder()
        .token_lifetime(Duration::from_secs(3))
        .resource_latency(Duration::from_millis(5))
        .start()
        .await
        .unwrap();
    let cache = cache_of(&sandbox, RefreshPolicy::default());
    let service = AuthLayer::new(cache.clone()).layer(plain());
    let callers = (0..10).map(|_| {
        // One service for all requests of a caller, as many have it.
        let (mut service, cache, base_url) = (service.clone(), cache.clone(), sandbox.base_url());
        tokio::spawn(async move {
            while cache.counters().tokens_issued < 4 {
                let response = service.ready().await.unwrap().call(create(&base_url)).await;
                assert_eq!(response.unwrap().status(), 201);
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized_replaced, counters.auth_requests), (0, 4));
}

#[tokio::test]
async fn callers_that_go_away_while_the_answer_is_on_the_wire_lose_nothing() {
    let sandbox = Sandbox::builder().auth_latency(Duration::from_millis(50)).start().await.unwrap();
    let cache = cache_of(&sandbox, RefreshPolicy::default());
    let service = AuthLayer::new(cache.clone()).layer(plain());
    let mut updates = cache.subscribe();
    let caller = tokio::spawn(service.clone().oneshot(create(&sandbox.base_url())));
    while sandbox.counters().auth_requests == 0 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    updates.next().await.unwrap();
    assert_eq!(service.oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
    assert_eq!(sandbox.counters().auth_requests, 1);
}

#[tokio::test]
async fn what_passes_in_the_endpoint_is_asked_for_again_within_the_same_refresh() {
    for fault in [
        AuthFault::ResetBeforeIssuing,
        AuthFault::ResetAfterIssuing,
        AuthFault::Hang,
        AuthFault::EmptyBody,
        AuthFault::CutBody,
        AuthFault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None },
        AuthFault::Status { status: StatusCode::CONFLICT, retry_after: None },
        AuthFault::Html(StatusCode::BAD_GATEWAY),
    ] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        sandbox.fail_next_auth(fault.clone());
        let hangs = matches!(fault, AuthFault::Hang);
        let policy = if hangs { quick().attempt_timeout(Duration::from_secs(1)) } else { quick() };
        let service = AuthLayer::new(cache_of(&sandbox, policy)).layer(plain());
        let response = service.oneshot(create(&sandbox.base_url())).await.unwrap();
        assert_eq!(response.status(), 201, "{fault:?}");
        assert_eq!(sandbox.counters().auth_requests, 2, "{fault:?}");
    }
}

#[tokio::test]
async fn what_lasts_in_the_endpoint_is_one_typed_error() {
    for (fault, is) in [
        (AuthFault::Oversized, AuthError::is_invalid_response as fn(&AuthError) -> bool),
        (AuthFault::Garbage, AuthError::is_invalid_response),
        (AuthFault::EmptyToken, AuthError::is_invalid_response),
        (AuthFault::MissingToken, AuthError::is_invalid_response),
        (AuthFault::UnsendableToken, AuthError::is_invalid_response),
        (AuthFault::Html(StatusCode::OK), AuthError::is_invalid_response),
        (AuthFault::Redirect("/elsewhere".into()), AuthError::is_invalid_response),
        (
            AuthFault::Status { status: StatusCode::UNAUTHORIZED, retry_after: None },
            AuthError::is_rejected,
        ),
        (
            AuthFault::Status { status: StatusCode::BAD_REQUEST, retry_after: None },
            AuthError::is_rejected,
        ),
    ] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        sandbox.fail_every_auth(Some(fault.clone()));
        let service = AuthLayer::new(cache_of(&sandbox, quick())).layer(plain());
        let error = service.oneshot(create(&sandbox.base_url())).await.unwrap_err();
        let auth = error.as_auth().unwrap();
        assert!(is(auth) && !auth.is_transient(), "{fault:?}: {auth:?}");
        let counters = sandbox.counters();
        assert_eq!((counters.auth_requests, counters.resource_requests), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_good_token_with_an_unusable_expiry_is_used() {
    for fault in [AuthFault::BadExpiry, AuthFault::NoExpiry] {
        let sandbox = Sandbox::builder().start().await.unwrap();
        sandbox.fail_every_auth(Some(fault));
        let cache = cache_of(&sandbox, quick());
        let service = AuthLayer::new(cache.clone()).layer(plain());
        assert_eq!(service.oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
        assert_eq!(
            cache.current().unwrap().lifetime().as_secs(),
            299,
            "exp - iat of the token itself"
        );
    }
}

#[tokio::test]
async fn an_endpoint_with_a_wrong_clock_costs_nothing() {
    for ahead in [true, false] {
        let hour = Duration::from_secs(3600);
        let builder = Sandbox::builder();
        let builder = if ahead { builder.clock_ahead(hour) } else { builder.clock_behind(hour) };
        let sandbox = builder.start().await.unwrap();
        let cache = cache_of(&sandbox, quick());
        let service = AuthLayer::new(cache.clone()).layer(plain());
        assert_eq!(service.oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
        // A second may tick between `expiresAt` and `Date`.
        assert!((298..=299).contains(&cache.current().unwrap().lifetime().as_secs()));
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_a_transient_error_that_says_so() {
    let closed = ClosedPort::hold();
    let base_url = format!("http://{}", closed.addr());
    let endpoint = SendPayments::new(&base_url, plain(), credentials()).unwrap();
    let policy = quick().deadline(Duration::from_secs(1));
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
    let error = cache.token().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let address = base_url.strip_prefix("http://").unwrap();
    assert!(error.to_string().contains(&format!("{address} can't be reached")), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn claims_can_be_read_unverified_and_verified() {
    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
        services: Vec<String>,
    }
    let sandbox = Sandbox::builder().start().await.unwrap();
    let token = cache_of(&sandbox, quick()).token().await.unwrap();
    let claims: Claims = token.claims().unwrap();
    assert_eq!(claims.sub, Sandbox::CLIENT_ID);
    assert!(!claims.services.is_empty());
    // The sandbox keeps its key to itself, so every key is the wrong one.
    let key = DecodingKey::from_secret(b"not the sandbox's key");
    let validation = Validation::default();
    assert!(token.verified_claims::<Claims>(&key, &validation).is_err());
}

// ---- TLS.

fn signed(tls: &Tls, http: HttpsClient<Full<Bytes>>) -> Auth<HttpsClient<Full<Bytes>>> {
    let endpoint = SendPayments::new(tls.base_url(), http.clone(), credentials()).unwrap();
    let cache = TokenCache::builder(endpoint).refresh_policy(quick()).build().unwrap();
    AuthLayer::new(cache).layer(http)
}

#[tokio::test]
async fn requests_are_signed_and_replayed_over_tls() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let tls = Tls::serve(sandbox.router(), &tls::BOTH).await;
    let service = signed(&tls, client::https_with(tls.trusting.clone()));
    let response = service.clone().oneshot(create(&tls.base_url())).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::CREATED, Version::HTTP_2));
    sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    assert_eq!(service.oneshot(create(&tls.base_url())).await.unwrap().status(), 201);
    assert_eq!(sandbox.counters().auth_requests, 2);
}

#[tokio::test]
async fn an_untrusted_certificate_is_no_place_for_the_secret() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let tls = Tls::serve(sandbox.router(), &tls::BOTH).await;
    let endpoint =
        SendPayments::new(tls.base_url(), client::https().unwrap(), credentials()).unwrap();
    let cache = TokenCache::builder(endpoint).refresh_policy(quick()).build().unwrap();
    let service = AuthLayer::new(cache.clone()).layer(client::https::<Full<Bytes>>().unwrap());
    let error = service.oneshot(create(&tls.base_url())).await.unwrap_err();
    assert!(error.as_auth().is_some_and(AuthError::is_permanent), "{error:?}");
    assert_eq!((sandbox.counters().auth_requests, cache.counters().token_requests), (0, 1));
}

#[tokio::test]
async fn a_token_that_its_dates_call_dead_is_used_for_a_minute_and_a_resource_decides() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    sandbox.fail_next_auth(AuthFault::Expired);
    let cache = cache_of(&sandbox, quick());
    let service = AuthLayer::new(cache.clone()).layer(plain());
    assert_eq!(cache.token().await.unwrap().lifetime().as_secs(), 60);
    // It was dead indeed.
    assert_eq!(service.oneshot(create(&sandbox.base_url())).await.unwrap().status(), 201);
    assert_eq!(sandbox.counters().auth_requests, 2);
}

#[tokio::test]
async fn the_token_does_not_leave_its_origin_for_plain_http() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let tls = Tls::serve(sandbox.router(), &tls::BOTH).await;
    let service = signed(&tls, client::https_with(tls.trusting.clone()));
    // The same host, without TLS: another origin.
    let error = service.oneshot(create(&sandbox.base_url())).await.unwrap_err();
    assert!(error.as_auth().is_some_and(AuthError::is_refused_origin));
    assert_eq!(sandbox.counters().resource_requests, 0);
    let far = SendPayments::new("http://api.example.com", plain(), credentials());
    assert!(matches!(far, Err(ConfigError::PlainHttp { .. })));
}
