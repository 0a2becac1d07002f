use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode};
use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};
use tower_reauth::sandbox::Sandbox;

use super::client::{
    JSON, authenticate, create_account, credentials, send, start, until, use_token,
};

fn claims(token: &str) -> Value {
    insecure_decode::<Value>(token).unwrap().claims
}

fn seconds_from_now(date: &str) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    date.parse::<jiff::Timestamp>().unwrap().as_second() - i64::try_from(now).unwrap()
}

#[tokio::test]
async fn answers_201_with_a_jwt_and_an_expiry_of_20_characters() {
    let sandbox = start().await;
    let answer = authenticate(&sandbox).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let body = answer.json();
    let expires_at = body["expiresAt"].as_str().unwrap();
    assert_eq!((expires_at.len(), expires_at.ends_with('Z')), (20, true));
    assert!((298..=300).contains(&seconds_from_now(expires_at)));

    let claims = claims(&answer.token());
    assert_eq!(claims["sub"], Sandbox::CLIENT_ID);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert_eq!(claims["exp"], expires_at.parse::<jiff::Timestamp>().unwrap().as_second());
    assert!(claims["jti"].is_string());
    assert_eq!(claims["services"], json!(["accounts", "payments"]));
}

#[tokio::test]
async fn is_never_idempotent() {
    let sandbox = start().await;
    let headers = [JSON, ("idempotency", "a key-_+=/ 1")];
    let first = send(&sandbox, Method::POST, "/auth", &headers, credentials()).await.token();
    let second = send(&sandbox, Method::POST, "/auth", &headers, credentials()).await.token();
    assert_ne!(first, second);
    assert_eq!(use_token(&sandbox, &second).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_new_token_kills_the_one_before_it() {
    let sandbox = start().await;
    let first = authenticate(&sandbox).await.token();
    assert_eq!(use_token(&sandbox, &first).await, StatusCode::NOT_FOUND);
    let second = authenticate(&sandbox).await.token();
    assert_eq!(use_token(&sandbox, &first).await, StatusCode::UNAUTHORIZED);
    assert_eq!(use_token(&sandbox, &second).await, StatusCode::NOT_FOUND);
    assert_eq!(sandbox.counters().unauthorized_replaced, 1);
}

#[tokio::test]
async fn a_new_token_leaves_other_clients_alone() {
    let other = "acme_0a1b2c3d-0000-4000-8000-0123456789ab";
    let sandbox = Sandbox::builder().client(other, "secret").start().await.unwrap();
    let token = authenticate(&sandbox).await.token();
    let body = json!({"clientId": other, "clientSecret": "secret"}).to_string();
    send(&sandbox, Method::POST, "/auth", &[JSON], body).await.token();
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_asked_for_elsewhere_kills_the_one_in_use() {
    let sandbox = start().await;
    let token = authenticate(&sandbox).await.token();
    let other = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(use_token(&sandbox, &other).await, StatusCode::NOT_FOUND);
    assert_eq!(sandbox.issue_elsewhere("nobody"), None);
    let counters = sandbox.counters();
    assert_eq!((counters.auth_requests, counters.tokens_issued), (1, 2));
}

#[tokio::test]
async fn a_revoked_token_is_dead() {
    let sandbox = start().await;
    assert!(!sandbox.revoke(Sandbox::CLIENT_ID));
    let token = authenticate(&sandbox).await.token();
    assert!(sandbox.revoke(Sandbox::CLIENT_ID));
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().unauthorized_replaced, 1);
    // A new one can be had as ever.
    let token = authenticate(&sandbox).await.token();
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_secret_that_is_changed_is_wrong_from_then_on_and_kills_no_token() {
    let sandbox = start().await;
    let token = authenticate(&sandbox).await.token();
    assert!(sandbox.change_secret(Sandbox::CLIENT_ID, "another"));
    let refused = send(&sandbox, Method::POST, "/auth", &[JSON], credentials()).await;
    refused.assert_problem(StatusCode::UNAUTHORIZED);
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::NOT_FOUND);
    let body = json!({"clientId": Sandbox::CLIENT_ID, "clientSecret": "another"}).to_string();
    let new = send(&sandbox, Method::POST, "/auth", &[JSON], body).await.token();
    assert_eq!(use_token(&sandbox, &new).await, StatusCode::NOT_FOUND);
    assert!(!sandbox.change_secret("nobody", "another"));
    assert_eq!(sandbox.counters().auth_refused, 1);
}

#[tokio::test]
async fn a_token_is_dead_from_its_exp_on() {
    let sandbox =
        Sandbox::builder().token_lifetime(Duration::from_millis(900)).start().await.unwrap();
    let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    // The lifetime is rounded up to one whole second, so that `exp` is at most one second away.
    let issued = Instant::now();
    until(|| issued.elapsed() > Duration::from_millis(1010)).await;
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().unauthorized_expired, 1);
}

#[tokio::test]
async fn a_token_with_no_life_is_dead_at_once() {
    let sandbox = Sandbox::builder().token_lifetime(Duration::ZERO).start().await.unwrap();
    let token = authenticate(&sandbox).await.token();
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().unauthorized_expired, 1);
}

#[tokio::test]
async fn a_wrong_clock_moves_every_date_together_and_tokens_still_work() {
    let hour = Duration::from_secs(3600);
    for (builder, expected) in [
        (Sandbox::builder().clock_ahead(hour), 3600),
        (Sandbox::builder().clock_behind(hour), -3600),
    ] {
        let sandbox = builder.start().await.unwrap();
        let answer = authenticate(&sandbox).await;
        let date = httpdate::parse_http_date(answer.header("date")).unwrap();
        let iat = claims(&answer.token())["iat"].as_i64().unwrap();
        let date =
            i64::try_from(date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
        assert!((date - iat).abs() <= 1);
        let expires = seconds_from_now(answer.json()["expiresAt"].as_str().unwrap());
        assert!((expires - 300 - expected).abs() <= 2, "{expires}");
        let account = create_account(&sandbox, &answer.token(), &[], r#"{"name":"Petra"}"#).await;
        assert_eq!(account.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn wrong_credentials_are_answered_401_and_kill_nothing() {
    let sandbox = start().await;
    let token = authenticate(&sandbox).await.token();
    for (id, secret) in [
        (Sandbox::CLIENT_ID, "wrong"),
        ("demo_00000000-0000-4000-8000-00000000000f", Sandbox::CLIENT_SECRET),
    ] {
        let body = json!({"clientId": id, "clientSecret": secret}).to_string();
        send(&sandbox, Method::POST, "/auth", &[JSON], body)
            .await
            .assert_problem(StatusCode::UNAUTHORIZED);
    }
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::NOT_FOUND);
    let counters = sandbox.counters();
    assert_eq!((counters.auth_requests, counters.auth_refused, counters.tokens_issued), (3, 2, 1));
}

#[tokio::test]
async fn malformed_bodies_are_answered_400() {
    let sandbox = start().await;
    let long = format!("{}{}", "x".repeat(60), Sandbox::CLIENT_ID);
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({"clientId": Sandbox::CLIENT_ID}).to_string(),
        json!({"clientSecret": "s"}).to_string(),
        json!({"clientId": 1, "clientSecret": "s"}).to_string(),
        json!({"clientId": Sandbox::CLIENT_ID, "clientSecret": null}).to_string(),
        json!({"clientId": "5e505642-9024-474d-9434-e5a44f505cc", "clientSecret": "s"}).to_string(),
        json!({"clientId": "demo_00000000", "clientSecret": "s"}).to_string(),
        json!({"clientId": long, "clientSecret": "s"}).to_string(),
    ] {
        let answer = send(&sandbox, Method::POST, "/auth", &[JSON], body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        answer.assert_problem(StatusCode::BAD_REQUEST);
    }
    assert_eq!(sandbox.counters().tokens_issued, 0);
}

#[tokio::test]
async fn a_content_type_other_than_json_is_answered_400() {
    let sandbox = start().await;
    for headers in [&[][..], &[("content-type", "text/plain")][..]] {
        send(&sandbox, Method::POST, "/auth", headers, credentials())
            .await
            .assert_problem(StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn an_idempotency_key_outside_the_pattern_is_answered_400() {
    let sandbox = start().await;
    let long = "k".repeat(37);
    for key in ["a.b", "k\u{e4}", long.as_str()] {
        let answer =
            send(&sandbox, Method::POST, "/auth", &[JSON, ("idempotency", key)], credentials())
                .await;
        answer.assert_problem(StatusCode::BAD_REQUEST);
    }
    let longest = "k".repeat(36);
    send(&sandbox, Method::POST, "/auth", &[JSON, ("idempotency", &longest)], credentials())
        .await
        .token();
}

#[tokio::test]
async fn a_body_over_1_mib_is_answered_413() {
    let sandbox = start().await;
    let answer = send(&sandbox, Method::POST, "/auth", &[JSON], " ".repeat(1024 * 1024 + 1)).await;
    answer.assert_problem(StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(sandbox.counters().auth_refused, 1);
}

#[tokio::test]
async fn latency_is_waited_for_before_a_token_is_issued() {
    let latency = Duration::from_millis(150);
    let sandbox = Sandbox::builder().auth_latency(latency).start().await.unwrap();
    let (answer, ()) = tokio::join!(authenticate(&sandbox), async {
        until(|| sandbox.counters().auth_requests == 1).await;
        assert_eq!(sandbox.counters().tokens_issued, 0);
    });
    answer.token();
    assert_eq!(sandbox.counters().tokens_issued, 1);
}

#[tokio::test]
async fn a_request_whose_caller_hangs_up_is_carried_out() {
    let sandbox =
        Sandbox::builder().auth_latency(Duration::from_millis(100)).start().await.unwrap();
    let old = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    tokio::select! {
        _ = authenticate(&sandbox) => panic!("it is answered later than it arrives"),
        () = until(|| sandbox.counters().auth_requests == 1) => {}
    }
    until(|| sandbox.counters().tokens_issued == 2).await;
    assert_eq!(use_token(&sandbox, &old).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_most_requests_under_way_at_once_are_counted() {
    let sandbox =
        Sandbox::builder().auth_latency(Duration::from_millis(200)).start().await.unwrap();
    authenticate(&sandbox).await;
    assert_eq!(sandbox.counters().auth_in_flight_max, 1);
    tokio::join!(authenticate(&sandbox), authenticate(&sandbox), authenticate(&sandbox));
    assert_eq!(sandbox.counters().auth_in_flight_max, 3);
}
