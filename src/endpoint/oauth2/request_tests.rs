use std::future::ready;

use proptest::prelude::*;

use super::*;
use crate::{
    assertion,
    credentials::ClientId,
    endpoint::{
        OAuth2,
        oauth2::{
            OAuth2Builder,
            testing::{ID, SECRET, Server, URI, issue},
        },
    },
};

fn encoded(text: &str) -> String {
    let mut out = Vec::new();
    form_encode_into(text, &mut out);
    String::from_utf8(out).unwrap()
}

/// The `Authorization` of these credentials.
fn authorization(id: &str, secret: &str, form_encoded: bool) -> String {
    let value = basic(&Credentials::new(id, secret), form_encoded).unwrap();
    assert!(value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

fn server() -> Server {
    Server::answering(200, r#"{"access_token": "t"}"#)
}

/// Returns the body that this builder's endpoint sends, and its `Authorization`.
fn sent(
    set: impl FnOnce(OAuth2Builder<Server>) -> OAuth2Builder<Server>,
) -> (String, Option<String>) {
    let server = server();
    issue(set(server.builder())).unwrap();
    (server.bodies().pop().unwrap(), server.header("authorization"))
}

#[test]
fn the_vector_of_rfc_6749_appendix_b() {
    assert_eq!(encoded(" %&+\u{a3}\u{20ac}"), "+%25%26%2B%C2%A3%E2%82%AC");
    assert_eq!(encoded("azAZ09*-._"), "azAZ09*-._");
    assert_eq!(encoded("~!'()/:=?@\n\u{1f600}"), "%7E%21%27%28%29%2F%3A%3D%3F%40%0A%F0%9F%98%80");
}

/// The header that the reporter of AppAuth-Android#337 worked out.
#[test]
fn id_and_secret_are_form_encoded_in_basic() {
    let (id, secret) = ("1PpG/Q 1", "z/tZ9VwFZqApmIQ+ZH1I5pLk/uB4ud:X2/8bL+wfFTt1rFw=");
    assert_eq!(
        authorization(id, secret, true),
        "Basic MVBwRyUyRlErMTp6JTJGdFo5VndGWnFBcG1JUSUyQlpIMUk1cExrJTJGdUI0dWQlM0FYMiUyRjhiTCUyQnd\
         mRlR0MXJGdyUzRA=="
    );
    // RFC 6749, section 2.3.1, whose id and secret need no encoding.
    for form_encoded in [true, false] {
        assert_eq!(
            authorization("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", form_encoded),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
    }
    // RFC 7617, section 2.
    assert_eq!(
        authorization("Aladdin", "open sesame", false),
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
    let error = basic(&Credentials::new("a:b", "c"), false).unwrap_err();
    assert!(error.is_credentials() && error.to_string().contains("colon"), "{error}");
}

#[test]
fn a_request_is_that_of_rfc_6749_section_4_4_2() {
    let server = server();
    issue(server.builder()).unwrap();
    assert_eq!(server.bodies(), ["grant_type=client_credentials"]);
    for (name, value) in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "application/json"),
        ("authorization", "Basic bXktY2xpZW50LWlkOnMzY3JldC1vZi10aGUtY2xpZW50"),
        ("accept-encoding", "identity"),
    ] {
        assert_eq!(server.header(name).as_deref(), Some(value));
    }
}

#[test]
fn each_client_authentication_sends_what_it_should_and_nothing_else() {
    let basic = Some("Basic bXktY2xpZW50LWlkOnMzY3JldC1vZi10aGUtY2xpZW50".to_owned());
    let grant = "grant_type=client_credentials";
    let assertion = || ClientAuth::assertion(assertion::from_fn(|_| async { Ok("a.b+c".into()) }));
    for (auth, body, authorization) in [
        (ClientAuth::Basic, String::new(), basic.clone()),
        (ClientAuth::BasicUnencoded, String::new(), basic),
        (ClientAuth::Post, format!("&client_id={ID}&client_secret={SECRET}"), None),
        (ClientAuth::Tls, format!("&client_id={ID}"), None),
        (ClientAuth::None, String::new(), None),
        (
            assertion(),
            format!(
                "&client_id={ID}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                 client-assertion-type%3Ajwt-bearer&client_assertion=a.b%2Bc"
            ),
            None,
        ),
    ] {
        let shown = format!("{auth:?}");
        let sent = sent(|builder| builder.client_auth(auth));
        assert_eq!(sent, (format!("{grant}{body}"), authorization), "{shown}");
    }
}

/// The examples of RFC 7523, sections 2.1 and 2.2, as far as they are not "omitted for brevity".
#[test]
fn assertions_are_sent_as_in_the_examples_of_rfc_7523() {
    let sent = |assertion: &'static str| assertion::from_fn(move |_| ready(Ok(assertion.into())));
    let server = server();
    let grant = sent("eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0.eyJpc3Mi.J9l-ZhwP");
    issue(OAuth2::jwt_bearer("https://as.example.com/token.oauth2", server.clone(), grant))
        .unwrap();
    let client = sent("eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0.eyJpc3Mi.cC4hiUPo");
    let builder = OAuth2::grant(
        "https://as.example.com/token.oauth2",
        server.clone(),
        "authorization_code",
        ClientId::new(ID),
    );
    let builder = builder.param("code", "n0esc3NRze7LTCu7iYzS6a5acc3f0ogp4");
    issue(builder.client_auth(ClientAuth::assertion(client))).unwrap();
    assert_eq!(
        server.bodies(),
        [
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer\
             &assertion=eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0.eyJpc3Mi.J9l-ZhwP"
                .to_owned(),
            format!(
                "grant_type=authorization_code&code=n0esc3NRze7LTCu7iYzS6a5acc3f0ogp4&\
                 client_id={ID}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                 client-assertion-type%3Ajwt-bearer&client_assertion=\
                 eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0.eyJpc3Mi.cC4hiUPo"
            ),
        ]
    );
    assert!(server.heads().iter().all(|head| !head.contains("authorization")));
}

#[test]
fn parameters_are_sent_in_the_documented_order() {
    let (body, _) = sent(|builder| {
        builder
            .client_auth(ClientAuth::Post)
            .param("z", "last & not least")
            .param("a", "")
            .audience("https://api.example.com/")
            .audience("second")
            .resource("https://r/1")
            .resource("https://r/2")
            .scope("write read")
            .scope(" read  admin ")
    });
    assert_eq!(
        body,
        format!(
            "grant_type=client_credentials&scope=admin+read+write&resource=https%3A%2F%2Fr%2F1&\
             resource=https%3A%2F%2Fr%2F2&audience=https%3A%2F%2Fapi.example.com%2F&\
             audience=second&z=last+%26+not+least&a=&client_id={ID}&client_secret={SECRET}"
        )
    );
}

#[test]
fn each_grant_sends_its_own_parameters_first() {
    let source = || {
        assertion::from_fn(|ask| {
            let ask = format!("{}|{:?}|{}", ask.client_id, ask.issuer, ask.token_uri);
            async move { Ok(ask.into()) }
        })
    };
    let named = server();
    let credentials = Credentials::new(ID, SECRET);
    let builder = OAuth2::grant(URI, named.clone(), "account_credentials", credentials);
    issue(builder.param("account_id", "x")).unwrap();
    assert_eq!(named.bodies(), ["grant_type=account_credentials&account_id=x"]);

    let asked = encoded(&format!("|Some(\"https://issuer\")|{URI}"));
    let bearer = server();
    let builder = OAuth2::jwt_bearer(URI, bearer.clone(), source()).issuer("https://issuer");
    issue(builder.scope("x")).unwrap();
    assert_eq!(
        bearer.bodies(),
        [format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={asked}&\
             scope=x"
        )]
    );
    assert_eq!(bearer.header("authorization"), None);

    let exchange = server();
    let token_type = "urn:ietf:params:oauth:token-type:jwt";
    let builder = OAuth2::token_exchange(URI, exchange.clone(), source(), token_type);
    let builder = builder.issuer("https://issuer").audience("api");
    issue(builder.credentials(Credentials::new(ID, SECRET)).client_auth(ClientAuth::Tls)).unwrap();
    let asked = encoded(&format!("{ID}|Some(\"https://issuer\")|{URI}"));
    assert_eq!(
        exchange.bodies(),
        [format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&\
             subject_token={asked}&\
             subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&audience=api&\
             client_id={ID}"
        )]
    );
}

#[test]
fn a_request_in_json_has_the_same_parameters() {
    let server = server();
    let builder = server.builder().client_auth(ClientAuth::Post).json_request();
    issue(builder.scope("a b").audience("x").audience("\"y\"").param("p", "q")).unwrap();
    assert_eq!(
        server.bodies(),
        [r#"{"grant_type":"client_credentials","scope":"a b","audience":["x","\"y\""],"p":"q""#
            .to_owned()
            + &format!(r#","client_id":"{ID}","client_secret":"{SECRET}"}}"#)]
    );
    assert_eq!(server.header("content-type").as_deref(), Some("application/json"));
}

#[test]
fn a_header_of_ones_own_is_sent_and_takes_the_place_of_ours() {
    let server = server();
    let builder = server
        .builder()
        .header(header::ACCEPT, HeaderValue::from_static("*/*"))
        .header(header::USER_AGENT, HeaderValue::from_static("shop/2"))
        .header(http::HeaderName::from_static("x-key"), HeaderValue::from_static("k"));
    issue(builder).unwrap();
    for (name, value) in [("accept", "*/*"), ("user-agent", "shop/2"), ("x-key", "k")] {
        assert_eq!(server.header(name).as_deref(), Some(value));
    }
}

/// A second hand at the decoding: that of the crate's own response parser.
fn decoded(form: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    form.split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

proptest! {
    #[test]
    fn any_text_survives_the_form_and_no_buffer_grows(
        pairs in prop::collection::vec((".*", ".*"), 1..6),
    ) {
        let parameters: Parameters<'_> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let length: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let capacity = Vec::<u8>::with_capacity(3 * length + 2 * pairs.len()).capacity();
        let form = form(&parameters);
        prop_assert!(form.len() <= capacity);
        prop_assert_eq!(decoded(std::str::from_utf8(&form).unwrap()), pairs.clone());
        let json = json(&parameters).unwrap();
        prop_assert!(json.len() <= 6 * length + 8 * pairs.len() + 2);
        let object: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for (name, value) in &pairs {
            let found = &object[name.as_str()];
            let is_in = |values: &Vec<serde_json::Value>| values.iter().any(|it| it == value);
            prop_assert!(found == value || found.as_array().is_some_and(is_in));
        }
    }
}
