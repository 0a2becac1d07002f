//! Memory that is freed holds no secret of a caller or a client, and no token.

use std::{
    future::ready,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use memory_scan::{SECRET, freed_with_the_secret};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, Credentials, SendPayments, TokenCache, TokenEndpoint,
    assertion::{self, Algorithm, Audience, SignedJwt, Signer, SigningKey},
    endpoint::{IssuedToken, OAuth2, Rotation, TokenFile, oauth2::ClientAuth},
    store::{Name, RedisStore, TokenStore},
};

/// Issues a token.
struct Issues;

impl TokenEndpoint for Issues {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Ok(IssuedToken::new("opaque"))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

/// Returns a value that shares memory with nobody.
fn value(sensitive: bool) -> HeaderValue {
    let mut value = HeaderValue::from_static(SECRET);
    value.set_sensitive(sensitive);
    value
}

/// Sends a request on a thread of its own, which ends.
fn send(status: u16, fill: impl Fn(&mut Request<String>) + Send + 'static) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let inner = service_fn(move |_: Request<String>| {
                ready(Ok::<_, BoxError>(Response::builder().status(status).body(()).unwrap()))
            });
            let cache = TokenCache::new(Issues);
            let auth = AuthLayer::new(cache.clone()).allow_origin("https://api.example.com");
            let service = auth.unwrap().layer(inner);
            for has_token in [false, true] {
                assert_eq!(cache.current().is_some(), has_token);
                let mut request =
                    Request::post("https://api.example.com/x").body(String::new()).unwrap();
                fill(&mut request);
                let response = service.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), status);
                if status == 401 {
                    return;
                }
            }
        });
    })
    .join()
    .unwrap();
}

#[test]
fn a_secret_in_freed_memory_is_found() {
    let freed = freed_with_the_secret(|| drop(std::hint::black_box(SECRET.as_bytes().to_vec())));
    assert_eq!(freed, 1);
    let freed = freed_with_the_secret(|| {
        send(200, |request| drop(request.headers_mut().insert("x-api-key", value(false))));
    });
    assert!(freed > 0, "what is not marked is not wiped");
}

#[test]
fn a_callers_sensitive_header_is_wiped_from_what_was_kept_of_its_request() {
    // Inline, in the overflow, in an overflow that grows after it, and in one that is not pooled.
    for (before, after) in [(0, 0), (1000, 0), (1000, 2000), (3000, 20_000)] {
        // The second status has the request restored and sent once more.
        for status in [200, 401] {
            let freed = freed_with_the_secret(|| {
                send(status, move |request| {
                    let headers = request.headers_mut();
                    let pad = |length| HeaderValue::try_from("p".repeat(length)).unwrap();
                    headers.append("x-before", pad(before));
                    headers.append("x-api-key", value(true));
                    headers.append("x-api-key", value(true));
                    for _ in 0..4 {
                        headers.append("x-after", pad(after));
                    }
                });
            });
            assert_eq!(freed, 0, "{before} bytes before it, {after} after it, {status}");
        }
    }
}

#[test]
fn a_callers_sensitive_header_is_wiped_if_the_head_is_too_long_to_be_kept() {
    let freed = freed_with_the_secret(|| {
        send(200, |request| {
            *request.method_mut() = http::Method::try_from(&*"M".repeat(1 << 16)).unwrap();
            request.headers_mut().insert("x-api-key", value(true));
        });
    });
    assert_eq!(freed, 0);
}

/// Refreshes a token three times by the Send Payments contract, signs requests, and ends, on a
/// thread of its own. `response` makes the body of the endpoint's responses.
fn refresh(
    status: u16,
    client_secret: &'static str,
    response: impl Fn() -> Vec<u8> + Clone + Send + Sync + 'static,
) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let http = service_fn(move |request: Request<Full<Bytes>>| {
                let response = response.clone();
                async move {
                    let sent = request.into_body().collect().await?.to_bytes();
                    let secret = client_secret.as_bytes();
                    assert!(sent.windows(secret.len()).any(|window| window == secret));
                    // In memory of its own, as HTTP clients give it.
                    let body = Full::new(Bytes::from(response()));
                    Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
                }
            });
            let credentials = Credentials::new("id", client_secret);
            let endpoint = SendPayments::new("https://api.example.com", http, credentials);
            let cache = TokenCache::new(endpoint.unwrap());
            let inner = service_fn(|request: Request<String>| {
                assert!(request.headers()["authorization"].is_sensitive());
                ready(Ok::<_, BoxError>(Response::new(())))
            });
            let service = AuthLayer::new(cache.clone()).layer(inner);
            for _ in 0..3 {
                let refreshed = cache.refresh().await;
                assert_eq!(refreshed.is_ok(), status == 201, "{refreshed:?}");
                let request =
                    Request::get("https://api.example.com/x").body(String::new()).unwrap();
                let response = service.clone().oneshot(request).await;
                assert_eq!(response.is_ok(), status == 201);
            }
        });
    })
    .join()
    .unwrap();
}

#[test]
fn a_clients_secret_is_wiped_from_what_a_refresh_leaves_behind() {
    let issues = || br#"{"accessToken": "opaque", "expiresAt": "2026-11-24T02:49:00Z"}"#.to_vec();
    let freed = freed_with_the_secret(|| refresh(201, SECRET, issues));
    assert_eq!(freed, 0);
    // The endpoint refuses the secret, and shows it, in memory that the test does not free.
    let percent = concat!(
        "%63%30%30%6b%69%65%2d%6f%66%2d%74%68%65%2d%63%61%6c%6c%65%72%2d",
        "%30%31%32%33%34%35%36%37%38%39",
    );
    let not_utf8 = concat!(
        "%ff%ff%63%30%30%6b%69%65%2d%6f%66%2d%74%68%65%2d%63%61%6c%6c%65%72%2d",
        "%30%31%32%33%34%35%36%37%38%39",
    );
    let base64 = "YzAwa2llLW9mLXRoZS1jYWxsZXItMDEyMzQ1Njc4OQ==";
    for shown in [SECRET, "C00KIE-OF-THE-CALLER-0123456789", percent, not_utf8, base64] {
        let refuses =
            move || [r#"{"message": "no client has the secret "#, shown, r#""}"#].concat().into();
        let freed = freed_with_the_secret(|| refresh(401, SECRET, refuses));
        assert_eq!(freed, 0, "{shown}");
    }
}

#[test]
fn a_token_is_wiped_from_what_a_refresh_and_a_request_leave_behind() {
    for rest in [
        "}",
        r#", "expiresAt": "2026-11-24T02:49:00Z"}"#,
        // A key that is there twice takes another way.
        r#", "expiresAt": "2026-11-24T02:49:00Z", "expiresAt": "2026-11-24T02:49:00Z"}"#,
    ] {
        let issues = move || [r#"{"accessToken": ""#, SECRET, "\"", rest].concat().into();
        let freed = freed_with_the_secret(|| refresh(201, "the-secret-of-the-client", issues));
        assert_eq!(freed, 0, "{rest}");
    }
}

/// Starts a server that accepts a login and then closes the connection.
fn accepts_logins() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // On the stack, which is not scanned.
            let mut command = [0; 256];
            let read = stream.read(&mut command).unwrap();
            assert!(command[..read].windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
            stream.write_all(b"+OK\r\n").unwrap();
        }
    });
    address
}

#[test]
fn the_password_of_a_store_is_wiped_after_each_login_and_with_the_store() {
    let address = accepts_logins();
    // In percent encoding too. The caller's own text is leaked, and so never freed.
    for password in [SECRET.to_owned(), SECRET.replace('-', "%2D")] {
        let url = format!("redis://reauth:{password}@{address}").leak();
        password.leak();
        let freed = freed_with_the_secret(|| {
            let url = &*url;
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let store = RedisStore::connect(url).unwrap();
                    for _ in 0..3 {
                        let error = store.get(&Name::new("x").unwrap()).await.unwrap_err();
                        assert!(error.is_transient(), "{error}");
                    }
                });
            })
            .join()
            .unwrap();
        });
        assert_eq!(freed, 0);
    }
}

/// Asks an endpoint for a token three times, on a thread of its own.
fn issue(endpoint: impl TokenEndpoint, is_issued: bool) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                let issued = endpoint.issue().await;
                assert_eq!(issued.is_ok(), is_issued, "{:?}", issued.err());
            }
        });
    })
    .join()
    .unwrap();
}

/// An endpoint whose client says who it is by `auth`, and is refused.
fn refused(auth: ClientAuth) -> impl TokenEndpoint {
    let http = service_fn(|request: Request<Full<Bytes>>| async {
        drop(request.into_body().collect().await?.to_bytes());
        let body = Full::new(Bytes::from_static(br#"{"error": "invalid_client"}"#));
        Ok::<_, BoxError>(Response::builder().status(401).body(body)?)
    });
    let credentials = Credentials::new("id", "");
    let endpoint = OAuth2::client_credentials("https://login.example.com/token", http, credentials);
    endpoint.client_auth(auth).build().unwrap()
}

#[test]
fn an_assertion_and_a_token_in_a_file_are_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    // With white space around it, which is dropped. The test frees nothing with the secret in it.
    std::fs::write(&path, ["\u{feff} ", SECRET, "\n"].concat().leak()).unwrap();
    let freed = freed_with_the_secret(|| {
        issue(refused(ClientAuth::assertion(assertion::file(&path))), false);
        issue(TokenFile::new(&path), true);
    });
    assert_eq!(freed, 0);
}

#[test]
fn the_secret_that_signs_an_assertion_is_wiped() {
    // In base64url.
    let jwk = r#"{"kty": "oct", "k": "YzAwa2llLW9mLXRoZS1jYWxsZXItMDEyMzQ1Njc4OQ"}"#;
    let freed = freed_with_the_secret(|| {
        for key in [SigningKey::hs256(SECRET), SigningKey::from_jwk(jwk)] {
            let jwt = SignedJwt::new(key.unwrap()).audience(Audience::TokenUri);
            issue(refused(ClientAuth::assertion(jwt)), false);
        }
    });
    assert_eq!(freed, 0);
}

/// Its signatures are the secret.
#[derive(Clone)]
struct SigningService;

impl Signer for SigningService {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Hs256
    }

    async fn sign(&self, _input: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(SECRET.as_bytes().to_vec())
    }
}

#[test]
fn the_signature_of_an_assertion_is_wiped() {
    let freed = freed_with_the_secret(|| {
        let jwt = SignedJwt::new(SigningService).audience(Audience::TokenUri);
        issue(refused(ClientAuth::assertion(jwt)), false);
    });
    assert_eq!(freed, 0);
}
