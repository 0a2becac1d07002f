//! Assertions, by RFC 7523, section 3. They are signed here by other code than the crate's.

use std::time::SystemTime;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tower_reauth::sandbox::{OAuth2Client, OAuth2Server, OAuth2ServerBuilder};

use super::client::{FORM, form, post, use_token};

/// The public half of the key of RFC 7515, appendix A.3.
const PUBLIC: &str = r#"{"kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// The whole of it, as PKCS #8.
const PRIVATE: &str = "\
    308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b02010104208e9b109e719098bf9804\
    87df1f5d77e9cb29606ebed2263b5f57c213df84f4b2a144034200047fcdce2770f6c45d4183cbee6fdb4b7b5807\
    33357be9ef13bacf6e3c7bd15445c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SECRET: &str = "a secret of thirty-two bytes or more";

fn private() -> EncodingKey {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap();
    EncodingKey::from_ec_der(&PRIVATE.as_bytes().chunks(2).map(byte).collect::<Vec<_>>())
}

fn builder() -> OAuth2ServerBuilder {
    OAuth2Server::builder().client(OAuth2Client::with_keys("signs", PUBLIC).unwrap()).client(
        OAuth2Client::with_secret("hmac", SECRET)
            .method(tower_reauth::sandbox::AuthMethod::SecretJwt),
    )
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn claims(server: &OAuth2Server, jti: &str) -> Value {
    json!({
        "iss": "signs", "sub": "signs", "aud": server.issuer(), "jti": jti,
        "iat": now() - 5, "exp": now() + 60,
    })
}

fn sign(header: &Header, claims: &Value) -> String {
    let key = match header.alg {
        Algorithm::ES256 => private(),
        _ => EncodingKey::from_secret(SECRET.as_bytes()),
    };
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn es256(kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) }
}

fn request(assertion: &str) -> String {
    form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ])
}

#[tokio::test]
async fn an_assertion_is_accepted_once() {
    let server = builder().start().await.unwrap();
    for header in [es256(None), es256(Some("one")), {
        Header { typ: Some("client-authentication+jwt".into()), ..es256(None) }
    }] {
        let jti = format!("{:?} {:?}", header.kid, header.typ);
        let body = request(&sign(&header, &claims(&server, &jti)));
        post(&server, &[FORM], format!("{body}&client_id=signs")).await.bearer();
        post(&server, &[FORM], body).await.assert_error(401, "invalid_client", "jti");
    }
    let mut own = claims(&server, "1");
    own["iss"] = "hmac".into();
    own["sub"] = "hmac".into();
    let body = request(&sign(&Header::new(Algorithm::HS256), &own));
    post(&server, &[FORM], body).await.bearer();
    let methods: Vec<_> =
        server.token_requests().iter().filter_map(|it| Some(it.method()?.name())).collect();
    assert_eq!(
        methods,
        ["private_key_jwt", "private_key_jwt", "private_key_jwt", "client_secret_jwt"]
    );
}

#[tokio::test]
async fn an_assertion_with_a_wrong_claim_is_refused() {
    let server = builder().start().await.unwrap();
    let token_uri = server.token_uri();
    for (name, value, why) in [
        ("iss", json!("nobody"), "unknown"),
        ("iss", Value::Null, "no JWT with an iss"),
        ("sub", json!("other"), "sub must be"),
        ("sub", Value::Null, "sub must be"),
        ("aud", json!("https://other.example.com"), "aud must be the issuer"),
        ("aud", json!(token_uri), "aud must be the issuer"),
        ("aud", json!([server.issuer()]), "aud must be one string"),
        ("aud", Value::Null, "aud must be one string"),
        ("exp", json!(now() - 1), "expired"),
        ("exp", json!(now() + 3600), "too far ahead"),
        ("exp", json!("soon"), "exp must be a number"),
        ("exp", Value::Null, "exp"),
        ("iat", json!(now() + 3), "iat is ahead"),
        ("iat", json!(now() - 3600), "too old"),
        ("nbf", json!(now() + 3), "nbf is ahead"),
        ("jti", json!(""), "jti is missing"),
        ("jti", Value::Null, "jti is missing"),
    ] {
        let mut claims = claims(&server, &format!("{name} {value}"));
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        let body = request(&sign(&es256(None), &claims));
        post(&server, &[FORM], body).await.assert_error(401, "invalid_client", why);
    }
    assert_eq!(server.counters().tokens_issued, 0);
    // An older server takes its token endpoint too.
    let lenient = builder().token_uri_audience().start().await.unwrap();
    let mut claims = claims(&lenient, "1");
    claims["aud"] = lenient.token_uri().into();
    post(&lenient, &[FORM], request(&sign(&es256(None), &claims))).await.bearer();
}

#[tokio::test]
async fn an_assertion_with_a_wrong_signature_or_header_is_refused() {
    let server = builder().start().await.unwrap();
    let good = sign(&es256(None), &claims(&server, "1"));
    let (message, _) = good.rsplit_once('.').unwrap();
    let other = sign(&es256(None), &claims(&server, "2"));
    let (_, signature) = other.rsplit_once('.').unwrap();
    let spliced = format!("{message}.{signature}");
    let typed = Header { typ: Some("at+jwt".into()), ..es256(None) };
    // Signed with the secret of another client, or with the public key taken for a secret.
    let hmac = sign(&Header::new(Algorithm::HS256), &claims(&server, "3"));
    for (assertion, why) in [
        (spliced, "signature"),
        ("a.b.c".to_owned(), "no JWT"),
        (sign(&es256(Some("two")), &claims(&server, "4")), "kid"),
        (sign(&typed, &claims(&server, "5")), "typ"),
        (hmac, "no secret"),
    ] {
        let body = request(&assertion);
        post(&server, &[FORM], body).await.assert_error(401, "invalid_client", why);
    }
    let body = format!("{}&client_id=hmac", request(&good));
    post(&server, &[FORM], body).await.assert_error(401, "invalid_client", "not the assertion's");
    let wrong_type = request(&good).replace("jwt-bearer", "saml2-bearer");
    post(&server, &[FORM], wrong_type).await.assert_error(400, "invalid_request", "type");
    post(&server, &[FORM], request(&good)).await.bearer();
}

#[tokio::test]
async fn the_clock_that_counts_is_the_servers() {
    let server = builder().clock_behind(std::time::Duration::from_secs(60)).start().await.unwrap();
    let body = request(&sign(&es256(None), &claims(&server, "1")));
    post(&server, &[FORM], body).await.assert_error(401, "invalid_client", "iat is ahead");
}

#[tokio::test]
async fn the_assertion_of_a_trusted_issuer_is_a_grant() {
    let server = OAuth2Server::builder().trust("robot@example.com", PUBLIC).unwrap();
    let server = server.start().await.unwrap();
    let claims = |jti: &str, audience: &str| {
        json!({
            "iss": "robot@example.com", "sub": "ada", "aud": audience, "jti": jti,
            "iat": now(), "exp": now() + 600,
        })
    };
    let send = |claims: &Value| {
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let body = form(&[grant, ("assertion", &sign(&es256(None), claims))]);
        let server = &server;
        async move { post(server, &[FORM], body).await }
    };
    for (jti, audience) in [("1", server.issuer()), ("2", server.token_uri())] {
        let token = send(&claims(jti, &audience)).await.bearer();
        assert_eq!(use_token(&server, &token).await.json()["subject"], "ada");
    }
    send(&claims("1", &server.issuer())).await.assert_error(400, "invalid_grant", "jti");
    send(&claims("3", "other")).await.assert_error(400, "invalid_grant", "aud");
    let mut other = claims("4", &server.issuer());
    other["iss"] = "stranger".into();
    send(&other).await.assert_error(400, "invalid_grant", "trusted");
}

#[tokio::test]
async fn an_assertion_is_signed_with_the_secret_that_the_client_has_now() {
    let server = builder().start().await.unwrap();
    let ask = async |jti: &str| {
        let claims = json!({
            "iss": "hmac", "sub": "hmac", "aud": server.issuer(), "jti": jti,
            "iat": now() - 5, "exp": now() + 60,
        });
        let header = Header::new(Algorithm::HS256);
        post(&server, &[FORM], request(&sign(&header, &claims))).await
    };
    ask("one").await.bearer();
    assert!(server.change_secret("hmac", "another secret of thirty-two bytes"));
    ask("two").await.assert_error(401, "invalid_client", "signature");
    assert!(server.change_secret("hmac", SECRET));
    ask("three").await.bearer();
    assert!(!server.change_secret("signs", "a client with a key has none"));
}
