use tower_reauth::sandbox::{OAuth2Client, OAuth2Server};

use super::client::{FORM, form, post, post_form, start, use_token};

#[tokio::test]
async fn a_grant_is_known_by_its_name_once_it_is_added() {
    let body = "grant_type=account_credentials&account_id=1";
    post_form(&start().await, body).await.assert_error(400, "unsupported_grant_type", "");
    let server = OAuth2Server::builder().grant("account_credentials").start().await.unwrap();
    post_form(&server, body).await.bearer();
    assert_eq!(server.token_requests()[0].param("account_id"), Some("1"));
}

#[tokio::test]
async fn a_refresh_token_is_replaced_at_each_use() {
    let server = OAuth2Server::builder()
        .client(OAuth2Client::public("app"))
        .refresh_token("app", "first")
        .start()
        .await
        .unwrap();
    let send = |token: &str| {
        let body = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
        let server = &server;
        async move { post(server, &[FORM], body).await }
    };
    let answer = send("first").await;
    let token = answer.bearer();
    assert_eq!(use_token(&server, &token).await.json()["client_id"], "app");
    let next = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    send("first").await.assert_error(400, "invalid_grant", "was used");
    send(&next).await.bearer();
    // Another client's.
    let body = "grant_type=refresh_token&refresh_token=first";
    post_form(&server, body).await.assert_error(400, "invalid_grant", "");
    post_form(&server, "grant_type=refresh_token").await.assert_error(
        400,
        "invalid_request",
        "refresh_token is missing",
    );
}

#[tokio::test]
async fn a_token_is_exchanged_if_it_is_known_and_its_type_is_told() {
    let server = OAuth2Server::builder().subject_token("theirs").start().await.unwrap();
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    let token = ("subject_token", "theirs");
    let kind = ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt");
    let answer = post_form(&server, &form(&[grant, token, kind])).await;
    answer.bearer();
    assert_eq!(answer.json()["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    for (pairs, why) in [
        (&[grant, token][..], "subject_token_type"),
        (&[grant, kind], "subject_token is missing"),
        (&[grant, ("subject_token", "other"), kind], "not acceptable"),
        (&[grant, token, kind, ("actor_token", "x")], "actor_token"),
    ] {
        post_form(&server, &form(pairs)).await.assert_error(400, "invalid_request", why);
    }
}
