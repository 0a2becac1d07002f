use super::*;

fn for_endpoint(uri: &'static str) -> Guard {
    let uri = Uri::from_static(uri);
    Guard::new(Some(&uri), Origin::of(&uri).into_iter().collect())
}

fn guard() -> Guard {
    for_endpoint("https://api.example.com/v1/auth")
}

fn check(
    guard: &Guard,
    method: &Method,
    uri: &'static str,
    host: Option<&'static str>,
) -> &'static str {
    let mut headers = HeaderMap::new();
    if let Some(host) = host {
        headers.insert(header::HOST, http::HeaderValue::from_static(host));
    }
    let uri = Uri::from_static(uri);
    let (admission, slow) =
        (guard.check(method, &uri, &headers), guard.check_slow(method, &uri, &headers));
    assert_eq!(format!("{admission:?}"), format!("{slow:?}"), "{uri}");
    match admission {
        Admission::Sign => "sign",
        Admission::PassUnsigned => "pass",
        Admission::Refuse(error) => {
            assert!(error.is_refused_origin());
            "refuse"
        }
    }
}

#[test]
fn the_fast_path_takes_the_endpoints_own_spelling_and_no_host_but_not_the_token_request() {
    let guard = guard();
    for (method, uri, is_fast_path) in [
        (Method::GET, "https://api.example.com/v1/accounts?limit=10", true),
        (Method::POST, "https://api.example.com/v1/accounts", true),
        (Method::POST, "/v1/accounts", true),
        (Method::POST, "/v1/auth", false),
        (Method::GET, "https://API.example.com/", false),
        (Method::POST, "https://api.example.com/v1/auth", false),
    ] {
        assert_eq!(guard.is_fast_path(&method, &Uri::from_static(uri)), is_fast_path, "{uri}");
    }
}

#[test]
fn only_allowed_origins_are_signed() {
    let mut guard = guard();
    guard.allow("https://reports.example.com").unwrap();
    for (uri, expected) in [
        ("https://api.example.com/v1/accounts", "sign"),
        ("https://reports.example.com/", "sign"),
        ("https://evil.example/", "refuse"),
        ("http://api.example.com/v1/accounts", "refuse"),
        ("https://api.example.com:444/", "refuse"),
    ] {
        assert_eq!(check(&guard, &Method::GET, uri, None), expected, "{uri}");
    }
    guard.cross_origin = CrossOriginRequests::PassUnsigned;
    assert_eq!(check(&guard, &Method::GET, "https://evil.example/", None), "pass");
}

#[test]
fn the_token_request_itself_is_never_signed() {
    let guard = guard();
    for (method, uri, expected) in [
        (Method::POST, "https://api.example.com/v1/auth", "pass"),
        (Method::POST, "https://api.example.com/v1/auth?x=y", "pass"),
        (Method::POST, "/v1/auth", "pass"),
        (Method::GET, "https://api.example.com/v1/auth", "sign"),
        (Method::POST, "https://api.example.com/v1/auth/x", "sign"),
        (Method::POST, "https://evil.example/v1/auth", "refuse"),
    ] {
        assert_eq!(check(&guard, &method, uri, None), expected, "{uri}");
    }
}

#[test]
fn a_host_header_that_names_another_origin_makes_a_request_cross_origin() {
    let mut guard = guard();
    guard.allow("https://reports.example.com").unwrap();
    for (uri, host, expected) in [
        ("https://api.example.com/v1/accounts", "api.example.com", "sign"),
        ("https://api.example.com/v1/accounts", "evil.example", "refuse"),
        ("https://api.example.com/v1/accounts", "reports.example.com", "refuse"),
    ] {
        assert_eq!(check(&guard, &Method::GET, uri, Some(host)), expected, "{host}");
    }
    // A `POST` to the token endpoint's path on another host is not the token request.
    assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("evil.example")), "refuse");
    assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("reports.example.com")), "sign");
    assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("api.example.com")), "pass");
    assert_eq!(check(&guard, &Method::POST, "https://reports.example.com/v1/auth", None), "sign");
}

#[test]
fn a_cross_origin_host_header_is_named_without_what_may_be_a_secret() {
    for (uri, host, shown) in [
        (
            "https://api.example.com/x",
            "user:password@evil.example:8443",
            "evil.example:8443 is not",
        ),
        ("/x", "user:password@evil.example", "evil.example is not"),
        ("/x", "password of a user", "what its `Host` header says is not"),
    ] {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        let admission = guard().check(&Method::GET, &Uri::from_static(uri), &headers);
        let Admission::Refuse(error) = admission else { panic!("{admission:?}") };
        let error = error.to_string();
        assert!(error.starts_with(shown) && !error.contains("password"), "{error}");
    }
}

#[test]
fn a_relative_uri_is_signed_unless_its_host_header_is_cross_origin() {
    let guard = guard();
    for (host, expected) in [
        (None, "sign"),
        (Some("api.example.com"), "sign"),
        (Some("API.example.com:443"), "sign"),
        (Some("evil.example"), "refuse"),
        (Some("api.example.com:8443"), "refuse"),
        (Some("not a host"), "refuse"),
    ] {
        assert_eq!(check(&guard, &Method::GET, "/v1/accounts", host), expected, "{host:?}");
    }
}

#[test]
fn plain_http_beyond_this_machine_needs_to_be_allowed_by_name() {
    let mut guard = for_endpoint("http://payments.internal/auth");
    assert_eq!(check(&guard, &Method::GET, "http://payments.internal/x", None), "refuse");
    assert_eq!(check(&guard, &Method::GET, "/x", None), "refuse");
    assert_eq!(check(&guard, &Method::GET, "/x", Some("payments.internal")), "refuse");
    assert!(matches!(guard.allow("http://payments.internal"), Err(ConfigError::PlainHttp { .. })));
    guard.allow_plain("http://payments.internal").unwrap();
    assert_eq!(check(&guard, &Method::GET, "http://payments.internal/x", None), "sign");
    assert_eq!(check(&guard, &Method::GET, "/x", None), "sign");
    let local = for_endpoint("http://127.0.0.1:8080/auth");
    assert_eq!(check(&local, &Method::GET, "http://127.0.0.1:8080/x", None), "sign");
}

#[test]
fn without_an_endpoint_uri_every_origin_must_be_named() {
    let mut guard = Guard::new(None, Vec::new());
    assert_eq!(check(&guard, &Method::GET, "https://api.example.com/", None), "refuse");
    assert_eq!(check(&guard, &Method::GET, "/x", None), "refuse");
    guard.allow("https://api.example.com").unwrap();
    assert_eq!(check(&guard, &Method::GET, "https://api.example.com/", None), "sign");
}

#[test]
fn an_authorization_server_that_is_not_the_api_sees_no_token() {
    let uri = Uri::from_static("https://login.example.com/token");
    let none = Guard::new(Some(&uri), Vec::new());
    let mut api = none.clone();
    api.allow("https://api.example.com").unwrap();
    let post = Method::POST;
    for (method, target, host, with_none, with_api) in [
        (&Method::GET, "https://login.example.com/userinfo", None, "refuse", "refuse"),
        (&Method::GET, "https://login.example.com/token", None, "refuse", "refuse"),
        (&Method::GET, "https://api.example.com/x", None, "refuse", "sign"),
        (&post, "https://api.example.com/token", None, "refuse", "sign"),
        (&post, "/token", None, "refuse", "sign"),
        (&post, "/token", Some("api.example.com"), "refuse", "sign"),
        (&post, "/x", Some("login.example.com"), "refuse", "refuse"),
        // The request for a token.
        (&post, "https://login.example.com/token", None, "pass", "pass"),
        (&post, "/token", Some("login.example.com"), "pass", "pass"),
    ] {
        assert_eq!(check(&none, method, target, host), with_none, "{target} {host:?}");
        assert_eq!(check(&api, method, target, host), with_api, "{target} {host:?}");
    }
    let Admission::Refuse(error) =
        none.check(&post, &Uri::from_static("https://api.example.com/x"), &HeaderMap::new())
    else {
        panic!("nothing may be signed");
    };
    assert!(error.to_string().contains("OAuth2Builder::for_api"), "{error}");
}
