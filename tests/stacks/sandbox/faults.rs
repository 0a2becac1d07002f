use std::{error::Error, io, time::Duration};

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::dangerous::insecure_decode;
use serde_json::Value;
use tower::ServiceExt;
use tower_reauth::sandbox::{AuthFault, Sandbox};

use super::client::{
    Answer, JSON, authenticate, credentials, send, start, try_authenticate, try_send, until,
    use_token,
};

/// A sandbox whose next `POST /auth` meets `fault`, and the token that was in use before.
async fn start_with(fault: AuthFault) -> (Sandbox, String) {
    let sandbox = start().await;
    let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    sandbox.fail_next_auth(fault);
    (sandbox, token)
}

async fn assert_alive(sandbox: &Sandbox, token: &str) {
    assert_eq!(use_token(sandbox, token).await, StatusCode::NOT_FOUND);
    assert_eq!(sandbox.counters().tokens_issued, 1);
}

async fn assert_replaced(sandbox: &Sandbox, token: &str) {
    assert_eq!(use_token(sandbox, token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().tokens_issued, 2);
}

/// A 201 whose token has replaced the one in use.
async fn spoilt(fault: AuthFault) -> (Sandbox, Answer) {
    let (sandbox, old) = start_with(fault).await;
    let answer = authenticate(&sandbox).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_replaced(&sandbox, &old).await;
    (sandbox, answer)
}

fn is_reset(error: &(dyn Error + 'static)) -> bool {
    let io = error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::ConnectionReset);
    io || error.source().is_some_and(is_reset)
}

#[tokio::test]
async fn a_status_comes_with_the_documented_body_and_retry_after() {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let retry_after = Some(Duration::from_millis(1500));
    let (sandbox, token) = start_with(AuthFault::Status { status, retry_after }).await;
    let answer = authenticate(&sandbox).await;
    answer.assert_problem(status);
    assert_eq!(answer.header("retry-after"), "2");
    assert_alive(&sandbox, &token).await;
    assert_eq!(sandbox.counters().auth_refused, 0);
}

#[tokio::test]
async fn a_status_without_retry_after_has_no_such_header() {
    let (sandbox, _) =
        start_with(AuthFault::Status { status: StatusCode::CONFLICT, retry_after: None }).await;
    let answer = authenticate(&sandbox).await;
    answer.assert_problem(StatusCode::CONFLICT);
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn html_is_the_page_of_a_proxy() {
    let (sandbox, token) = start_with(AuthFault::Html(StatusCode::BAD_GATEWAY)).await;
    let answer = authenticate(&sandbox).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(answer.body.starts_with(b"<html>"));
    assert_alive(&sandbox, &token).await;
}

#[tokio::test]
async fn a_reset_before_issuing_is_a_tcp_reset_and_kills_nothing() {
    let (sandbox, token) = start_with(AuthFault::ResetBeforeIssuing).await;
    let error = try_authenticate(&sandbox).await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    assert_alive(&sandbox, &token).await;
}

#[tokio::test]
async fn a_reset_after_issuing_is_a_tcp_reset_and_kills_the_token_in_use() {
    let (sandbox, token) = start_with(AuthFault::ResetAfterIssuing).await;
    let error = try_authenticate(&sandbox).await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    assert_replaced(&sandbox, &token).await;
}

#[tokio::test]
async fn a_reset_ends_an_http_2_connection_too() {
    let (sandbox, token) = start_with(AuthFault::ResetAfterIssuing).await;
    try_send(&sandbox, true, Method::POST, "/auth", &[JSON], credentials()).await.unwrap_err();
    assert_replaced(&sandbox, &token).await;
}

#[tokio::test]
async fn without_the_sandboxs_own_listener_a_reset_is_a_500() {
    let (sandbox, token) = start_with(AuthFault::ResetAfterIssuing).await;
    let request = http::Request::post("/auth").header(JSON.0, JSON.1);
    let request = request.body(axum::body::Body::from(credentials())).unwrap();
    let response = sandbox.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_replaced(&sandbox, &token).await;
}

#[tokio::test]
async fn a_hang_never_answers_and_kills_nothing() {
    let (sandbox, token) = start_with(AuthFault::Hang).await;
    tokio::time::timeout(Duration::from_millis(200), authenticate(&sandbox)).await.err().unwrap();
    assert_eq!(sandbox.counters().auth_requests, 1);
    assert_alive(&sandbox, &token).await;
}

#[tokio::test]
async fn a_delay_ends_in_the_normal_answer() {
    let (sandbox, token) = start_with(AuthFault::Delay(Duration::from_millis(150))).await;
    let (answer, ()) = tokio::join!(authenticate(&sandbox), async {
        until(|| sandbox.counters().auth_requests == 1).await;
        assert_eq!(sandbox.counters().tokens_issued, 1);
    });
    answer.token();
    assert_replaced(&sandbox, &token).await;
}

#[tokio::test]
async fn an_empty_body_is_a_201_with_nothing_in_it() {
    let (_, answer) = spoilt(AuthFault::EmptyBody).await;
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn a_cut_body_ends_before_its_content_length() {
    for http2 in [false, true] {
        let (sandbox, old) = start_with(AuthFault::CutBody).await;
        let response =
            try_send(&sandbox, http2, Method::POST, "/auth", &[JSON], credentials()).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let promised: usize =
            response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!first.is_empty() && first.len() < promised);
        body.collect().await.unwrap_err();
        assert_replaced(&sandbox, &old).await;
    }
}

#[tokio::test]
async fn garbage_says_it_is_json_and_is_not() {
    let (_, answer) = spoilt(AuthFault::Garbage).await;
    assert_eq!(answer.header("content-type"), "application/json");
    serde_json::from_slice::<Value>(&answer.body).unwrap_err();
}

#[tokio::test]
async fn an_empty_token_is_an_empty_string() {
    let (_, answer) = spoilt(AuthFault::EmptyToken).await;
    assert_eq!(answer.json()["accessToken"], "");
    assert!(answer.json()["expiresAt"].is_string());
}

#[tokio::test]
async fn a_missing_token_leaves_the_expiry_alone() {
    let (_, answer) = spoilt(AuthFault::MissingToken).await;
    assert!(answer.json().get("accessToken").is_none());
    assert!(answer.json()["expiresAt"].is_string());
}

#[tokio::test]
async fn an_unsendable_token_has_a_line_feed_in_it() {
    let (_, answer) = spoilt(AuthFault::UnsendableToken).await;
    assert!(http::HeaderValue::from_str(&answer.token()).is_err());
    assert!(answer.token().contains('\n'));
}

#[tokio::test]
async fn a_bad_expiry_comes_with_a_good_token() {
    let (sandbox, answer) = spoilt(AuthFault::BadExpiry).await;
    assert!(answer.json()["expiresAt"].as_str().unwrap().parse::<jiff::Timestamp>().is_err());
    assert_eq!(use_token(&sandbox, &answer.token()).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn no_expiry_comes_with_a_good_token() {
    let (sandbox, answer) = spoilt(AuthFault::NoExpiry).await;
    assert!(answer.json().get("expiresAt").is_none());
    assert_eq!(use_token(&sandbox, &answer.token()).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_expired_token_says_so_and_is_refused_as_expired() {
    let (sandbox, answer) = spoilt(AuthFault::Expired).await;
    let expires_at: jiff::Timestamp = answer.json()["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(expires_at < jiff::Timestamp::now());
    let claims = insecure_decode::<Value>(answer.token()).unwrap().claims;
    assert_eq!(claims["exp"], expires_at.as_second());
    assert_eq!(use_token(&sandbox, &answer.token()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().unauthorized_expired, 1);
}

#[tokio::test]
async fn an_oversized_body_is_streamed_and_valid_when_read_whole() {
    let (sandbox, answer) = spoilt(AuthFault::Oversized).await;
    assert!(answer.body.len() > 32 * 1024 * 1024);
    assert!(!answer.headers.contains_key("content-length"));
    assert_eq!(use_token(&sandbox, &answer.token()).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_redirect_is_a_307_to_the_location() {
    let (sandbox, token) =
        start_with(AuthFault::Redirect("http://127.0.0.1:9/auth".to_owned())).await;
    let answer = authenticate(&sandbox).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), "http://127.0.0.1:9/auth");
    assert_alive(&sandbox, &token).await;
}

#[tokio::test]
async fn a_redirect_that_no_header_can_carry_is_a_500() {
    let (sandbox, _) = start_with(AuthFault::Redirect("a\nb".to_owned())).await;
    authenticate(&sandbox).await.assert_problem(StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn queued_faults_are_met_once_each_and_in_order() {
    let sandbox = start().await;
    for status in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS] {
        sandbox.fail_next_auth(AuthFault::Status { status, retry_after: None });
    }
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_standing_fault_is_met_until_it_is_lifted_and_after_queued_ones() {
    let sandbox = start().await;
    sandbox.fail_every_auth(Some(AuthFault::Html(StatusCode::BAD_GATEWAY)));
    sandbox.fail_next_auth(AuthFault::EmptyBody);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::CREATED);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::BAD_GATEWAY);
    sandbox.fail_every_auth(None);
    assert_eq!(authenticate(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_fault_of_the_answer_spares_wrong_credentials_but_is_used_up() {
    let sandbox = start().await;
    sandbox.fail_next_auth(AuthFault::Garbage);
    send(&sandbox, Method::POST, "/auth", &[JSON], "{}")
        .await
        .assert_problem(StatusCode::BAD_REQUEST);
    authenticate(&sandbox).await.token();
}
