//! Connections to the token endpoint that fail, with the built-in client and others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use support::{
    Endpoint, Step,
    tls::{self, Tls},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use tower::ServiceExt;
use tower_reauth::{
    AuthError, RefreshPolicy, ReqwestService, SendPayments, TokenCache, client,
    endpoint::HttpService,
};

use super::endpoint_answers::{Body, credentials, shown};

/// The error of one refresh at `base_url`, and the number of its attempts.
async fn refused(base_url: &str, http: impl HttpService) -> (AuthError, u64) {
    let cache = TokenCache::new(SendPayments::new(base_url, http, credentials()).unwrap());
    let error = cache.token().await.unwrap_err();
    (error, cache.counters().token_requests)
}

/// A server that answers each connection with these bytes, after it has read something.
async fn speaking(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes).await;
                // Closed by the client.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_host_that_does_not_resolve_ends_the_refresh_at_once_and_is_named() {
    let http = client::https().unwrap();
    let (error, attempts) = refused("https://no-such-host.invalid:8443", http).await;
    assert_eq!(attempts, 1, "{error:?}");
    assert!(error.is_transient() && !error.is_permanent(), "for the next call: {error:?}");
    assert!(error.to_string().contains("no-such-host.invalid:8443 can't be resolved"), "{error}");
}

#[tokio::test]
async fn a_refused_tls_handshake_ends_the_refresh_at_once_and_says_so() {
    let tls = Tls::serve(axum::Router::new(), &tls::BOTH).await;
    let port = tls.base_url().rsplit(':').next().unwrap().to_owned();
    let plain = speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let alert = speaking(b"\x15\x03\x03\0\x02\x02\x28").await;
    for (base_url, http) in [
        // An authority that nobody trusts, another name, a server without TLS, a fatal alert.
        (tls.base_url(), client::https().unwrap()),
        (format!("https://127.0.0.1:{port}"), client::https_with(tls.trusting.clone())),
        (format!("https://{plain}"), client::https().unwrap()),
        (format!("https://{alert}"), client::https().unwrap()),
    ] {
        let (error, attempts) = refused(&base_url, http).await;
        assert!(error.is_permanent() && !error.is_transient(), "{error:?}");
        assert_eq!(attempts, 1, "{error:?}");
        let address = base_url.strip_prefix("https://").unwrap();
        assert!(error.to_string().contains(address), "{error}");
        assert!(error.to_string().contains("TLS handshake"), "{error}");
    }
}

#[tokio::test]
async fn a_client_without_tls_ends_the_refresh_at_once_and_says_so() {
    async fn check(http: impl HttpService) {
        let (error, attempts) = refused("https://127.0.0.1:9", http).await;
        assert!(error.is_permanent() && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("speaks no TLS"), "{error}");
        assert_eq!(attempts, 1, "{error:?}");
    }

    check(Client::builder(TokioExecutor::new()).build_http::<Body>()).await;
    // None of reqwest's features for TLS is on.
    check(ReqwestService::build(reqwest::Client::builder()).unwrap()).await;
}

#[tokio::test]
async fn an_answer_that_is_no_http_ends_the_refresh_at_once_and_says_so() {
    for bytes in [
        &b"220 mail.example.com ESMTP ready\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\0\x02\x02\x46",
        b"HTTP/1.1 banana\r\n\r\n",
    ] {
        let address = speaking(bytes).await;
        let (error, attempts) =
            refused(&format!("http://{address}"), client::https().unwrap()).await;
        assert!(error.is_permanent() && !error.is_transient(), "{error:?}");
        assert_eq!(attempts, 1, "{error:?}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_2_ends_the_refresh_at_once_too() {
    let address = speaking(b"220 mail.example.com ESMTP ready, and some more of it\r\n").await;
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Body>();
    let endpoint = SendPayments::new(format!("http://{address}"), http, credentials()).unwrap();
    let cache = TokenCache::new(endpoint);
    let error = cache.token().await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    assert_eq!(cache.counters().token_requests, 1, "{error:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_passing_and_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    // "internal_error" (RFC 8446, section 6.2), which another handshake may not meet.
    let alert = speaking(b"\x15\x03\x03\0\x02\x02\x50").await;
    for (scheme, address) in [("http", address), ("https", address), ("https", alert)] {
        let policy = RefreshPolicy::default()
            .deadline(Duration::from_millis(500))
            .retry_base(Duration::from_millis(10));
        let http = client::https().unwrap();
        let endpoint =
            SendPayments::new(format!("{scheme}://{address}"), http, credentials()).unwrap();
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        let error = cache.token().await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(cache.counters().token_requests > 1);
        assert!(error.to_string().contains(&format!("{address} can't be reached")), "{error}");
    }
    assert!(connections.load(Ordering::SeqCst) > 2);
}

/// The one test that waits in real time: for the connector's own bound, on a real socket.
#[tokio::test]
async fn a_server_that_is_silent_in_the_tls_handshake_meets_the_connectors_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(listener.accept().await.unwrap());
        }
    });
    let http: client::HttpsClient<Body> = client::https().unwrap();
    let started = Instant::now();
    let error = http.oneshot(Request::get(uri).body(Full::default()).unwrap()).await.unwrap_err();
    let waited = started.elapsed();
    assert!(error.is_connect() && shown(&error).contains("within 5 s"), "{error:?}");
    assert!((4..7).contains(&waited.as_secs()), "{waited:?}");
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn timeouts_say_after_how_long() {
    for (attempt, deadline, said) in [(3, 2, "2 s"), (3, 4, "3 s"), (10, 30, "10 s")] {
        let endpoint = Endpoint::exclusive();
        for _ in 0..100 {
            endpoint.then(Step::Hang);
        }
        let policy = RefreshPolicy::default()
            .attempt_timeout(Duration::from_secs(attempt))
            .deadline(Duration::from_secs(deadline));
        let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();
        let error = cache.token().await.unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains(said), "{error}");
    }
}
