//! What a 401 from a resource leads to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use support::{
    Endpoint, Resource, Step, URI, authorization, get, known_at_once, log::Log, ok, settle,
    unauthorized,
};
use tokio::time::advance;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, CallerAuthorization, CrossOriginRequests, TokenCache,
};
use tracing::Level;

fn cache(endpoint: &Endpoint) -> TokenCache {
    known_at_once(endpoint.clone())
}

#[tokio::test(start_paused = true)]
async fn after_one_401_the_caller_sees_the_replays_answer() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::accepting("token-2");
    let cache = cache(&endpoint);
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let response = service.oneshot(get(URI)).await.unwrap();
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "done"));
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!((cache.counters().unauthorized, cache.counters().replays), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_refused_before_any_message_is_replayed_once() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, request| {
        let status = if authorization(request) == "Bearer token-2" { "0" } else { "16" };
        let response = Response::builder().header("content-type", "application/grpc");
        response.header("grpc-status", status).body(String::new()).unwrap()
    });
    let service = AuthLayer::new(cache(&endpoint)).layer(resource.clone());
    let response = service.oneshot(get("/bank.Accounts/Create")).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "0");
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
    // After a message it stands in the trailers, where nobody looks: the head is all there is, and
    // it is not delayed.
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| Response::new("a message".into()));
    AuthLayer::new(cache(&endpoint))
        .layer(resource.clone())
        .oneshot(get("/bank.Accounts/List"))
        .await
        .unwrap();
    assert_eq!((resource.seen().len(), endpoint.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_401_is_returned_as_it_is_without_a_third_attempt() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::accepting("no token at all");
    let service = AuthLayer::new(cache(&endpoint)).layer(resource.clone());
    let response = service.oneshot(get(URI)).await.unwrap();
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::UNAUTHORIZED, "who are you?")
    );
    assert_eq!((resource.seen().len(), endpoint.calls()), (2, 2));
    assert!(response.extensions().get::<AuthError>().is_none(), "the token was renewed");
}

#[tokio::test(start_paused = true)]
async fn a_late_401_for_an_old_token_is_replayed_with_the_new_one_without_a_request() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let (answer_now, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let service = tower::service_fn(move |request: Request<String>| {
        let wait = wait.lock().unwrap().take();
        async move {
            if let Some(wait) = wait {
                let _ = wait.await;
            }
            let known = authorization(&request) == "Bearer token-2";
            Ok::<_, BoxError>(if known { ok() } else { unauthorized() })
        }
    });
    let service = AuthLayer::new(cache.clone()).layer(service);
    let slow = tokio::spawn(service.clone().oneshot(get(URI)));
    settle().await;
    assert_eq!(cache.refresh().await.unwrap().expose_secret(), "token-2");
    answer_now.send(()).unwrap();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 2, "the 401 for token-1 cost token-2 nothing");
    assert_eq!(cache.current().unwrap().expose_secret(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_simultaneous_401s_make_one_request_and_one_replay_each() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    let resource = Resource::accepting("token-2");
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let answers = join_all((0..100).map(|_| service.clone().oneshot(get(URI)))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 200));
    assert_eq!((endpoint.calls(), resource.seen().len()), (2, 200));
    assert_eq!(cache.counters().replays, 100);
}

#[tokio::test(start_paused = true)]
async fn statuses_that_do_not_speak_of_our_token_are_returned_and_invalidate_nothing() {
    for status in [403, 407] {
        let endpoint = Endpoint::exclusive();
        let cache = cache(&endpoint);
        let resource = Resource::new(move |_, _| {
            Response::builder().status(status).body(String::new()).unwrap()
        });
        let service = AuthLayer::new(cache.clone()).layer(resource.clone());
        assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), status);
        assert_eq!((resource.seen().len(), endpoint.calls()), (1, 1));
        assert!(cache.current().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_for_a_request_that_we_did_not_sign_is_returned_and_invalidates_nothing() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    let resource = Resource::new(|_, _| unauthorized());
    let service = AuthLayer::new(cache.clone())
        .cross_origin_requests(CrossOriginRequests::PassUnsigned)
        .caller_authorization(CallerAuthorization::Keep)
        .layer(resource.clone());
    let mut callers_own = get(URI);
    callers_own.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
    let mut token_request = get("https://api.example.com/auth");
    *token_request.method_mut() = Method::POST;
    for request in [get("https://elsewhere.example/"), callers_own, token_request] {
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 401);
    }
    assert_eq!(resource.tokens(), ["", "Basic x", ""]);
    assert_eq!(endpoint.calls(), 1);
    assert!(cache.current().is_some());
}

/// A body that can't be cloned.
#[derive(Debug, PartialEq)]
struct OneShot(&'static str);

#[tokio::test(start_paused = true)]
async fn a_body_that_can_not_be_replayed_leaves_the_401_to_the_caller_and_the_token_marked() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    let service = tower::service_fn(|request: Request<OneShot>| async move {
        assert_eq!(request.body(), &OneShot("once"));
        let known = authorization(&request) == "Bearer token-2";
        Ok::<_, BoxError>(if known { ok() } else { unauthorized() })
    });
    let service = AuthLayer::new(cache.clone()).without_replay().layer(service);
    let request = || Request::post(URI).body(OneShot("once")).unwrap();
    assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), 401);
    assert!(cache.current().is_none(), "marked");
    assert_eq!(
        service.oneshot(request()).await.unwrap().status(),
        200,
        "and renewed for the next request"
    );
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_replay_switched_off_the_original_401_and_its_body_come_through() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::accepting("token-2");
    let service = AuthLayer::new(cache(&endpoint)).without_replay().layer(resource.clone());
    let response = service.oneshot(get(URI)).await.unwrap();
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::UNAUTHORIZED, "who are you?")
    );
    assert_eq!((resource.seen().len(), endpoint.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_replay_differs_from_the_first_attempt_in_its_token_alone() {
    #[derive(Clone, Debug, PartialEq)]
    struct Note(&'static str);
    let endpoint = Endpoint::exclusive();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let service = tower::service_fn(move |request: Request<String>| {
        let known = authorization(&request) == "Bearer token-2";
        sink.lock().unwrap().push(request);
        async move { Ok::<_, BoxError>(if known { ok() } else { unauthorized() }) }
    });
    let mut request = Request::post("https://api.example.com/accounts?dry=no")
        .version(Version::HTTP_2)
        .header("idempotency", "key-1")
        .header("x-many", "1")
        .header("x-many", "2")
        .header("authorization", "Bearer left-by-the-caller")
        .body("{\"name\": \"a\"}".to_owned())
        .unwrap();
    request.extensions_mut().insert(Note("kept"));
    let service = AuthLayer::new(cache(&endpoint)).layer(service);
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let mut seen = seen.lock().unwrap();
    let (mut second, mut first) = (seen.pop().unwrap(), seen.pop().unwrap());
    assert_eq!(first.headers_mut().remove("authorization").unwrap(), "Bearer token-1");
    assert_eq!(second.headers_mut().remove("authorization").unwrap(), "Bearer token-2");
    assert_eq!(
        (first.method(), first.uri(), first.version()),
        (second.method(), second.uri(), second.version())
    );
    assert_eq!(first.headers(), second.headers());
    assert_eq!(second.headers()["idempotency"], "key-1");
    assert_eq!(first.extensions().get::<Note>(), second.extensions().get::<Note>());
    assert_eq!(second.extensions().get::<Note>(), Some(&Note("kept")));
    assert_eq!(first.body(), second.body());
}

#[tokio::test(start_paused = true)]
async fn if_the_refresh_after_a_401_fails_the_original_401_comes_with_its_body_and_the_cause() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    endpoint.then(Step::Fail(AuthError::rejected("the client was closed")));
    let (log, _logging) = Log::of_this_thread(Level::INFO);
    let resource = Resource::accepting("token-2");
    let service = AuthLayer::new(cache).layer(resource.clone());
    let response = service.oneshot(get(URI)).await.unwrap();
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::UNAUTHORIZED, "who are you?")
    );
    let cause = response.extensions().get::<AuthError>().unwrap();
    assert!(cause.is_rejected());
    assert_eq!(resource.seen().len(), 1);
    let log = log.text();
    let line = log.lines().find(|line| line.contains("answered 401")).unwrap();
    assert!(line.contains("the client was closed"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_gives_its_slot_back_before_the_replay_needs_one() {
    let endpoint = Endpoint::exclusive();
    let limited = tower::limit::ConcurrencyLimit::new(Resource::accepting("token-2"), 1);
    let mut service = AuthLayer::new(cache(&endpoint)).layer(limited);
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    assert_eq!(service.ready().await.unwrap().call(get(URI)).await.unwrap().status(), 200);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}

/// The call is polled so late that the token which it waited for has expired.
#[tokio::test(start_paused = true)]
async fn if_the_new_token_expires_unused_and_no_other_comes_the_original_401_comes_with_its_body() {
    let endpoint = Endpoint::exclusive();
    let cache = cache(&endpoint);
    cache.token().await.unwrap();
    endpoint.then(Step::IssueFor(Duration::from_secs(20)));
    endpoint.then(Step::Fail(AuthError::rejected("the client was closed")));
    let resource = Resource::new(|_, _| unauthorized());
    let mut service = AuthLayer::new(cache.clone()).layer(resource.clone());
    let mut call = task::spawn(service.ready().await.unwrap().call(get(URI)));
    while endpoint.calls() < 2 {
        assert_pending!(call.poll());
        settle().await;
    }
    advance(Duration::from_secs(30)).await;
    let response = call.await.unwrap();
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::UNAUTHORIZED, "who are you?")
    );
    assert!(response.extensions().get::<AuthError>().unwrap().is_rejected());
    assert_eq!((endpoint.calls(), resource.seen().len()), (3, 1));
}
