use http::HeaderValue;

use super::*;

const SECRET: &str = "s3cret-of-the-client";

fn response(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> TokenResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    TokenResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Zeroizing::new(body.into()),
    }
}

fn refusal(status: u16, body: &str) -> AuthError {
    response(status, "application/json", body).refusal(SECRET)
}

#[test]
fn an_html_page_is_named_by_status_and_content_type_and_not_quoted() {
    let page = "<html>the proxy quotes s3cret-of-the-client and more</html>";
    let error = response(502, "text/html", page).refusal(SECRET);
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 502 Bad Gateway, text/html; try again later"
    );
    let error = response(201, "text/html", page).json::<serde_json::Value>().unwrap_err();
    assert!(error.is_invalid_response());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 201 Created with something that is not JSON, text/html; \
         check its address"
    );
}

#[test]
fn the_documented_message_and_types_are_shown() {
    let body = r#"{
        "message": "Invalid input",
        "errors": [{"message": "x", "type": "string.pattern"}, {"type": "b"}]
    }"#;
    let error = refusal(400, body);
    assert!(error.is_rejected());
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 400 Bad Request (Invalid input, string.pattern, b); \
         check the client id and the secret"
    );
    assert!(
        refusal(400, r#"{"error": "invalid_client"}"#).to_string().contains("(invalid_client)")
    );
    for silent in [r#"{"errors": []}"#, "{}", r#"{"errors": 7}"#, "", "[", "null"] {
        assert!(
            refusal(401, silent).to_string().contains("401 Unauthorized, application/json;"),
            "{silent}"
        );
    }
}

#[test]
fn a_message_is_cut_escaped_and_dropped_if_it_holds_the_secret() {
    let long = format!(r#"{{"message": "{}"}}"#, "x".repeat(5000));
    assert!(refusal(400, &long).to_string().matches('x').count() <= 200);
    let control = refusal(400, r#"{"message": "a\u001b[31m\nb\u0085"}"#).to_string();
    assert!(!control.chars().any(char::is_control), "{control:?}");
    assert!(control.contains(r"a\u{1b}[31m\u{a}b"), "{control}");
    let escapes =
        refusal(400, &format!(r#"{{"message": "{}"}}"#, r"\u0085".repeat(200))).to_string();
    assert!(escapes.len() < 300, "{} characters", escapes.len());
    for body in [
        format!(r#"{{"message": "no client with {SECRET}"}}"#),
        format!(r#"{{"message": "ok", "errors": [{{"type": "{SECRET}"}}]}}"#),
        // The cut would leave a part of the secret.
        format!(r#"{{"message": "{}{SECRET}"}}"#, "x".repeat(190)),
    ] {
        let shown = refusal(400, &body).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_content_type_is_escaped() {
    let shown = response(502, "text/html;\tcharset=utf-8", "").refusal(SECRET).to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.contains(r"text/html;\u{9}charset=utf-8"), "{shown}");
}
