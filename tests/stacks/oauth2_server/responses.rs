use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, header};
use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};
use tower_reauth::sandbox::{Issuance, OAuth2Server, ScriptedResponse};

use super::client::{FORM, GRANT, POST, post, post_form, start, try_send, use_token};

#[tokio::test]
async fn every_oddity_of_a_token_response_can_be_asked_for() {
    let server = start().await;
    for value in [
        json!("3599"),
        json!(" 3599 "),
        json!(3599.9),
        json!(null),
        json!(0),
        json!(-1),
        json!("x"),
    ] {
        server.respond_next(ScriptedResponse::token().field("expires_in", value.clone()));
        assert_eq!(post_form(&server, GRANT).await.json()["expires_in"], value);
    }
    let odd = ScriptedResponse::token().without("expires_in").without("token_type");
    server.respond_next(odd.status(StatusCode::ACCEPTED).field("refresh_in", 60));
    let answer = post_form(&server, GRANT).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    let body = body.as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["access_token", "refresh_in"]);

    server.respond_next(ScriptedResponse::token().byte_order_mark());
    assert!(post_form(&server, GRANT).await.body.starts_with(b"\xef\xbb\xbf{"));
    server.respond_next(ScriptedResponse::token().form().field("scope", "a b"));
    let form = post_form(&server, GRANT).await;
    assert_eq!(form.header("content-type"), FORM.1);
    assert!(form.body.ends_with(b"&scope=a+b&token_type=Bearer"), "{:?}", form.body);
    assert_eq!(server.counters().tokens_issued, 10);
}

#[tokio::test]
async fn every_error_can_be_asked_for_and_issues_nothing() {
    let server = start().await;
    let nonce = ScriptedResponse::error(StatusCode::BAD_REQUEST, "use_dpop_nonce");
    let nonce = nonce.header("dpop-nonce".parse().unwrap(), HeaderValue::from_static("n-1"));
    server.respond_next(nonce);
    server.respond_next(ScriptedResponse::error(StatusCode::OK, "invalid_client"));
    server.respond_next(
        ScriptedResponse::error(StatusCode::BAD_REQUEST, "slow_down")
            .field("error_description", "too often")
            .retry_after(Duration::from_millis(4200)),
    );
    server.respond_every(Some(ScriptedResponse::page(StatusCode::FORBIDDEN)));
    let answer = post_form(&server, GRANT).await;
    assert_eq!((answer.status.as_u16(), answer.header("dpop-nonce")), (400, "n-1"));
    let answer = post_form(&server, GRANT).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"error": "invalid_client"})));
    let answer = post_form(&server, GRANT).await;
    assert_eq!((answer.header("retry-after"), answer.json()["error_description"].as_str()), {
        ("5", Some("too often"))
    });
    // Even to a request that breaks every rule.
    for _ in 0..2 {
        let answer = post(&server, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (403, "text/html"));
    }
    server.respond_every(None);
    server.respond_next(ScriptedResponse::empty(StatusCode::SERVICE_UNAVAILABLE));
    assert!(post_form(&server, GRANT).await.body.is_empty());
    assert_eq!(server.counters().tokens_issued, 0);
    post_form(&server, GRANT).await.bearer();
}

#[tokio::test]
async fn a_scripted_token_does_not_excuse_a_request_that_breaks_a_rule() {
    let server = start().await;
    server.respond_next(ScriptedResponse::token().field("expires_in", "60"));
    post(&server, &[FORM], GRANT).await.assert_error(401, "invalid_client", "");
    assert_eq!(post_form(&server, GRANT).await.json()["expires_in"], 3600);
}

#[tokio::test]
async fn a_response_can_be_lost_before_and_after_a_token_is_issued() {
    let server = start().await;
    for (response, issued) in
        [(ScriptedResponse::reset(), 0), (ScriptedResponse::token().lost(), 1)]
    {
        server.respond_next(response);
        let body = format!("{GRANT}&{POST}");
        assert!(try_send(Method::POST, server.token_uri(), &[FORM], body).await.is_err());
        assert_eq!(server.counters().tokens_issued, issued);
    }
    server.respond_next(ScriptedResponse::hang());
    tokio::select! {
        _ = post_form(&server, GRANT) => panic!("it never answers"),
        () = async {
            while server.token_requests().len() < 3 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
}

#[tokio::test]
async fn a_new_token_leaves_the_old_one_alone_unless_they_are_exclusive_or_the_same() {
    for (issuance, old_lives, same) in [
        (Issuance::Overlapping, true, false),
        (Issuance::Exclusive, false, false),
        (Issuance::Same, true, true),
    ] {
        let server = OAuth2Server::builder().issuance(issuance).start().await.unwrap();
        let old = post_form(&server, GRANT).await.bearer();
        let new = post_form(&server, GRANT).await.bearer();
        assert_eq!(use_token(&server, &old).await.status == 200, old_lives, "{issuance:?}");
        assert_eq!(use_token(&server, &new).await.status, 200);
        assert_eq!(old == new, same);
        let other = post_form(&server, &format!("{GRANT}&scope=a")).await.bearer();
        assert_ne!(other, new);

        server.refuse_at_resource(OAuth2Server::CLIENT_ID);
        assert_eq!(use_token(&server, &new).await.status, 401);
        let next = post_form(&server, GRANT).await.bearer();
        assert_eq!(next == new, same, "the endpoint does not know");
        server.revoke(OAuth2Server::CLIENT_ID);
        assert_ne!(post_form(&server, GRANT).await.bearer(), next, "and now it does");
    }
}

#[tokio::test]
async fn a_token_is_dead_from_its_end_on() {
    let lifetime = Duration::ZERO;
    let server = OAuth2Server::builder().token_lifetime(lifetime).start().await.unwrap();
    let token = post_form(&server, GRANT).await.bearer();
    assert_eq!(use_token(&server, &token).await.status, 401);
}

#[tokio::test]
async fn tokens_can_be_jwts_and_the_clock_can_be_wrong() {
    let hour = Duration::from_secs(3600);
    let server = OAuth2Server::builder().jwt_tokens().clock_behind(hour).start().await.unwrap();
    let answer = post_form(&server, &format!("{GRANT}&scope=a")).await;
    let token = answer.bearer();
    let decoded = insecure_decode::<Value>(&token).unwrap();
    assert_eq!(decoded.header.typ.as_deref(), Some("at+jwt"));
    let claims = decoded.claims;
    assert_eq!((&claims["iss"], &claims["scope"]), (&server.issuer().into(), &"a".into()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(claims["exp"].as_u64().unwrap().abs_diff(now) < 5);
    let date = httpdate::parse_http_date(answer.header("date")).unwrap();
    assert!(
        SystemTime::now().duration_since(date).unwrap().abs_diff(hour) < Duration::from_secs(5)
    );
    assert_eq!(use_token(&server, &token).await.status, 200);

    let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");
    server.respond_next(ScriptedResponse::token().header(header::DATE, date.clone()));
    assert_eq!(post_form(&server, GRANT).await.header("date"), date);
}

#[tokio::test]
async fn the_metadata_is_at_both_places_and_can_be_wrong() {
    let builder = || OAuth2Server::builder().issuer_path("/tenant/1");
    for (builder, issuer) in [
        (builder(), None),
        (
            builder().metadata_field("issuer", "https://evil.example.com"),
            Some("https://evil.example.com"),
        ),
    ] {
        let server = builder.start().await.unwrap();
        for path in [
            "/.well-known/oauth-authorization-server/tenant/1",
            "/tenant/1/.well-known/openid-configuration",
        ] {
            let url = format!("{}{path}", server.base_url());
            let answer = try_send(Method::GET, url, &[], "").await.unwrap().json();
            let expected = issuer.map_or_else(|| server.issuer(), str::to_owned);
            assert_eq!(answer["issuer"], expected);
            assert_eq!(answer["token_endpoint"], server.token_uri());
            assert_eq!(
                answer["token_endpoint_auth_methods_supported"],
                json!(["client_secret_basic", "client_secret_post"])
            );
        }
        assert_eq!(server.counters().metadata_requests, 2);
    }
}
