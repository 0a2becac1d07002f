use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Uri;
use jsonwebtoken::dangerous::insecure_decode;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::assertion::{Algorithm, SigningKey, key_file, test_keys::*};

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn key() -> SigningKey {
    SigningKey::from_jwk(P256_JWK).unwrap()
}

async fn ask<K: SignerSource>(
    source: &SignedJwt<K>,
    client_id: &str,
    issuer: Option<&str>,
) -> Result<(Value, Value), String> {
    let uri = Uri::from_static("https://login.example.com/token");
    let mut ask = AssertionAsk::new(client_id, &uri, now());
    ask.issuer = issuer;
    let signed = source.assertion(&ask).await.map_err(|error| error.to_string())?;
    let signed = insecure_decode::<Value>(signed.expose_secret()).unwrap();
    Ok((serde_json::to_value(&signed.header).unwrap(), signed.claims))
}

#[tokio::test]
async fn an_assertion_has_the_claims_of_rfc_7523() {
    let source = SignedJwt::new(key());
    let (header, mut claims) = ask(&source, "me", Some("https://login.example.com")).await.unwrap();
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "one"}));
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    // 128 bits in base64url.
    assert_eq!(jti.as_str().unwrap().len(), 22);
    assert_eq!(
        claims,
        json!({
            "iss": "me", "sub": "me", "aud": "https://login.example.com",
            "iat": NOW - 5, "exp": NOW + 60,
        })
    );
    let (_, again) = ask(&source, "me", Some("https://login.example.com")).await.unwrap();
    assert_ne!(again["jti"], jti, "each has its own");
}

#[tokio::test]
async fn the_example_of_rfc_7523_section_4_can_be_made() {
    let source = SignedJwt::new(key().with_kid("16"))
        .issuer("https://jwt-idp.example.com")
        .subject("mailto:mike@example.com")
        .audience(Audience::Other("https://jwt-rp.example.net".into()))
        .claim("nbf", 1_300_815_780)
        .claim("http://claims.example.com/member", true)
        .skew(Duration::ZERO)
        .lifetime(Duration::from_secs(3600));
    let uri = Uri::from_static("https://jwt-rp.example.net/token");
    let now = UNIX_EPOCH + Duration::from_secs(1_300_815_780);
    let signed = source.assertion(&AssertionAsk::new("", &uri, now)).await.unwrap();
    let mut signed = insecure_decode::<Value>(signed.expose_secret()).unwrap();
    assert_eq!(serde_json::to_value(signed.header.alg).unwrap(), "ES256");
    assert_eq!(signed.header.kid.as_deref(), Some("16"));
    let claims = signed.claims.as_object_mut().unwrap();
    // It adds these two, of which section 3 says that a server may want them.
    assert!(claims.remove("jti").is_some() && claims.remove("iat") == Some(1_300_815_780.into()));
    assert_eq!(
        signed.claims,
        json!({
            "iss": "https://jwt-idp.example.com",
            "sub": "mailto:mike@example.com",
            "aud": "https://jwt-rp.example.net",
            "nbf": 1_300_815_780,
            "exp": 1_300_819_380,
            "http://claims.example.com/member": true,
        })
    );
}

#[tokio::test]
async fn the_audience_is_the_issuer_unless_said_otherwise() {
    let source = || SignedJwt::new(key());
    assert!(source().needs_issuer());
    let error = ask(&source(), "me", None).await.unwrap_err();
    assert!(error.contains("issuer of the authorization server is not known"), "{error}");
    for (audience, expected) in [
        (Audience::TokenUri, "https://login.example.com/token"),
        (Audience::Other("https://api.example.com".into()), "https://api.example.com"),
    ] {
        let source = source().audience(audience);
        assert!(!source.needs_issuer());
        assert_eq!(ask(&source, "me", Some("other")).await.unwrap().1["aud"], expected);
    }
}

#[tokio::test]
async fn claims_and_dates_can_be_set() {
    let source = SignedJwt::new(key().with_certificate_pem(CERTIFICATE).unwrap())
        .issuer("robot@example.com")
        .subject("ada")
        .audience(Audience::TokenUri)
        .typ("client-authentication+jwt")
        .lifetime(Duration::from_secs(600))
        .skew(Duration::from_secs(60))
        .claim("scope", "a b")
        .claim("roles", json!(["x"]))
        .claim("jti", "fixed")
        .claim("exp", 1);
    let (header, claims) = ask(&source, "", None).await.unwrap();
    assert_eq!(header["typ"], "client-authentication+jwt");
    assert_eq!(header["x5t#S256"], THUMBPRINT);
    assert_eq!(
        [&claims["iss"], &claims["sub"], &claims["scope"], &claims["roles"][0]],
        ["robot@example.com", "ada", "a b", "x"]
    );
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOW - 60), &json!(NOW + 600)));
    assert_ne!(claims["jti"], "fixed");

    let nobody = SignedJwt::new(key()).audience(Audience::TokenUri).without_subject();
    assert!(ask(&nobody, "", None).await.unwrap_err().contains("no iss"));
    let claims = ask(&nobody.issuer("robot"), "", None).await.unwrap().1;
    assert_eq!((&claims["iss"], claims.get("sub")), (&json!("robot"), None));
}

#[tokio::test]
async fn a_key_in_a_file_is_read_anew_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let keys = key_file(&path, Algorithm::Es256);
    let source = SignedJwt::new(keys).audience(Audience::TokenUri);
    assert!(ask(&source, "me", None).await.unwrap_err().contains("can't be read"));
    assert!(!source.changed().await);
    fs::write(&path, P256_JWK).unwrap();
    assert!(source.changed().await, "there is one now");
    assert_eq!(ask(&source, "me", None).await.unwrap().0["kid"], "one");
    assert!(!source.changed().await);

    fs::write(&path, P256_JWK.replace("one", "two")).unwrap();
    assert!(source.changed().await);
    assert_eq!(ask(&source, "me", None).await.unwrap().0["kid"], "two");
    fs::write(&path, format!("{P256_SEC1}\n{CERTIFICATE}")).unwrap();
    let (header, _) = ask(&source, "me", None).await.unwrap();
    assert_eq!((header.get("kid"), &header["x5t#S256"]), (None, &json!(THUMBPRINT)));

    fs::write(&path, P384_PKCS8).unwrap();
    let error = ask(&source, "me", None).await.unwrap_err();
    assert!(error.contains("key: the signing key can't be used"), "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn debug_shows_no_key() {
    let source = SignedJwt::new(SigningKey::hs256("hunter2").unwrap()).claim("x", "hunter2");
    assert!(!format!("{source:?}").contains("hunter2"));
}
