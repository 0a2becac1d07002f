//! Refusals of the token that are not a 401 alone: by status, by challenge, by a code in a body.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use support::{Endpoint, Resource, Step, URI, authorization, get, known_at_once, ok, unauthorized};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthError, AuthLayer, Counters,
    refusal::{self, Classify, RefusalLayer, Unauthorized},
};

const LARK: &str = r#"{"code": 99991663, "msg": "Invalid access token for authorization."}"#;
const LARK_AS_TEXT: &str = r#"{"code": "99991663", "msg": "token expired"}"#;
const WECHAT: &str =
    r#"{"errcode": 40001, "errmsg": "invalid credential, access_token is invalid"}"#;
const APNS: &str = r#"{"reason": "ExpiredProviderToken"}"#;
const VAULT: &str = r#"{"errors": ["permission denied"]}"#;

fn json(status: u16, body: &str) -> Response<String> {
    let response = Response::builder().status(status);
    response.header("content-type", "application/json; charset=utf-8").body(body.into()).unwrap()
}

fn text(status: u16, header: (&str, &str)) -> Response<String> {
    let response = Response::builder().status(status).header(header.0, header.1);
    response.body("no".into()).unwrap()
}

fn lark() -> RefusalLayer {
    RefusalLayer::json("/code", [99_991_663, 99_991_664]).unwrap()
}

/// The end of one request to a resource that refuses `token-1`.
struct End {
    status: u16,
    body: Bytes,
    tokens: Vec<String>,
    counters: Counters,
}

async fn end(
    classify: impl Classify,
    codes: RefusalLayer,
    refusal: fn() -> Response<String>,
) -> End {
    let cache = known_at_once(Endpoint::exclusive());
    let resource =
        Resource::new(
            move |_, request| {
                if authorization(request) == "Bearer token-1" { refusal() } else { ok() }
            },
        );
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(cache.clone()).refusals(classify))
        .layer(codes)
        .service(resource.clone());
    let response = service.oneshot(get(URI)).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    End { status, body, tokens: resource.tokens(), counters: cache.counters() }
}

async fn is_replayed(
    classify: impl Classify,
    codes: RefusalLayer,
    refusal: fn() -> Response<String>,
) {
    let shape = refusal();
    let end = end(classify, codes, refusal).await;
    assert_eq!(end.tokens, ["Bearer token-1", "Bearer token-2"], "{shape:?}");
    assert_eq!((end.status, &end.body[..]), (200, &b"done"[..]), "{shape:?}");
    let Counters { unauthorized, replays, token_requests, proofs_refused, .. } = end.counters;
    assert_eq!((unauthorized, replays, token_requests, proofs_refused), (1, 1, 2, 0), "{shape:?}");
}

async fn is_the_callers(
    classify: impl Classify,
    codes: RefusalLayer,
    refusal: fn() -> Response<String>,
) {
    let shape = refusal();
    let end = end(classify, codes, refusal).await;
    assert_eq!(end.tokens, ["Bearer token-1"], "{shape:?}");
    assert_eq!((end.status, &end.body[..]), (shape.status().as_u16(), shape.body().as_bytes()));
    assert_eq!((end.counters.unauthorized, end.counters.replays), (0, 0), "{shape:?}");
}

#[tokio::test(start_paused = true)]
async fn other_answers_that_mean_expired_are_replayed() {
    let marked = || Unauthorized.or(refusal::marked());
    for lark_says in [
        || json(200, LARK),
        || json(400, LARK),
        || json(200, LARK_AS_TEXT),
        || json(400, LARK_AS_TEXT),
        // The default stands beside the mark.
        || unauthorized(),
    ] {
        is_replayed(marked(), lark(), lark_says).await;
    }
    let wechat = RefusalLayer::json("/errcode", ["40001", "40014", "42001"]).unwrap();
    is_replayed(marked(), wechat, || json(200, WECHAT)).await;
    let apns = RefusalLayer::json("/reason", ["ExpiredProviderToken"]).unwrap();
    is_replayed(refusal::marked(), apns, || json(403, APNS)).await;
    is_replayed(refusal::statuses([403]).unwrap(), lark(), || json(403, VAULT)).await;
    let either = Unauthorized.or(refusal::statuses([419]).unwrap());
    is_replayed(either, lark(), || text(419, ("x", "page expired"))).await;
    is_replayed(either, lark(), unauthorized).await;
    let challenge = Unauthorized.or(refusal::challenge("Bearer", "invalid_token").unwrap());
    is_replayed(challenge, lark(), || {
        text(403, ("www-authenticate", r#"Bearer error="invalid_token""#))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_not_named_is_the_callers() {
    let marked = || Unauthorized.or(refusal::marked());
    // A mark that nobody asks for, and a mark that nobody sets.
    is_the_callers(Unauthorized, lark(), || json(400, LARK)).await;
    is_the_callers(marked(), lark(), || text(200, ("x-body", LARK))).await;
    is_the_callers(marked(), lark(), || json(200, r#"{"code": 0}"#)).await;
    is_the_callers(marked(), lark(), || json(400, r#"{"code": 99991400}"#)).await;
    is_the_callers(marked(), lark(), || json(200, WECHAT)).await;
    let vault = refusal::statuses([403]).unwrap();
    is_the_callers(vault, lark(), unauthorized).await;
    is_the_callers(vault, lark(), || text(404, ("x", "y"))).await;
    is_the_callers(Unauthorized, lark(), || json(403, VAULT)).await;
    let challenge = refusal::challenge("Bearer", "invalid_token").unwrap();
    is_the_callers(challenge, lark(), || {
        text(403, ("www-authenticate", r#"Bearer error="insufficient_scope""#))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn if_there_is_no_newer_token_the_refusal_comes_with_its_body_and_the_cause() {
    let endpoint = Endpoint::exclusive();
    let cache = known_at_once(endpoint.clone());
    cache.token().await.unwrap();
    endpoint.then(Step::Fail(AuthError::rejected("the client was closed")));
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(cache).refusals(refusal::marked()))
        .layer(lark())
        .service(Resource::new(|_, _| json(200, LARK)));
    let response = service.oneshot(get(URI)).await.unwrap();
    assert!(response.extensions().get::<AuthError>().unwrap().is_rejected());
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), LARK);
}

#[tokio::test(start_paused = true)]
async fn without_replay_another_refusal_still_marks_the_token() {
    let cache = known_at_once(Endpoint::exclusive());
    let service = AuthLayer::new(cache.clone())
        .refusals(refusal::statuses([403]).unwrap())
        .without_replay()
        .layer(Resource::new(|_, _| json(403, VAULT)));
    assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 403);
    assert!(cache.current().is_none());
}
