//! Callers come and go; a refresh goes on, and what it brings is kept.

use std::{sync::Arc, time::Duration};

use http::Request;
use support::{Endpoint, Resource, Step, URI, get, ok, settle};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, Error, RefreshPolicy, TokenCache,
    credentials::from_fn,
    endpoint::{Rotation, SendPayments},
};

#[tokio::test(start_paused = true)]
async fn a_dropped_leader_leaves_its_followers_the_same_request() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let mut leader = task::spawn(cache.token());
    assert_pending!(leader.poll());
    let follower = tokio::spawn(cache.token());
    settle().await;
    drop(leader);
    gate.send(()).unwrap();
    assert_eq!(follower.await.unwrap().unwrap().expose_secret(), "token-1");
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_never_polled_again_stalls_nobody() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let mut parked = task::spawn(cache.token());
    assert_pending!(parked.poll());
    let followers: Vec<_> = (0..100).map(|_| tokio::spawn(cache.token())).collect();
    settle().await;
    gate.send(()).unwrap();
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap().expose_secret(), "token-1");
    }
    assert!(parked.is_woken());
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_does_not_touch_the_leader() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let leader = tokio::spawn(cache.token());
    settle().await;
    let mut follower = task::spawn(cache.token());
    assert_pending!(follower.poll());
    drop(follower);
    gate.send(()).unwrap();
    assert_eq!(leader.await.unwrap().unwrap().expose_secret(), "token-1");
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waits_for_any_more_is_kept() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let resource = Resource::accepting("token-1");
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let mut requests: Vec<_> =
        (0..3).map(|_| task::spawn(service.clone().oneshot(get(URI)))).collect();
    for request in &mut requests {
        assert_pending!(request.poll());
    }
    settle().await;
    assert_eq!(endpoint.calls(), 1);
    drop(requests);
    gate.send(()).unwrap();
    settle().await;
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 1, "the next call makes no request for a token");
}

#[tokio::test(start_paused = true)]
async fn a_callers_timeout_ends_its_wait_and_not_the_flight() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(AuthLayer::new(cache.clone()))
        .service(Resource::accepting("token-1"));
    let error = service.clone().oneshot(get(URI)).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error:?}");
    gate.send(()).unwrap();
    settle().await;
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 1);
}

#[test]
fn a_runtime_that_shuts_down_under_a_flight_leaves_nobody_hanging_and_nobody_without_a_token() {
    let endpoint = Endpoint::exclusive();
    let _never_opened = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let started = cache.clone();
    first.block_on(async move {
        let mut leader = task::spawn(started.token());
        assert_pending!(leader.poll());
    });
    let waiter = second.spawn(cache.token());
    // The waiter has joined, and the gate is taken, before the first runtime goes.
    while cache.counters().joined == 0 || endpoint.calls() == 0 {
        std::thread::yield_now();
    }
    drop(first);
    // It starts a refresh of its own, on its own runtime.
    let token = second.block_on(waiter).unwrap().unwrap();
    assert!(token.expose_secret().starts_with("token-"));
    assert_eq!(second.block_on(cache.token()).unwrap().sequence(), token.sequence());
}

#[test]
fn a_flight_on_a_runtime_that_nobody_drives_is_given_up_when_overdue() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let undriven = paused();
    // Started, and then the runtime is not driven any more; it stays alive.
    undriven.block_on(async { assert_pending!(task::spawn(cache.token()).poll()) });
    let driven = paused();
    let token = driven.block_on(async {
        let mut joined = task::spawn(cache.token());
        assert_pending!(joined.poll());
        tokio::time::advance(Duration::from_secs(63)).await;
        // Nobody new has to come by for that.
        assert!(joined.is_woken());
        joined.await.unwrap()
    });
    assert_eq!(token.sequence(), 2);
    // The first runtime lives on, too late: what its flight brings is older.
    undriven.block_on(settle());
    assert_eq!(cache.current().unwrap().sequence(), 2);
}

#[test]
fn without_a_runtime_there_is_a_typed_error_and_no_panic() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let error = assert_ready_err!(task::spawn(cache.token()).poll());
    assert!(error.is_no_runtime() && !error.is_transient(), "{error:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(cache.token()).is_ok());
    // A valid token needs no runtime.
    assert_ready_ok!(task::spawn(cache.token()).poll());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_meets_the_attempts_timeout_and_then_the_deadline() {
    let endpoint = Endpoint::exclusive();
    for _ in 0..100 {
        endpoint.then(Step::Hang);
    }
    let policy = RefreshPolicy::default()
        .attempt_timeout(Duration::from_secs(2))
        .deadline(Duration::from_secs(7));
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    let started = tokio::time::Instant::now();
    let error = cache.token().await.unwrap_err();
    assert!(error.is_timeout() && error.is_transient(), "{error:?}");
    assert!(started.elapsed() <= Duration::from_secs(7), "{:?}", started.elapsed());
    assert!((2..=4).contains(&endpoint.calls()), "{} attempts of 2 s in 7 s", endpoint.calls());
}

#[tokio::test(start_paused = true)]
async fn one_attempt_longer_than_the_deadline_is_ended_by_it() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Hang);
    let policy = RefreshPolicy::default()
        .attempt_timeout(Duration::from_secs(60))
        .deadline(Duration::from_secs(7));
    let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
    let started = tokio::time::Instant::now();
    assert!(cache.token().await.unwrap_err().is_timeout());
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_endpoint_wakes_every_waiter_and_the_next_call_starts_afresh() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Panic);
    let cache = TokenCache::new(endpoint.clone());
    let waiters: Vec<_> = (0..10).map(|_| tokio::spawn(cache.token())).collect();
    for waiter in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert!(error.is_interrupted(), "{error:?}");
        assert!(error.to_string().contains("panicked"), "{error}");
    }
    assert_eq!(cache.token().await.unwrap().expose_secret(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_credentials_source_is_a_typed_error() {
    let never_called =
        tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
            Err::<http::Response<http_body_util::Full<bytes::Bytes>>, _>(std::io::Error::other(
                "not reached",
            ))
        });
    async fn vault() -> Result<Credentials, tower_reauth::BoxError> {
        panic!("the vault panics, as it was told to")
    }
    let endpoint =
        SendPayments::new("https://api.example.com", never_called, from_fn(vault)).unwrap();
    let cache = TokenCache::new(endpoint);
    let (a, b) = tokio::join!(cache.token(), cache.token());
    assert!(a.unwrap_err().is_interrupted() && b.unwrap_err().is_interrupted());
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_when_the_last_handle_is_gone() {
    let endpoint = Endpoint::exclusive();
    let _never_opened = endpoint.gate();
    let cache = TokenCache::new(endpoint.clone());
    let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-1"));
    let mut request = task::spawn(service.oneshot(get(URI)));
    assert_pending!(request.poll());
    settle().await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!((alive(), endpoint.handles()), (1, 2));
    drop(cache);
    settle().await;
    assert_eq!(alive(), 1, "a pending request is a handle too");
    drop(request);
    settle().await;
    assert_eq!((alive(), endpoint.handles()), (0, 1));
}

#[tokio::test]
async fn no_connection_stays_when_the_last_handle_is_gone() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<bytes::Bytes>>();
    let cache =
        TokenCache::new(SendPayments::new(base_url, http, Credentials::new("id", "s")).unwrap());
    let caller = tokio::spawn(cache.token());
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = [0; 64];
    assert!(connection.read(&mut request).await.unwrap() > 0);
    caller.abort();
    drop(cache);
    // The end of the stream: the flight, its client and its connection are gone without an answer.
    while connection.read(&mut request).await.unwrap_or(0) > 0 {}
    assert!(caller.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_service_does_not_cost_a_pending_request_its_token() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let response = {
        let service =
            AuthLayer::new(TokenCache::new(endpoint.clone())).layer(Resource::accepting("token-1"));
        tokio::spawn(service.oneshot(get(URI)))
    };
    settle().await;
    gate.send(()).unwrap();
    assert_eq!(response.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_polled_after_its_token_has_expired_gets_a_new_one_once() {
    let endpoint = Endpoint::custom(Rotation::Exclusive, "token", Duration::from_secs(10));
    let cache = TokenCache::new(endpoint.clone());
    let mut late = task::spawn(cache.token());
    assert_pending!(late.poll());
    settle().await;
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_pending!(late.poll());
    settle().await;
    assert_eq!(endpoint.calls(), 2);
    tokio::time::advance(Duration::from_secs(11)).await;
    let error: Result<_, AuthError> = tokio_test::assert_ready!(late.poll());
    assert!(error.unwrap_err().is_invalid_response());
    assert_eq!(endpoint.calls(), 2, "no loop");
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_point_of_a_replay_leaves_the_cache_whole() {
    // However often it is polled before it is dropped, the next request works, and tokens are asked
    // for singly.
    for polls in 0..20 {
        let endpoint = Endpoint::exclusive();
        let cache = TokenCache::new(endpoint.clone());
        let service = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-2"));
        let mut request = task::spawn(service.clone().oneshot(get(URI)));
        for _ in 0..polls {
            if request.poll().is_ready() {
                break;
            }
            settle().await;
        }
        drop(request);
        let answer: Result<_, Error> = service.oneshot(get(URI)).await;
        assert_eq!(answer.unwrap().status(), 200, "dropped after {polls} polls");
        assert_eq!(
            (endpoint.calls(), endpoint.most_under_way()),
            (2, 1),
            "dropped after {polls} polls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_got_no_token_holds_its_service_no_more_and_may_be_polled_again() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Panic);
    let held = Arc::new(());
    let probe = Arc::clone(&held);
    let inner = tower::service_fn(move |_: Request<String>| {
        let _ = &probe;
        std::future::ready(Ok::<_, BoxError>(ok()))
    });
    let mut service = AuthLayer::new(TokenCache::new(endpoint)).layer(inner);
    let mut response = task::spawn(service.ready().await.unwrap().call(get(URI)));
    drop(service);
    assert_pending!(response.poll());
    settle().await;
    assert_ready_err!(response.poll());
    assert_eq!(Arc::strong_count(&held), 1);
    assert_pending!(response.poll());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_failed_is_under_way_no_more_even_if_its_future_is_kept() {
    let cache = TokenCache::new(Endpoint::exclusive());
    cache.token().await.unwrap();
    let inner = tower::service_fn(|_: Request<String>| {
        std::future::ready(Err::<http::Response<String>, _>(BoxError::from("reset")))
    });
    let mut failed = task::spawn(AuthLayer::new(cache.clone()).layer(inner).call(get(URI)));
    assert_ready_err!(failed.poll());
    cache.refresh().await.unwrap();
    let counters = cache.counters();
    assert_eq!((counters.drains_timed_out, counters.longest_drain), (0, Duration::ZERO));
}
