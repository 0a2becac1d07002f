use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tower_reauth::sandbox::Sandbox;

use super::client::{JSON, authenticate, bearer, create_account, send, start, until, use_token};

const PETRA: &str = r#"{"name":"Petra"}"#;

/// A sandbox and a token of its default client.
async fn start_with_token() -> (Sandbox, String) {
    let sandbox = start().await;
    let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    (sandbox, token)
}

#[tokio::test]
async fn an_account_is_created_and_found_again() {
    let (sandbox, token) = start_with_token().await;
    let created = create_account(&sandbox, &token, &[], PETRA).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json()["name"], "Petra");
    assert_eq!(created.json()["createdAt"].as_str().unwrap().len(), 20);

    let path = format!("/accounts/{}", created.json()["id"].as_str().unwrap());
    let found = send(&sandbox, Method::GET, &path, &[("authorization", &bearer(&token))], "").await;
    assert_eq!((found.status, found.json()), (StatusCode::OK, created.json()));
    let counters = sandbox.counters();
    assert_eq!(
        (counters.resource_requests, counters.resource_ok, counters.accounts_created),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn an_account_of_another_client_is_not_found() {
    let other = "acme_0a1b2c3d-0000-4000-8000-0123456789ab";
    let sandbox = Sandbox::builder().client(other, "secret").start().await.unwrap();
    let mine = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    let theirs = sandbox.issue_elsewhere(other).unwrap();
    let created = create_account(&sandbox, &mine, &[], PETRA).await;
    let path = format!("/accounts/{}", created.json()["id"].as_str().unwrap());
    let found =
        send(&sandbox, Method::GET, &path, &[("authorization", &bearer(&theirs))], "").await;
    found.assert_problem(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let (sandbox, token) = start_with_token().await;
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let authorization = format!("{scheme} {token}");
        let answer =
            send(&sandbox, Method::POST, "/accounts", &[("authorization", &authorization)], PETRA)
                .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{scheme}");
    }
}

#[tokio::test]
async fn a_request_without_a_token_is_challenged_without_an_error() {
    let sandbox = start().await;
    for headers in
        [&[][..], &[("authorization", "Basic dTpw")][..], &[("authorization", "Bearer")][..]]
    {
        let answer = send(&sandbox, Method::POST, "/accounts", headers, PETRA).await;
        answer.assert_problem(StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized_missing, counters.accounts_created), (3, 0));
}

#[tokio::test]
async fn an_unknown_token_is_challenged_as_invalid() {
    let (sandbox, token) = start_with_token().await;
    let foreign = start_with_token().await.1;
    let (start, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{start}.{}", signature.chars().rev().collect::<String>());
    for token in ["nonsense", "a.b.c", &foreign, &forged] {
        let answer = create_account(&sandbox, token, &[], PETRA).await;
        answer.assert_problem(StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("www-authenticate"), r#"Bearer error="invalid_token""#);
    }
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized_unknown, counters.accounts_created), (4, 0));
}

#[tokio::test]
async fn accepts_says_what_a_request_with_the_token_would_meet() {
    let (sandbox, token) = start_with_token().await;
    assert!(sandbox.accepts(&token));
    let newer = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    assert!(!sandbox.accepts(&token), "replaced");
    assert!(sandbox.accepts(&newer));
    assert!(!sandbox.accepts(&bearer(&newer)), "with its scheme it is another string");
    sandbox.revoke(Sandbox::CLIENT_ID);
    assert!(!sandbox.accepts(&newer), "revoked");
    assert!(!start().await.accepts(&newer), "another sandbox's");

    let sandbox = Sandbox::builder().token_lifetime(Duration::ZERO).start().await.unwrap();
    assert!(!sandbox.accepts(&sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap()), "expired");
    assert_eq!(sandbox.counters().resource_requests, 0);
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let (sandbox, token) = start_with_token().await;
    let answer =
        create_account(&sandbox, &token, &[("authorization", &bearer(&token))], PETRA).await;
    answer.assert_problem(StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().unauthorized_unknown, 1);
}

#[tokio::test]
async fn a_request_answered_401_is_not_applied_and_can_be_sent_again() {
    let (sandbox, token) = start_with_token().await;
    sandbox.revoke(Sandbox::CLIENT_ID);
    let key = [("idempotency", "order-1")];
    create_account(&sandbox, &token, &key, PETRA).await.assert_problem(StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().accounts_created, 0);

    let token = authenticate(&sandbox).await.token();
    assert_eq!(create_account(&sandbox, &token, &key, PETRA).await.status, StatusCode::CREATED);
    let counters = sandbox.counters();
    assert_eq!((counters.accounts_created, counters.idempotent_replays), (1, 0));
}

#[tokio::test]
async fn a_token_replaced_while_a_slow_request_is_under_way_is_refused() {
    let latency = Duration::from_millis(200);
    let sandbox = Sandbox::builder().resource_latency(latency).start().await.unwrap();
    let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    let (answer, ()) = tokio::join!(create_account(&sandbox, &token, &[], PETRA), async {
        until(|| sandbox.counters().resource_requests == 1).await;
        sandbox.issue_elsewhere(Sandbox::CLIENT_ID);
    });
    answer.assert_problem(StatusCode::UNAUTHORIZED);
    let counters = sandbox.counters();
    assert_eq!((counters.unauthorized_replaced, counters.accounts_created), (1, 0));
}

#[tokio::test]
async fn a_slow_request_whose_caller_hangs_up_is_applied() {
    let sandbox =
        Sandbox::builder().resource_latency(Duration::from_millis(100)).start().await.unwrap();
    let token = sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
    let sent = create_account(&sandbox, &token, &[], PETRA);
    tokio::select! {
        _ = sent => panic!("it is answered later than it arrives"),
        // The body has been read by then, or is about to be: it came in one piece with the head.
        () = until(|| sandbox.counters().resource_requests == 1) => {}
    }
    until(|| sandbox.counters().accounts_created == 1).await;
}

#[tokio::test]
async fn the_same_key_and_body_get_the_stored_answer() {
    let (sandbox, token) = start_with_token().await;
    let key = [("idempotency", "order-1")];
    let first = create_account(&sandbox, &token, &key, PETRA).await;
    let second = create_account(&sandbox, &token, &key, PETRA).await;
    assert_eq!((second.status, &second.body), (StatusCode::CREATED, &first.body));
    let counters = sandbox.counters();
    assert_eq!((counters.accounts_created, counters.idempotent_replays), (1, 1));
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict() {
    let (sandbox, token) = start_with_token().await;
    let key = [("idempotency", "order-1")];
    create_account(&sandbox, &token, &key, PETRA).await;
    let other = create_account(&sandbox, &token, &key, r#"{"name": "Petra"}"#).await;
    other.assert_problem(StatusCode::CONFLICT);
    assert_eq!(sandbox.counters().accounts_created, 1);
}

#[tokio::test]
async fn other_keys_and_no_key_create_again() {
    let (sandbox, token) = start_with_token().await;
    for headers in
        [&[("idempotency", "a")][..], &[("idempotency", "b")], &[("idempotency", "")], &[], &[]]
    {
        assert_eq!(
            create_account(&sandbox, &token, headers, PETRA).await.status,
            StatusCode::CREATED
        );
    }
    assert_eq!(sandbox.counters().accounts_created, 5);
}

#[tokio::test]
async fn an_account_needs_a_name_and_a_well_formed_key() {
    let (sandbox, token) = start_with_token().await;
    for body in ["", "[]", "{}", r#"{"name":1}"#] {
        create_account(&sandbox, &token, &[JSON], body)
            .await
            .assert_problem(StatusCode::BAD_REQUEST);
    }
    let answer = create_account(&sandbox, &token, &[("idempotency", "a.b")], PETRA).await;
    answer.assert_problem(StatusCode::BAD_REQUEST);
    assert_eq!(sandbox.counters().resource_ok, 0);
}

#[tokio::test]
async fn a_body_over_1_mib_is_answered_413() {
    let (sandbox, token) = start_with_token().await;
    let body = json!({"name": "x".repeat(1024 * 1024)}).to_string();
    create_account(&sandbox, &token, &[], &body)
        .await
        .assert_problem(StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn unknown_paths_need_a_token_before_they_are_not_found() {
    let (sandbox, token) = start_with_token().await;
    send(&sandbox, Method::GET, "/payments", &[], "")
        .await
        .assert_problem(StatusCode::UNAUTHORIZED);
    let authorization = bearer(&token);
    let answer =
        send(&sandbox, Method::GET, "/payments", &[("authorization", &authorization)], "").await;
    answer.assert_problem(StatusCode::NOT_FOUND);
    assert_eq!(use_token(&sandbox, &token).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_wrong_method_is_answered_405_with_what_is_allowed() {
    let (sandbox, token) = start_with_token().await;
    let authorization = bearer(&token);
    let headers = [("authorization", authorization.as_str())];
    for (path, allowed) in [("/accounts", "POST"), ("/accounts/1", "GET,HEAD"), ("/auth", "POST")] {
        let answer = send(&sandbox, Method::PUT, path, &headers, "").await;
        answer.assert_problem(StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    assert_eq!(sandbox.counters().resource_requests, 2);
}
