//! Addresses that are spelled in another way than the token endpoint's.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use support::{Resource, get, ok};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthError, AuthLayer, BoxError, Credentials, SendPayments, TokenCache};

fn layer(base_url: &str) -> AuthLayer {
    let http = service_fn(|_: Request<Full<Bytes>>| async {
        let body = Full::new(Bytes::from_static(br#"{"accessToken":"abc"}"#));
        Ok::<_, BoxError>(Response::builder().status(201).body(body).unwrap())
    });
    let endpoint = SendPayments::new(base_url, http, Credentials::new("id", "secret")).unwrap();
    AuthLayer::new(TokenCache::new(endpoint))
}

/// Returns the token that a request carries, or `None` if the request is refused.
async fn signed(layer: &AuthLayer, request: Request<String>) -> Option<String> {
    let resource = Resource::new(|_, _| ok());
    match layer.layer(resource.clone()).oneshot(request).await {
        Ok(_) => Some(resource.tokens().remove(0)),
        Err(error) => {
            assert!(error.as_auth().is_some_and(AuthError::is_refused_origin), "{error:?}");
            None
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_written_in_two_ways_is_one_origin() {
    let token = Some("Bearer abc".to_owned());
    for [one, other] in [
        ["http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"],
        ["https://[2001:db8:0:0::1]", "https://[2001:DB8::1]:443"],
        ["https://[::ffff:10.0.0.1]", "https://[::ffff:a00:1]"],
        ["https://[fe80:0::1%25eth0]", "https://[fe80::1%25eth0]"],
    ] {
        for (base, uri) in [(one, other), (other, one)] {
            let layer = layer(base);
            assert_eq!(signed(&layer, get(&format!("{uri}/x"))).await, token, "{base} {uri}");
            // The `Host` header is read in the same way.
            let host = uri.split_once("//").unwrap().1;
            for target in [format!("{base}/x"), "/x".into()] {
                let mut request = get(&target);
                request.headers_mut().insert("host", HeaderValue::try_from(host).unwrap());
                assert_eq!(signed(&layer, request).await, token, "{target} {host}");
            }
            // The request for a token is not signed, however it is spelled.
            let mut request = get(&format!("{uri}/auth"));
            *request.method_mut() = Method::POST;
            assert_eq!(signed(&layer, request).await, Some(String::new()), "{base} {uri}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_name_for_the_same_machine_is_another_origin() {
    for (base, uri) in [
        ("https://api.example.com", "https://api.example.com./x"),
        ("https://api.example.com.", "https://api.example.com/x"),
        ("http://127.0.0.1:8080", "http://localhost:8080/x"),
        ("http://[::1]:8080", "http://127.0.0.1:8080/x"),
        ("https://10.0.0.1", "https://[::ffff:10.0.0.1]/x"),
        ("https://[fe80::1%25eth0]", "https://[fe80::1%25eth1]/x"),
    ] {
        assert_eq!(signed(&layer(base), get(uri)).await, None, "{base} {uri}");
        assert!(uri.parse::<Uri>().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn permission_for_plain_http_holds_for_all_spellings_of_an_address() {
    let layer =
        layer("https://api.example.com").allow_plain_http("http://[2001:db8:0::1]:80").unwrap();
    for uri in ["http://[2001:db8::1]/x", "http://[2001:0db8::0001]:80/x"] {
        assert!(signed(&layer, get(uri)).await.is_some(), "{uri}");
    }
    assert!(signed(&layer, get("http://[2001:db8::2]/x")).await.is_none());
}
