use super::*;
use crate::{
    TokenEndpoint,
    assertion::AssertionAsk,
    endpoint::oauth2::testing::{ID, SECRET, Server, URI},
    error::BoxError,
};

fn server() -> Server {
    Server::answering(200, r#"{"access_token": "t"}"#)
}

fn builder(uri: &str) -> OAuth2Builder<Server> {
    OAuth2::client_credentials(uri, server(), Credentials::new(ID, SECRET))
}

fn fault(builder: OAuth2Builder<Server>) -> String {
    builder.build().unwrap_err().to_string()
}

/// A source whose audience is the issuer.
struct ForIssuer;

impl AssertionSource for ForIssuer {
    async fn assertion(&self, ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        Ok(ask.issuer.ok_or("no issuer")?.into())
    }

    fn needs_issuer(&self) -> bool {
        true
    }
}

#[test]
fn a_url_that_can_not_be_used_is_a_typed_error() {
    for uri in ["", "login.example.com", "ftp://x/", "https://x/#a", "https://u:p@x/", "/token"] {
        assert!(matches!(builder(uri).build(), Err(ConfigError::InvalidUrl { .. })), "{uri}");
        let api = builder(URI).for_api(uri);
        assert!(matches!(api.build(), Err(ConfigError::InvalidUrl { .. })), "{uri}");
    }
    for uri in ["https://x/token?a=hunter2#b", "https://x/token?a=hunt er2", "https://u@x/?a=b"] {
        let text = fault(builder(uri));
        assert!(!text.contains("hunter2") && !text.contains("er2"), "{text}");
    }
    let exposed = || builder("http://login.internal/token");
    assert!(fault(exposed()).contains("OAuth2Builder::allow_plain_http"));
    assert!(exposed().allow_plain_http().build().is_ok());
    assert!(fault(builder(URI).for_api("http://api.internal")).contains("allow_plain_http"));
    // RFC 6749, section 3.2, allows a query.
    let with_query = builder("https://login.example.com/token?p=policy-1").build().unwrap();
    assert_eq!(with_query.uri().unwrap().query(), Some("p=policy-1"));
    assert!(!format!("{with_query:?}").contains("policy-1"));
}

#[test]
fn a_parameter_is_in_a_request_once() {
    let post = || builder(URI).client_auth(ClientAuth::Post);
    for (builder, name) in [
        (builder(URI).param("grant_type", "x"), Some("grant_type")),
        (builder(URI).scope("a").param("scope", "x"), Some("scope")),
        (builder(URI).audience("a").param("audience", "x"), Some("audience")),
        (builder(URI).param("p", "x").param("p", "y"), Some("p")),
        (post().param("client_id", "x"), Some("client_id")),
        (post().param("client_secret", "x"), Some("client_secret")),
        (builder(URI).param("scope", "x"), None),
        (builder(URI).param("client_id", "x"), None),
        (builder(URI).resource("a").resource("b").audience("a").audience("b"), None),
    ] {
        match (builder.build(), name) {
            (Ok(_), None) => {}
            (Err(error), Some(name)) => {
                let text = error.to_string();
                assert!(text.contains(&format!("{name:?}")), "{text}");
            }
            (result, name) => panic!("{result:?} {name:?}"),
        }
    }
}

#[test]
fn an_assertion_without_an_audience_is_an_error_of_the_builder() {
    let assertion = || builder(URI).client_auth(ClientAuth::assertion(ForIssuer));
    assert!(fault(assertion()).contains("OAuth2Builder::issuer"));
    assert!(assertion().issuer("https://login.example.com").build().is_ok());
    let bearer = || OAuth2::jwt_bearer(URI, server(), ForIssuer);
    assert!(fault(bearer()).contains("OAuth2Builder::issuer"));
    assert!(bearer().issuer("https://login.example.com").build().is_ok());
}

#[test]
fn settings_that_contradict_each_other_are_errors_of_the_builder() {
    let bearer = || OAuth2::jwt_bearer(URI, server(), ForIssuer).issuer("x");
    assert!(fault(bearer().client_auth(ClientAuth::Basic)).contains("OAuth2Builder::credentials"));
    let with_client = bearer().credentials(Credentials::new(ID, SECRET));
    assert!(with_client.client_auth(ClientAuth::Basic).build().is_ok());
    let value = || HeaderValue::from_static("hunter2");
    for name in [header::CONTENT_TYPE, header::HOST, header::AUTHORIZATION] {
        let text = fault(builder(URI).header(name, value()));
        assert!(text.contains("the request sets it itself") && !text.contains("hunter2"), "{text}");
    }
    let none = builder(URI).client_auth(ClientAuth::None).header(header::AUTHORIZATION, value());
    assert!(none.build().is_ok());
    assert!(fault(builder(URI).fields(ResponseFields::default().access_token("x"))).contains('x'));
    let nameless = OAuth2::grant(URI, server(), "", Credentials::new(ID, SECRET));
    assert!(fault(nameless).contains("grant type"));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", builder(URI).param("hunter2-name", "hunter2").scope("read"));
    assert!(shown.contains("https://login.example.com") && shown.contains("read"), "{shown}");
    assert!(!shown.contains(SECRET) && !shown.contains("hunter2"), "{shown}");
}
