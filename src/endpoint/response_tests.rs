use http::HeaderValue;

use super::*;

const SECRET: &str = "s3cret-of-the-client";

fn response(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> TokenResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let status = StatusCode::from_u16(status).unwrap();
    TokenResponse::new(
        "the token endpoint".into(),
        status,
        headers,
        Zeroizing::new(body.into()),
        vec![SECRET.into()],
    )
}

fn refusal(status: u16, body: &str) -> AuthError {
    response(status, "application/json", body).refusal()
}

#[test]
fn an_html_page_is_named_by_status_and_content_type_and_not_quoted() {
    let page = "<html>the proxy quotes s3cret-of-the-client and more</html>";
    let error = response(502, "text/html", page).refusal();
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
        "the token endpoint answered 400 Bad Request (Invalid input, x, string.pattern, b); \
         check the client id and the secret"
    );
    let repeated = r#"{"message": "no", "errors": [{"message": "no", "type": "fault"}]}"#;
    assert!(refusal(400, repeated).to_string().contains("(no, fault)"));
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
        format!(r#"{{"error": "{}"}}"#, SECRET.to_uppercase()),
        r#"{"errors": [{"message": "%73%33cret-of%2dthe"}]}"#.into(),
    ] {
        let shown = refusal(400, &body).to_string();
        assert!(shown.starts_with("the token endpoint answered 400 Bad Request, appl"), "{shown}");
    }
}

#[test]
fn a_content_type_is_escaped() {
    let shown = response(502, "text/html;\tcharset=utf-8", "").refusal().to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.contains(r"text/html;\u{9}charset=utf-8"), "{shown}");
}

#[derive(Debug, serde::Deserialize)]
struct Token {
    token: String,
}

#[test]
fn a_body_is_read_in_every_unicode_encoding_and_whatever_its_content_type_is() {
    let json = r#"{"note": "\u00e9", "token": "abc"}"#;
    let marked = format!("\u{feff}{json}");
    let bodies = [
        json.as_bytes().to_vec(),
        marked.as_bytes().to_vec(),
        marked.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        marked.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        json.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        b"{\"note\": \"caf\xe9\", \"token\": \"abc\"}".to_vec(),
        br#"{"token": "old", "token": "abc"}"#.to_vec(),
    ];
    for content_type in ["application/json", "text/html; charset=iso-8859-1", "text/plain"] {
        for body in &bodies {
            let token: Token = response(201, content_type, body.clone()).json().unwrap();
            assert_eq!(token.token, "abc");
        }
    }
}

#[test]
fn the_message_of_an_array_of_errors_and_of_a_success_are_shown() {
    for (status, body) in [
        (400, r#"{"errors": [{"message": "the client is locked"}, 7, {"message": 7}]}"#),
        (200, r#"{"errors": [{"message": "the client is locked"}]}"#),
        (201, r#"{"message": "the client is locked", "errors": null}"#),
        (202, r#"{"error": {}, "error_description": "the client is locked"}"#),
        (200, r#"{"token": 7, "message": "the client is locked"}"#),
    ] {
        let response = response(status, "application/json", body);
        let error = match status {
            400 => response.refusal(),
            _ => response.json::<Token>().unwrap_err(),
        };
        assert!(error.to_string().contains("(the client is locked)"), "{error}");
        assert_eq!(error.status().unwrap(), status);
    }
}

#[test]
fn a_code_of_a_success_decides_what_it_means() {
    let error = |body| response(200, "application/json", body).json::<Token>().unwrap_err();
    assert!(error(r#"{"error": "invalid_client"}"#).is_rejected());
    assert!(error(r#"{"error": "temporarily_unavailable"}"#).is_transient());
    assert!(error(r#"{"error": "invalid_scope"}"#).is_permanent());
    let unknown = error(r#"{"error": "no_such_thing"}"#);
    assert!(unknown.is_invalid_response());
    assert_eq!(unknown.code(), Some("no_such_thing"));
}

#[test]
fn a_code_is_given_out_only_if_it_is_one() {
    let long = "x".repeat(65);
    for (body, code) in [
        (r#"{"error": "invalid_client"}"#.to_owned(), Some("invalid_client")),
        (r#"{"error": "two words!"}"#.into(), Some("two words!")),
        (r#"{"error": ""}"#.into(), None),
        (r#"{"error": 7}"#.into(), None),
        (r#"{"error": "a\nb"}"#.into(), None),
        (r#"{"error": "\u00e9"}"#.into(), None),
        (format!(r#"{{"error": "{long}"}}"#), None),
        (format!(r#"{{"error": "{SECRET}"}}"#), None),
        ("<html>".into(), None),
    ] {
        assert_eq!(refusal(400, &body).code(), code, "{body}");
    }
}

#[test]
fn a_body_in_an_encoding_that_nobody_asked_for_is_named() {
    let coded = |status: u16, coding: &'static str, body: &[u8]| {
        let mut headers = HeaderMap::new();
        if !coding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let status = StatusCode::from_u16(status).unwrap();
        TokenResponse::new(
            "the token endpoint".into(),
            status,
            headers,
            Zeroizing::new(body.to_vec()),
            vec![SECRET.into()],
        )
    };
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0];
    for (coding, body, named) in [
        ("gzip", gzip, "gzip"),
        ("br", b"{\x80", "br"),
        ("deflate, x-custom", b"??", "deflate, x-custom"),
        ("", gzip, "gzip"),
        ("identity", gzip, "gzip"),
        ("", &[0x28, 0xb5, 0x2f, 0xfd, 0], "zstd"),
        ("", &[0x78, 0x9c, 1], "deflate"),
    ] {
        let error = coded(201, coding, body).json::<Token>().unwrap_err();
        assert!(error.is_invalid_response(), "{error:?}");
        assert!(error.to_string().contains(&format!("encoded as {named}")), "{error}");
        let error = coded(400, coding, body).refusal();
        assert!(error.to_string().contains(&format!("encoded as {named}")), "{error}");
    }
    // A header that something below forgot to remove.
    assert_eq!(coded(201, "gzip", br#"{"token": "abc"}"#).json::<Token>().unwrap().token, "abc");
}

#[test]
fn a_page_of_a_firewall_does_not_blame_the_secret() {
    let error = response(403, "text/html", "<html>blocked</html>").refusal();
    assert!(error.is_permanent() && !error.to_string().contains("secret"), "{error}");
    assert!(refusal(403, r#"{"message": "no"}"#).is_rejected());
    assert!(refusal(403, r#"{"error": "temporarily_unavailable"}"#).is_transient());
}
