//! A service that has had the token a moment ago takes a shorter way to it. With a paused clock
//! there is none, so these tests run by the machine's.

use std::time::{Duration, Instant};

use http::{Request, Response, header};
use support::{
    Endpoint, Resource, Step, URI, authorization, get, known_at_once, ok, settle, unauthorized,
};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthError, AuthLayer, CallerAuthorization, Error, TokenCache, replay::Replay,
};

type Sent = Result<Response<String>, Error>;

async fn send<R: Replay<String>>(
    service: &mut Auth<Resource, R>,
    request: Request<String>,
) -> Sent {
    service.ready().await.unwrap().call(request).await
}

/// From the next request on, it takes the shorter way: the first one waits for the token, and two
/// have it from the slot.
async fn used<R: Replay<String>>(layer: AuthLayer<R>, resource: &Resource) -> Auth<Resource, R> {
    let mut service = layer.layer(resource.clone());
    for _ in 0..3 {
        assert_eq!(send(&mut service, get(URI)).await.unwrap().status(), 200);
    }
    service
}

async fn signs_only_what_may_carry_the_token<R: Replay<String>>(layer: AuthLayer<R>) {
    let resource = Resource::new(|_, _| ok());
    let mut service = used(layer, &resource).await;
    let from = |method: &str, uri: &str, host: &str| {
        Request::builder().method(method).uri(uri).header("host", host).body(String::new()).unwrap()
    };
    for foreign in [
        get("https://evil.example/accounts/1"),
        get("http://api.example.com/accounts/1"),
        get("https://api.example.com:444/accounts/1"),
        from("GET", URI, "evil.example"),
        from("GET", "/accounts/1", "evil.example"),
    ] {
        let shown = format!("{} {:?}", foreign.uri(), foreign.headers());
        let refused = send(&mut service, foreign).await.unwrap_err();
        assert!(refused.as_auth().is_some_and(AuthError::is_refused_origin), "{shown}");
    }
    assert_eq!(resource.tokens(), ["Bearer token-1"; 3]);
    for unsigned in [
        from("POST", "https://api.example.com/auth", "api.example.com"),
        Request::post("https://api.example.com/auth").body(String::new()).unwrap(),
    ] {
        send(&mut service, unsigned).await.unwrap();
        assert_eq!(resource.tokens().last().unwrap(), "");
    }
    for signed in [get(URI), get("/accounts/1"), from("GET", URI, "API.example.com:443")] {
        send(&mut service, signed).await.unwrap();
        assert_eq!(resource.tokens().last().unwrap(), "Bearer token-1");
    }
}

#[tokio::test]
async fn it_signs_only_what_may_carry_the_token() {
    let layer = AuthLayer::new(TokenCache::new(Endpoint::exclusive()));
    signs_only_what_may_carry_the_token(layer.clone()).await;
    signs_only_what_may_carry_the_token(layer.without_replay()).await;
}

#[tokio::test]
async fn it_keeps_or_replaces_the_callers_authorization_as_configured() {
    let own = || {
        Request::get(URI).header(header::AUTHORIZATION, "Basic b3du").body(String::new()).unwrap()
    };
    let layer = AuthLayer::new(TokenCache::new(Endpoint::exclusive()));
    for (caller, sent) in [
        (CallerAuthorization::Keep, "Basic b3du"),
        (CallerAuthorization::Replace, "Bearer token-1"),
    ] {
        let resource = Resource::new(|_, _| ok());
        let mut service = used(layer.clone().caller_authorization(caller), &resource).await;
        send(&mut service, own()).await.unwrap();
        assert_eq!(resource.tokens().last().unwrap(), sent);
    }
}

#[tokio::test]
async fn it_does_not_send_a_token_that_another_service_was_refused() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::of(&endpoint, Duration::ZERO);
    let cache = known_at_once(endpoint);
    let mut first = used(AuthLayer::new(cache.clone()), &resource).await;
    let mut second = used(AuthLayer::new(cache.clone()), &resource).await;
    // Somebody else has asked for a token, which kills ours; the refusal comes by way of the second
    // service.
    let refusing = Resource::accepting("token-2");
    let mut refused = AuthLayer::new(cache).layer(refusing.clone());
    assert_eq!(send(&mut refused, get(URI)).await.unwrap().status(), 200);
    let old = "Bearer token-1";
    assert_eq!(refusing.tokens(), [old, old, "Bearer token-2"], "once more, as a probe");
    for service in [&mut first, &mut second] {
        assert_eq!(send(service, get(URI)).await.unwrap().status(), 200);
        assert_eq!(resource.tokens().last().unwrap(), "Bearer token-2");
    }
}

#[tokio::test]
async fn its_request_is_replayed_as_it_was() {
    let resource = Resource::new(|number, request| {
        let (headers, body) = (request.headers(), request.body());
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("PUT", format!("{URI}?a=b"))
        );
        assert_eq!((&headers["idempotency"], &**body), (&"4d3a9a0e".parse().unwrap(), "body"));
        assert!(headers["x-key"].is_sensitive());
        let is_dead = number >= 4 && authorization(request) == "Bearer token-1";
        if is_dead { unauthorized() } else { ok() }
    });
    let mut service = AuthLayer::new(known_at_once(Endpoint::exclusive())).layer(resource.clone());
    for _ in 0..4 {
        let mut key = http::HeaderValue::from_static("secret");
        key.set_sensitive(true);
        let request = Request::put(format!("{URI}?a=b"))
            .header("idempotency", "4d3a9a0e")
            .header("x-key", key);
        let response = send(&mut service, request.body("body".into()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    // The last request is a probe too, because its token was accepted before.
    let old = "Bearer token-1";
    assert_eq!(resource.tokens(), [old, old, old, old, old, "Bearer token-2"]);
}

#[tokio::test]
async fn it_waits_while_an_exclusive_endpoint_is_asked_for_a_new_token() {
    let endpoint = Endpoint::exclusive();
    let resource = Resource::new(|_, _| ok());
    let cache = TokenCache::new(endpoint.clone());
    let mut service = used(AuthLayer::new(cache.clone()), &resource).await;
    let open = endpoint.gate();
    let mut refresh = task::spawn(cache.refresh());
    assert_pending!(refresh.poll());
    settle().await;
    let mut held = task::spawn(service.ready().await.unwrap().call(get(URI)));
    assert_pending!(held.poll());
    assert_eq!((endpoint.calls(), resource.tokens().len()), (2, 3));
    open.send(()).unwrap();
    refresh.await.unwrap();
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(resource.tokens().last().unwrap(), "Bearer token-2");
}

#[tokio::test]
async fn it_does_not_send_a_token_past_its_time() {
    let (endpoint, lifetime) = (Endpoint::overlapping(), Duration::from_millis(500));
    endpoint.then(Step::IssueFor(lifetime));
    // Its renewal starts in time, and does not end.
    let open = endpoint.gate();
    let resource = Resource::new(|_, _| ok());
    let mut service = used(AuthLayer::new(TokenCache::new(endpoint)), &resource).await;
    // Later than it was, so that a pause of this thread is not held against the service.
    let issued = Instant::now();
    let waiting = loop {
        let (before, sending) = (resource.tokens().len(), Instant::now());
        let sent = service.ready().await.unwrap().call(get(URI));
        if resource.tokens().len() == before {
            break sent;
        }
        // The last fiftieth of its lifetime is not used.
        assert!(
            sending < issued + lifetime * 99 / 100,
            "{:?} after it was issued",
            sending.duration_since(issued)
        );
        assert_eq!(sent.await.unwrap().status(), 200);
    };
    open.send(()).unwrap();
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(resource.tokens().last().unwrap(), "Bearer token-2");
}

/// Callers that waited for one refresh have their lease from each other.
#[tokio::test]
async fn callers_that_waited_do_not_send_the_token_of_the_refresh_before() {
    let endpoint = Endpoint::overlapping();
    let resource = Resource::new(|_, _| ok());
    let layer = AuthLayer::new(known_at_once(endpoint.clone()));
    let service = layer.layer(resource.clone());
    let wait_for = async |token: &str, open: oneshot::Sender<()>| {
        let before = resource.tokens().len();
        let waiting = [(); 4].map(|()| {
            let mut service = service.clone();
            let mut caller = task::spawn(async move { send(&mut service, get(URI)).await });
            assert_pending!(caller.poll());
            caller
        });
        assert_eq!(resource.tokens().len(), before, "they wait");
        open.send(()).unwrap();
        for caller in waiting {
            assert_eq!(caller.await.unwrap().status(), 200);
        }
        assert_eq!(resource.tokens()[before..], [token; 4]);
    };
    wait_for("Bearer token-1", endpoint.gate()).await;
    // Its response does not come, so the first token's lease stays in use.
    let mut slow = layer.layer(resource.clone().taking(Duration::from_secs(3_600)));
    let mut in_flight = task::spawn(send(&mut slow, get(URI)));
    assert_pending!(in_flight.poll());
    let open = endpoint.gate();
    let mut refused = layer.layer(Resource::accepting("token-2"));
    let mut refused = task::spawn(send(&mut refused, get(URI)));
    while endpoint.calls() == 1 {
        assert_pending!(refused.poll());
        settle().await;
    }
    wait_for("Bearer token-2", open).await;
    assert_eq!(refused.await.unwrap().status(), 200);
    assert_pending!(in_flight.poll());
}
