use http::{Method, StatusCode};
use tower_reauth::sandbox::{AuthMethod, OAuth2Client, OAuth2Server};

use super::client::{BASIC, FORM, GRANT, POST, post, post_form, start, try_send, use_token};

#[tokio::test]
async fn a_client_gets_a_token_by_basic_and_by_post_and_the_resource_tells_which() {
    let server = start().await;
    for (number, (headers, body)) in
        [(&[FORM, BASIC][..], GRANT.to_owned()), (&[FORM], format!("{GRANT}&{POST}"))]
            .into_iter()
            .enumerate()
    {
        let answer = post(&server, headers, format!("{body}&scope=a+b&resource=https%3A%2F%2Fx"));
        let answer = answer.await;
        let token = answer.bearer();
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.json()["expires_in"], 3600);
        assert_eq!(answer.json()["scope"], "a b");

        let seen = use_token(&server, &token).await.json();
        assert_eq!(seen["token"], number + 1);
        assert_eq!(seen["client_id"], OAuth2Server::CLIENT_ID);
        assert_eq!((&seen["scope"], &seen["audience"][0]), (&"a b".into(), &"https://x".into()));
        assert_eq!(server.token_number(&token), Some(number as u64 + 1));
    }
    let requests = server.token_requests();
    assert_eq!(
        requests.iter().map(|request| request.method().unwrap()).collect::<Vec<_>>(),
        [AuthMethod::Basic, AuthMethod::Post]
    );
    assert_eq!(requests[0].names().collect::<Vec<_>>(), ["grant_type", "scope", "resource"]);
    assert_eq!(requests[1].param("client_secret"), Some(OAuth2Server::CLIENT_SECRET));
    assert!(!format!("{requests:?} {server:?}").contains("secret%+"));
    let counters = server.counters();
    assert_eq!((counters.token_requests, counters.tokens_issued, counters.resource_ok), (2, 2, 2));
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_gets_its_error() {
    let server = OAuth2Server::builder()
        .client(OAuth2Client::with_secret("only-basic", "s").method(AuthMethod::Basic))
        .client(OAuth2Client::with_secret("few", "s").grants(["refresh_token"]).scopes(["a", "b"]))
        .client(OAuth2Client::public("public"))
        .start()
        .await
        .unwrap();
    let json = ("content-type", "application/json");
    let charset = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let post_as = |id: &str| format!("{GRANT}&client_id={id}&client_secret=s");
    // Not form-encoded before base64: `demo client/1:sandbox:secret%+`.
    let raw = ("authorization", "Basic ZGVtbyBjbGllbnQvMTpzYW5kYm94OnNlY3JldCUr");
    let wrong = ("authorization", "Basic ZGVtbytjbGllbnQlMkYxOndyb25n");
    for (headers, body, status, code, why) in [
        (&[][..], GRANT.to_owned(), 400, "invalid_request", "content type"),
        (&[json, BASIC], "{}".to_owned(), 400, "invalid_request", "content type"),
        (&[charset, BASIC], GRANT.to_owned(), 400, "invalid_request", "content type"),
        (&[FORM, FORM, BASIC], GRANT.to_owned(), 400, "invalid_request", "content type"),
        (&[FORM, BASIC], "grant_type=a b".to_owned(), 400, "invalid_request", "percent-encoded"),
        (&[FORM, BASIC], "grant_type=%zz".to_owned(), 400, "invalid_request", "hexadecimal"),
        (&[FORM, BASIC], String::new(), 400, "invalid_request", "grant_type"),
        (&[FORM, BASIC], "grant_type=".to_owned(), 400, "invalid_request", "grant_type"),
        (&[FORM, BASIC], format!("{GRANT}&{GRANT}"), 400, "invalid_request", "more than once"),
        (&[FORM, BASIC], format!("{GRANT}&a=1&a=1"), 400, "invalid_request", "more than once"),
        (&[FORM, BASIC], format!("{GRANT}&{POST}"), 400, "invalid_request", "more than one client"),
        (&[FORM, BASIC, BASIC], GRANT.to_owned(), 400, "invalid_request", "several"),
        (&[FORM, BASIC], format!("{GRANT}&client_id=x"), 400, "invalid_request", "in the header"),
        (&[FORM], format!("{GRANT}&client_secret=s"), 400, "invalid_request", "client_id"),
        (&[FORM, raw], GRANT.to_owned(), 401, "invalid_client", "form-encoded"),
        (&[FORM, wrong], GRANT.to_owned(), 401, "invalid_client", "secret is wrong"),
        (&[FORM], GRANT.to_owned(), 401, "invalid_client", "no client authentication"),
        (&[FORM], post_as("nobody"), 401, "invalid_client", "unknown"),
        (&[FORM], post_as("only-basic"), 401, "invalid_client", "registered for client_secret_bas"),
        (&[FORM], format!("{GRANT}&client_id=few"), 401, "invalid_client", "registered for"),
        (&[FORM], format!("{GRANT}&client_id=public"), 400, "unauthorized_client", "public"),
        (&[FORM], post_as("few"), 400, "unauthorized_client", "grant"),
        (&[FORM, BASIC], "grant_type=password".to_owned(), 400, "unsupported_grant_type", ""),
        (&[FORM, BASIC], format!("{GRANT}&scope=a++b"), 400, "invalid_scope", "one space"),
        (&[FORM, BASIC], format!("{GRANT}&scope=%22"), 400, "invalid_scope", "ASCII"),
        (&[FORM, BASIC], format!("{GRANT}&resource=api"), 400, "invalid_target", "absolute"),
        (
            &[FORM, BASIC],
            format!("{GRANT}&resource=https%3A%2F%2Fx%23y"),
            400,
            "invalid_target",
            "fragment",
        ),
    ] {
        post(&server, headers, body).await.assert_error(status, code, why);
    }
    let counters = server.counters();
    assert_eq!(counters.token_requests_refused, counters.token_requests);
    assert_eq!(counters.tokens_issued, 0);
}

#[tokio::test]
async fn credentials_in_the_query_are_refused_and_other_parameters_are_not() {
    let server = start().await;
    for (query, refused) in [("api-version=1", false), ("client_id=x", true)] {
        let url = format!("{}?{query}", server.token_uri());
        let answer = try_send(Method::POST, url, &[FORM, BASIC], GRANT).await.unwrap();
        assert_eq!(answer.status == StatusCode::BAD_REQUEST, refused, "{query}");
    }
}

#[tokio::test]
async fn a_body_of_more_than_1_mib_and_another_method_are_refused() {
    let server = start().await;
    let large = format!("{GRANT}&x={}", "x".repeat(1024 * 1024));
    post(&server, &[FORM, BASIC], large).await.assert_error(413, "invalid_request", "1 MiB");
    let got = try_send(Method::GET, server.token_uri(), &[], "").await.unwrap();
    got.assert_error(405, "invalid_request", "method");
}

#[tokio::test]
async fn json_is_taken_only_by_a_server_that_says_so() {
    let server = OAuth2Server::builder().takes_json().start().await.unwrap();
    let body = serde_json::json!({
        "grant_type": "client_credentials",
        "client_id": OAuth2Server::CLIENT_ID,
        "client_secret": OAuth2Server::CLIENT_SECRET,
        "resource": ["https://a", "https://b"],
    });
    let headers = [("content-type", "application/json")];
    post(&server, &headers, body.to_string()).await.bearer();
    let requests = server.token_requests();
    let resources = requests[0].params("resource").collect::<Vec<_>>();
    assert_eq!(resources, ["https://a", "https://b"]);
    post(&server, &headers, "{\"grant_type\": 1}").await.assert_error(400, "invalid_request", "");
}

#[tokio::test]
async fn scopes_audiences_and_resources_are_those_that_are_registered() {
    let server = OAuth2Server::builder()
        .client(OAuth2Client::with_secret("few", "s").scopes(["a", "b"]))
        .audience("https://api.example.com")
        .resource("https://files.example.com")
        .start()
        .await
        .unwrap();
    let send = |more: &str| {
        let body = format!("{GRANT}&client_id=few&client_secret=s{more}");
        let server = &server;
        async move { post(server, &[FORM], body).await }
    };
    let audience = "&audience=https%3A%2F%2Fapi.example.com";
    let all = send(audience).await;
    all.bearer();
    assert_eq!(all.json()["scope"], "a b", "none asked for: all that are registered");
    send(&format!("{audience}&scope=b")).await.bearer();
    send(&format!("{audience}&scope=c")).await.assert_error(400, "invalid_scope", "may not");
    send("").await.assert_error(400, "invalid_target", "audience is needed");
    send("&audience=x").await.assert_error(400, "invalid_target", "audience is unknown");
    let files = "&resource=https%3A%2F%2Ffiles.example.com";
    send(&format!("{audience}{files}")).await.bearer();
    let other = format!("{audience}{files}&resource=https%3A%2F%2Fother.example.com");
    send(&other).await.assert_error(400, "invalid_target", "resource is unknown");
}

#[tokio::test]
async fn the_resource_refuses_what_is_no_living_token() {
    let server = start().await;
    let token = post_form(&server, GRANT).await.bearer();
    let url = format!("{}/x", server.base_url());
    let bare = try_send(Method::GET, url.clone(), &[], "").await.unwrap();
    assert_eq!((bare.status.as_u16(), bare.header("www-authenticate")), (401, "Bearer"));
    for headers in [&[BASIC][..], &[("authorization", "Bearer a"), ("authorization", "Bearer a")]] {
        let answer = try_send(Method::GET, url.clone(), headers, "").await.unwrap();
        assert_eq!(answer.status, 401);
    }
    assert_eq!(use_token(&server, &token).await.status, 200);
    server.revoke(OAuth2Server::CLIENT_ID);
    let dead = use_token(&server, &token).await;
    assert_eq!(dead.status, 401);
    assert_eq!(dead.header("www-authenticate"), r#"Bearer error="invalid_token""#);
    let counters = server.counters();
    assert_eq!((counters.unauthorized_missing, counters.unauthorized_token), (3, 1));
}

#[tokio::test]
async fn a_secret_that_is_changed_is_wrong_from_then_on_and_kills_no_token() {
    let server = start().await;
    let token = post(&server, &[FORM, BASIC], GRANT).await.bearer();
    assert!(server.change_secret(OAuth2Server::CLIENT_ID, "another"));
    let refused = post(&server, &[FORM, BASIC], GRANT).await;
    refused.assert_error(401, "invalid_client", "the secret is wrong");
    assert_eq!(use_token(&server, &token).await.status, 200);
    let body = format!("{GRANT}&client_id=demo+client%2F1&client_secret=another");
    post(&server, &[FORM], body).await.bearer();
    assert!(!server.change_secret("nobody", "another"));
}
