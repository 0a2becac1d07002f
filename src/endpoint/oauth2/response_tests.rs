use http::Response;
use serde_json::json;

use super::*;
use crate::endpoint::oauth2::testing::{Server, issue};

fn fields(body: &Value) -> Result<TokenFields, NoToken> {
    read(body, &ResponseFields::default())
}

fn lifetime(value: &Value) -> Option<u64> {
    let body = json!({"access_token": "t", "expires_in": value});
    fields(&body).unwrap().expires_in.map(|it| it.as_secs())
}

#[test]
fn a_lifetime_is_a_number_or_a_numeric_string_and_otherwise_not_said() {
    for (value, expected) in [
        (json!(3600), Some(3600)),
        (json!(3600.0), Some(3600)),
        (json!(3599.9), Some(3599)),
        (json!("3600"), Some(3600)),
        (json!(" 3600 \n"), Some(3600)),
        (json!("3600.5"), Some(3600)),
        (json!(1e300), Some(u64::MAX)),
        (json!(0), None),
        (json!("0"), None),
        (json!(0.5), None),
        (json!(-1), None),
        (json!("-3600"), None),
        (json!(null), None),
        (json!("soon"), None),
        (json!(""), None),
        (json!("inf"), None),
        (json!("NaN"), None),
        (json!(true), None),
        (json!([3600]), None),
        (json!({"seconds": 3600}), None),
    ] {
        assert_eq!(lifetime(&value), expected, "{value}");
    }
    assert_eq!(fields(&json!({"access_token": "t"})).unwrap().expires_in, None);
}

#[test]
fn the_end_counts_only_if_the_lifetime_is_not_said() {
    let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    for (body, expected) in [
        (json!({"expires_on": 1_800_000_000}), at(1_800_000_000)),
        (json!({"expires_on": "1800000000"}), at(1_800_000_000)),
        (json!({"expires_at": 1_800_000_000}), at(1_800_000_000)),
        (json!({"expires_at": "2027-01-15T08:00:00Z"}), at(1_800_000_000)),
        (json!({"expires_at": "2027-01-15T09:00:00+01:00"}), at(1_800_000_000)),
        (json!({"expires_in": 0, "expires_at": "1800000000"}), at(1_800_000_000)),
        (json!({"expires_on": "x", "expires_at": "1800000000"}), at(1_800_000_000)),
        (json!({"expires_in": 60, "expires_on": 1_800_000_000}), None),
        (json!({"expires_on": 0}), None),
        (json!({"expires_at": "tomorrow"}), None),
        (json!({}), None),
    ] {
        let mut with_token = body.clone();
        with_token["access_token"] = "t".into();
        assert_eq!(fields(&with_token).unwrap().expires_at, expected, "{body}");
    }
}

#[test]
fn a_token_type_of_any_spelling_will_do_unless_it_needs_more_than_the_token() {
    for (token_type, is_sendable) in [
        (json!("Bearer"), true),
        (json!("bearer"), true),
        (json!("BEARER"), true),
        (json!("BearerToken"), true),
        (json!("urn:ietf:params:oauth:token-type:jwt"), true),
        (json!(""), true),
        (json!(null), true),
        (json!(7), true),
        (json!("mac"), false),
        (json!("MAC"), false),
        (json!("N_A"), false),
        (json!("DPoP"), false),
        (json!("dpop"), false),
    ] {
        let read = fields(&json!({"access_token": "t", "token_type": token_type}));
        assert_eq!(read.is_ok(), is_sendable, "{token_type}");
    }
    assert!(fields(&json!({"access_token": "t"})).is_ok());
}

#[test]
fn a_type_never_gets_into_the_header() {
    let body = r#"{"access_token": "t", "token_type": "BearerToken"}"#;
    let token = issue(Server::answering(200, body).builder()).unwrap();
    assert!(token.scheme.is_none(), "the cache's scheme counts");
}

#[test]
fn whatever_is_no_token_is_named() {
    for body in [
        json!({}),
        json!({"access_token": ""}),
        json!({"access_token": null}),
        json!({"access_token": 7}),
        json!({"access_token": {"value": "t"}}),
        json!({"token": "t"}),
        json!([]),
        json!("t"),
        json!(null),
    ] {
        assert!(matches!(fields(&body), Err(NoToken::Found(_))), "{body}");
        let error = issue(Server::answering(200, &body.to_string()).builder()).unwrap_err();
        assert!(error.is_invalid_response() && !error.is_transient(), "{body}: {error}");
    }
}

#[test]
fn an_error_in_a_success_is_a_refusal_even_with_a_token() {
    for (body, code) in [
        (json!({"error": "invalid_scope"}), Some("invalid_scope")),
        (json!({"error": "invalid_scope", "access_token": "t"}), Some("invalid_scope")),
        (json!({"error": "", "access_token": "t"}), None),
        (json!({"error": null, "access_token": "t"}), None),
        (json!({"error": 0, "access_token": "t"}), None),
    ] {
        match fields(&body) {
            Ok(_) => assert_eq!(code, None, "{body}"),
            Err(no_token) => {
                assert_eq!(no_token, NoToken::Refused { code: code.unwrap().into() }, "{body}");
            }
        }
    }
}

#[test]
fn any_2xx_and_any_content_type_brings_a_token_and_a_form_only_where_it_may() {
    let json = r#"{"access_token": "t", "expires_in": "60"}"#;
    let form = "access_token=t&expires_in=60&token_type=bearer";
    for (status, content_type, body, is_token) in [
        (200, "application/json", json, true),
        (201, "application/json;charset=UTF-8", json, true),
        (202, "text/html", json, true),
        (203, "text/plain", json, true),
        (200, "application/x-www-form-urlencoded", json, true),
        (200, "application/x-www-form-urlencoded; charset=utf-8", form, true),
        (200, "Text/Plain", form, true),
        (200, "application/json", form, false),
        (200, "text/html", form, false),
        (200, "text/plain", "try=again later", false),
        (204, "application/json", "", false),
        (200, "text/html", "<html>a=b</html>", false),
    ] {
        let server = Server::default().then(status, content_type, body);
        let token = issue(server.builder());
        assert_eq!(token.is_ok(), is_token, "{status} {content_type} {body}");
        if let Ok(token) = token {
            assert_eq!(token.expires_in, Some(Duration::from_secs(60)));
        }
    }
}

#[test]
fn a_response_is_dated_and_tells_when_to_renew() {
    let body = r#"{"access_token": "t", "expires_in": 86399, "refresh_in": "43199"}"#;
    let response = Response::builder().header("date", "Tue, 24 Nov 2026 02:44:00 GMT");
    let server = Server::default().then_this(response.body(body.to_owned()).unwrap());
    let token = issue(server.builder()).unwrap();
    assert_eq!(token.renew_in, Some(Duration::from_secs(43_199)));
    assert!(token.server_date.is_some());
    assert_eq!(token.assumed_lifetime, Some(Duration::from_secs(3600)));
}

#[test]
fn the_other_fields_are_kept_unless_they_may_be_secret() {
    let body = json!({
        "access_token": "t", "token_type": "Bearer", "expires_in": 7200, "scope": "a b",
        "instance_url": "https://eu7.example.com", "issued_at": 1_800_000_000, "sandbox": true,
        "refresh_token": "r", "id_token": "i", "ID_TOKEN": "i", "client_secret": "s", "key": "t",
        "nested": {"a": 1}, "list": [1], "nothing": null,
    });
    let granted = fields(&body).unwrap().granted;
    assert_eq!(granted.scope(), Some("a b"));
    assert_eq!(granted.token_type(), Some("Bearer"));
    assert_eq!(granted.extra("instance_url"), Some("https://eu7.example.com"));
    assert_eq!(granted.extra("issued_at"), Some("1800000000"));
    let names: Vec<_> = granted.extra.keys().map(String::as_str).collect();
    assert_eq!(names, ["instance_url", "issued_at", "sandbox"]);
    assert!(!format!("{granted:?}").contains("eu7"), "{granted:?}");
}

#[test]
fn a_scope_that_was_not_granted_fails_only_where_that_is_wanted() {
    for (granted, wanted, is_token) in [
        (r#", "scope": "read""#, true, false),
        (r#", "scope": """#, true, false),
        (r#", "scope": "write  admin read""#, true, true),
        (r#", "scope": "readwrite""#, true, false),
        ("", true, true),
        (r#", "scope": null"#, true, true),
        (r#", "scope": "read""#, false, true),
    ] {
        let server = Server::answering(200, &format!(r#"{{"access_token": "t"{granted}}}"#));
        let builder = server.builder().scope("read write");
        let builder = if wanted { builder.require_scope() } else { builder };
        let token = issue(builder);
        assert_eq!(token.is_ok(), is_token, "{granted} {wanted}");
        if let Err(error) = token {
            let text = error.to_string();
            assert!(error.is_permanent() && text.contains(r#""read write""#), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn a_provider_may_have_names_of_its_own() {
    let lark = || {
        ResponseFields::default()
            .access_token("/tenant_access_token")
            .expires_in("/expire")
            .success_code("/code", 0)
            .transient_codes([99_991_400])
    };
    let issued =
        |status, body: &str| issue(Server::answering(status, body).builder().fields(lark()));
    let body = r#"{"code": 0, "msg": "ok", "tenant_access_token": "t", "expire": 7140}"#;
    let token = issued(200, body).unwrap();
    assert_eq!(token.expires_in, Some(Duration::from_secs(7140)));
    for status in [200, 400] {
        let refused = issued(status, r#"{"code": 10003, "msg": "invalid param"}"#).unwrap_err();
        assert!(refused.is_rejected(), "{refused}");
        assert_eq!(refused.code(), Some("10003"));
        let busy = issued(status, r#"{"code": 99991400, "msg": "too often"}"#).unwrap_err();
        assert!(busy.is_transient(), "{busy}");
    }
    let vault = ResponseFields::default()
        .access_token("/auth/client_token")
        .expires_in("/auth/lease_duration");
    let body = r#"{"auth": {"client_token": "hvs.x", "lease_duration": 1200}}"#;
    let token = issue(Server::answering(200, body).builder().fields(vault)).unwrap();
    assert_eq!(token.expires_in, Some(Duration::from_secs(1200)));
}
