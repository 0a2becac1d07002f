//! A 401 for what stands beside the token: a DPoP proof without its nonce.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use support::{Endpoint, Resource, Step, URI, get, known_at_once, ok, unauthorized};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, TokenCache,
    endpoint::Rotation,
    replay::{Declined, ReplayBody, ReplayLayer},
};

/// The response of a resource that wants a nonce in the proof (RFC 9449, section 9).
fn nonce_wanted<B: From<&'static str>>() -> Response<B> {
    Response::builder()
        .status(401)
        .header("www-authenticate", r#"DPoP error="use_dpop_nonce", error_description="x""#)
        .header("dpop-nonce", "eyJ7S_zG.eyJH0-Z.HX4w-7v")
        .body("a nonce, please".into())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refused_proof_is_sent_again_with_the_same_token() {
    let cache = known_at_once(Endpoint::exclusive());
    let resource = Resource::new(|number, _| if number == 1 { nonce_wanted() } else { ok() });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-1"]);
    let counters = cache.counters();
    assert_eq!((counters.proofs_refused, counters.unauthorized), (1, 0));
    assert_eq!((counters.same_token_retries, counters.replays, counters.token_requests), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_is_refused_twice_is_the_callers_and_the_token_stays() {
    for with_replay in [true, false] {
        let cache = known_at_once(Endpoint::exclusive());
        let resource = Resource::new(|_, _| nonce_wanted());
        let auth = AuthLayer::new(cache.clone());
        let response = if with_replay {
            auth.layer(resource.clone()).oneshot(get(URI)).await.unwrap()
        } else {
            auth.without_replay().layer(resource.clone()).oneshot(get(URI)).await.unwrap()
        };
        assert_eq!(
            (response.status().as_u16(), response.body().as_str()),
            (401, "a nonce, please")
        );
        let sent = if with_replay { 2 } else { 1 };
        assert_eq!(resource.tokens(), vec!["Bearer token-1"; sent]);
        let counters = cache.counters();
        assert_eq!((counters.proofs_refused, counters.unauthorized), (sent as u64, 0));
        assert_eq!(cache.current().unwrap().expose_secret(), "token-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_after_its_proof_was_is_renewed() {
    let cache = known_at_once(Endpoint::exclusive());
    let resource = Resource::new(|number, _| match number {
        1 => nonce_wanted(),
        2 => unauthorized(),
        _ => ok(),
    });
    let service = AuthLayer::new(cache.clone()).layer(resource.clone());
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
    let old = "Bearer token-1";
    assert_eq!(resource.tokens(), [old, old, "Bearer token-2"]);
    assert_eq!((cache.counters().proofs_refused, cache.counters().unauthorized), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_proof_costs_a_token_only_if_its_own_has_expired() {
    for is_issued in [true, false] {
        let short = Duration::from_secs(60);
        let endpoint = Endpoint::custom(Rotation::Exclusive, "token", short);
        let cache = TokenCache::new(endpoint.clone());
        cache.token().await.unwrap();
        if !is_issued {
            endpoint.then(Step::Fail(AuthError::rejected("the client was closed")));
        }
        // The response comes when the token has expired.
        let resource = Resource::new(|number, _| if number == 1 { nonce_wanted() } else { ok() })
            .taking(2 * short);
        let service = AuthLayer::new(cache).layer(resource.clone());
        let response = service.oneshot(get(URI)).await.unwrap();
        if is_issued {
            assert_eq!(response.status(), 200);
            assert_eq!(resource.tokens(), ["Bearer token-1", "Bearer token-2"]);
        } else {
            assert_eq!((response.status().as_u16(), resource.seen().len()), (401, 1));
            assert!(response.extensions().get::<AuthError>().unwrap().is_rejected());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_proof_of_a_body_that_can_not_be_sent_again_says_so() {
    let short = Duration::from_secs(60);
    let cache = TokenCache::new(Endpoint::custom(Rotation::Exclusive, "token", short));
    let upload = tower::service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| async move {
        request.into_body().collect().await?;
        tokio::time::sleep(2 * short).await;
        Ok::<_, BoxError>(nonce_wanted::<String>())
    });
    let service = ServiceBuilder::new()
        .layer(ReplayLayer::new().cap(4))
        .layer(AuthLayer::new(cache.clone()))
        .service(upload);
    let request = Request::post(URI).body(Full::from("more than four bytes")).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<Declined>().is_some());
    let counters = cache.counters();
    assert_eq!((counters.proofs_refused, counters.replays_declined), (1, 1));
    assert_eq!(counters.token_requests, 1, "although the token has expired");
}
