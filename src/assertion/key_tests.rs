use jsonwebtoken::{DecodingKey, crypto::verify, jwk::Jwk};

use super::*;
use crate::assertion::test_keys::*;

/// The payload of RFC 7515, appendix A.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6L\
     y9leGFtcGxlLmNvbS9pc19yb290I\
     jp0cnVlfQ";

async fn sign(key: &SigningKey, input: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).await.unwrap())
}

#[tokio::test]
async fn signatures_are_those_of_the_rfcs() {
    // RFC 7515, appendices A.1 and A.2, and RFC 8037, appendix A.4.
    let k = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CA\
             ow";
    let hs256 = SigningKey::from_jwk(&json!({"kty": "oct", "k": k}).to_string()).unwrap();
    assert_eq!(
        sign(&hs256, &format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}")).await,
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    for key in [SigningKey::from_jwk(RSA_JWK), SigningKey::rs256_pem(RSA_PKCS8), {
        SigningKey::rs256_pem(RSA_PKCS1)
    }] {
        assert_eq!(
            sign(&key.unwrap(), &format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}")).await,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_\
             O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIA\
             RNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPq\
             vhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77\
             Rw"
        );
    }
    let ed25519 = SigningKey::ed25519_pem(ED25519_PKCS8).unwrap();
    assert_eq!(
        sign(&ed25519, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").await,
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[tokio::test]
async fn a_signature_of_each_key_is_verified_with_its_public_half() {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    for (key, algorithm) in [
        (SigningKey::rs256_pem(RSA_PKCS8), jsonwebtoken::Algorithm::RS256),
        (SigningKey::ps256_pem(RSA_PKCS1), jsonwebtoken::Algorithm::PS256),
        (SigningKey::from_jwk(P256_JWK), jsonwebtoken::Algorithm::ES256),
        (SigningKey::es256_pem(P256_PKCS8), jsonwebtoken::Algorithm::ES256),
        (SigningKey::es256_pem(P256_SEC1), jsonwebtoken::Algorithm::ES256),
        (SigningKey::es384_pem(P384_PKCS8), jsonwebtoken::Algorithm::ES384),
        (SigningKey::ed25519_pem(ED25519_PKCS8), jsonwebtoken::Algorithm::EdDSA),
    ] {
        let key = key.unwrap();
        assert_eq!(key.algorithm().name(), format!("{algorithm:?}"));
        let public: Jwk = serde_json::from_str(&key.public_jwk().unwrap()).unwrap();
        assert_eq!(public.common.key_algorithm.unwrap().to_string(), key.algorithm().name());
        let signature = sign(&key, "some.input").await;
        let verifier = DecodingKey::try_from(&public).unwrap();
        assert!(verify(&signature, b"some.input", &verifier, algorithm).unwrap(), "{algorithm:?}");
        assert!(!verify(&signature, b"some.other", &verifier, algorithm).unwrap_or(false));
    }
    assert!(SigningKey::hs256("secret").unwrap().public_jwk().is_none());
}

#[test]
fn the_public_half_has_nothing_of_the_private_one() {
    for key in [RSA_JWK, P256_JWK] {
        let private: Value = serde_json::from_str(key).unwrap();
        let public = SigningKey::from_jwk(key).unwrap().public_jwk().unwrap();
        let public: Value = serde_json::from_str(&public).unwrap();
        for name in ["kty", "n", "e", "crv", "x", "y", "kid"] {
            assert_eq!(public[name], private[name], "{name}");
        }
        for name in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(public.get(name).is_none(), "{name}");
        }
    }
}

#[test]
fn a_key_is_known_by_its_names() {
    let bare = SigningKey::es256_pem(P256_PKCS8).unwrap();
    assert_eq!((bare.kid(), bare.x5t_s256()), (None, None));
    let jwk = SigningKey::from_jwk(P256_JWK).unwrap();
    assert_eq!(jwk.kid(), Some("one"));
    assert_eq!(jwk.with_kid("two").kid(), Some("two"));
    let both = format!("{CERTIFICATE}\n{P256_SEC1}");
    for key in
        [SigningKey::es256_pem(&both).unwrap(), bare.with_certificate_pem(CERTIFICATE).unwrap()]
    {
        assert_eq!(key.x5t_s256(), Some(THUMBPRINT));
    }
}

#[test]
fn what_is_no_such_key_is_refused_without_showing_it() {
    let jwk = |key: &str, from: &str, to: &str| SigningKey::from_jwk(&key.replace(from, to));
    for (refused, why) in [
        (SigningKey::es256_pem(""), "no PEM block"),
        (SigningKey::es256_pem("jpsQnnGQmL"), "no PEM block"),
        (SigningKey::es256_pem(CERTIFICATE), "no PEM block"),
        (SigningKey::es256_pem(&P256_PKCS8.replace("jpsQnn", "jp;Qnn")), "damaged"),
        (SigningKey::es256_pem(ENCRYPTED), "decrypt it"),
        (SigningKey::es384_pem(P256_PKCS8), "not a key for this"),
        (SigningKey::es256_pem(P384_PKCS8), "not a key for this"),
        (SigningKey::rs256_pem(P256_PKCS8), "not a key for this"),
        (SigningKey::ed25519_pem(P256_SEC1), "not a key for this"),
        (SigningKey::from_pem(Algorithm::Hs256, P256_PKCS8), "not PEM"),
        (SigningKey::hs256(""), "empty"),
        (SigningKey::from_jwk("jpsQnnGQmL"), "not the JSON"),
        (jwk(P256_JWK, "P-256", "P-521"), "none of RS256"),
        (jwk(P256_JWK, "\"d\"", "\"D\""), "missing"),
        (jwk(P256_JWK, "jpsQnnGQmL", "jpsQnnGQm+"), "not base64url"),
        (jwk(P256_JWK, "jpsQnnGQmL", "jpsQnnGQmM"), "do not make a key"),
        (jwk(P256_JWK, "jpsQnnGQmL-YBIffH1136", "jpsQnnGQmL"), "do not make a key"),
        (jwk(RSA_JWK, "\"qi\"", "\"iq\""), "missing"),
        (jwk(RSA_JWK, "Eq5xpGnN", "Eq5xpGnM"), "do not make a key"),
    ] {
        let error = refused.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(why), "{shown}");
        for part in ["jpsQ", "jp;Q", "jpsQnnGQmL", "Eq5x"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}

#[test]
fn debug_shows_no_key() {
    for key in [
        SigningKey::from_jwk(RSA_JWK).unwrap(),
        SigningKey::from_jwk(P256_JWK).unwrap(),
        SigningKey::hs256("hunter2").unwrap(),
    ] {
        let shown = format!("{key:?} {key:#?}");
        assert!(shown.contains("SigningKey"));
        for part in ["hunter2", "jpsQ", "Eq5x", "104, 117"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}
