//! Memory that is freed holds no secret of a caller.

use std::{future::ready, thread};

use http::{HeaderValue, Request, Response};
use memory_scan::{SECRET, freed_with_the_secret};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    AuthError, AuthLayer, BoxError, TokenCache, TokenEndpoint,
    endpoint::{IssuedToken, Rotation},
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
