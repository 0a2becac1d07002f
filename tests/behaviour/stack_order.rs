//! The layer among others: which order is right, and what happens in the other. `docs/stacks.md`
//! says it in words.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use support::{
    Endpoint, Resource, Step, URI, authorization, get, known_at_once, ok, settle, unauthorized,
};
use tokio::time::{Instant, sleep};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt,
    load_shed::error::Overloaded,
    retry::{Policy, RetryLayer},
    timeout::{TimeoutLayer, error::Elapsed},
};
use tower_reauth::{AuthError, AuthLayer, Error};

fn auth(endpoint: &Endpoint) -> AuthLayer {
    AuthLayer::new(known_at_once(endpoint.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_counts_the_wait_for_a_token_and_costs_nobody_the_refresh() {
    let endpoint = Endpoint::exclusive();
    let auth = auth(&endpoint);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_millis(100)))
        .layer(auth.clone())
        .service(Resource::of(&endpoint, Duration::from_millis(10)));
    endpoint.answer_after(Duration::from_millis(150));
    let error = service.clone().oneshot(get(URI)).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    sleep(Duration::from_millis(60)).await;
    assert_eq!(service.clone().oneshot(get(URI)).await.unwrap().status(), 200);
    // During a hold: the caller goes, the renewal is made.
    let forced = tokio::spawn(auth.cache().refresh());
    settle().await;
    assert!(service.clone().oneshot(get(URI)).await.unwrap_err().is::<Elapsed>());
    forced.await.unwrap().unwrap();
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_counts_each_attempt_and_not_the_wait_for_a_token() {
    let endpoint = Endpoint::exclusive();
    endpoint.answer_after(Duration::from_secs(5));
    let service = ServiceBuilder::new()
        .layer(auth(&endpoint))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(Resource::accepting("token-2").taking(Duration::from_millis(800)));
    // Two waits of 5 s and two attempts of 0.8 s.
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    let slow = ServiceBuilder::new()
        .layer(auth(&endpoint))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(Resource::new(|_, _| ok()).taking(Duration::from_secs(2)));
    match slow.oneshot(get(URI)).await.unwrap_err() {
        Error::Inner { error, .. } => assert!(error.is::<Elapsed>()),
        Error::Auth { error, .. } => panic!("{error:?}"),
    }
}

/// Up to five attempts while the answer is this status.
#[derive(Clone)]
struct While(StatusCode, u32);

impl<E> Policy<Request<String>, Response<String>, E> for While {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<String>,
        result: &mut Result<Response<String>, E>,
    ) -> Option<Self::Future> {
        let again = self.1 > 0 && result.as_ref().is_ok_and(|response| response.status() == self.0);
        self.1 = self.1.saturating_sub(1);
        again.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<String>) -> Option<Request<String>> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn retries_above_are_signed_anew_and_each_has_its_own_replay() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|number, request| match number {
        1 => Response::builder().status(503).body(String::new()).unwrap(),
        _ if authorization(request) == "Bearer token-2" => ok(),
        _ => unauthorized(),
    });
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(While(StatusCode::SERVICE_UNAVAILABLE, 5)))
        .layer(auth(&endpoint))
        .service(resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test(start_paused = true)]
async fn retries_below_of_a_401_send_the_refused_token_again() {
    // The wrong order: the retry can't know that the token is the matter.
    let endpoint = Endpoint::exclusive();
    let resource = Resource::accepting("token-2");
    let service = ServiceBuilder::new()
        .layer(auth(&endpoint))
        .layer(RetryLayer::new(While(StatusCode::UNAUTHORIZED, 2)))
        .service(resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(
        resource.tokens(),
        ["Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_buffer_works_on_either_side() {
    for above in [true, false] {
        let endpoint = Endpoint::exclusive();
        let resource = Resource::accepting("token-2");
        let requests = if above {
            let service = ServiceBuilder::new().buffer(4).layer(auth(&endpoint)).service(resource);
            join_all((0..20).map(|_| service.clone().oneshot(get(URI))))
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect()
        } else {
            let service = ServiceBuilder::new().layer(auth(&endpoint)).buffer(4).service(resource);
            join_all((0..20).map(|_| service.clone().oneshot(get(URI))))
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        assert!(requests.iter().all(|response| response.status() == 200), "above: {above}");
        assert_eq!(endpoint.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_token_holds_no_slot_of_a_limit_below_and_sheds_no_load() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let service = ServiceBuilder::new()
        .layer(auth(&endpoint))
        .load_shed()
        .concurrency_limit(1)
        .service(Resource::of(&endpoint, Duration::from_millis(10)));
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(service.clone().oneshot(get(URI)))).collect();
    settle().await;
    gate.send(()).unwrap();
    let answers = join_all(waiting).await;
    // All of them become ready at once; what the limit can't take then is shed, which is what was
    // asked for.
    let shed =
        |error: &Error| matches!(error, Error::Inner { error, .. } if error.is::<Overloaded>());
    assert!(answers.iter().all(|answer| match answer.as_ref().unwrap() {
        Ok(response) => response.status() == 200,
        Err(error) => shed(error),
    }));
    assert!(answers.iter().any(|answer| answer.as_ref().unwrap().is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_limit_above_bounds_how_many_wait_for_a_token() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let mut service = ServiceBuilder::new()
        .concurrency_limit(2)
        .layer(auth(&endpoint))
        .service(Resource::of(&endpoint, Duration::ZERO));
    let waiting: Vec<_> = {
        let first = service.ready().await.unwrap().call(get(URI));
        let second = service.ready().await.unwrap().call(get(URI));
        vec![tokio::spawn(first), tokio::spawn(second)]
    };
    settle().await;
    assert!(
        futures_util::poll!(std::pin::pin!(service.ready())).is_pending(),
        "the third is not taken in"
    );
    gate.send(()).unwrap();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    service.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_below_counts_the_replay_as_a_request() {
    let endpoint = Endpoint::exclusive();
    let limited = tower::limit::RateLimit::new(
        Resource::accepting("token-2"),
        tower::limit::rate::Rate::new(1, Duration::from_secs(10)),
    );
    let service = ServiceBuilder::new().layer(auth(&endpoint)).buffer(4).service(limited);
    let started = Instant::now();
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert!(started.elapsed() >= Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn errors_pass_through_a_stack_and_can_be_told_apart() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Fail(AuthError::rejected("no such client")));
    let service = ServiceBuilder::new()
        .buffer(4)
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(auth(&endpoint))
        .service(Resource::new(|_, _| ok()));
    let error: BoxError = service.oneshot(get(URI)).await.unwrap_err();
    let auth = error.downcast_ref::<Error>().and_then(Error::as_auth);
    assert!(auth.is_some_and(AuthError::is_rejected), "{error:?}");
}
