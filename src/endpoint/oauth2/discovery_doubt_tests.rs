//! Tests of answers that speak against known metadata, and of those that do not.

use super::*;

/// An ingress answers so for a moment, as in a rollout.
#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_gone_for_a_moment_is_still_known_while_the_metadata_is_not_there()
{
    for status in [404, 405, 410] {
        let server = with_document(&document())
            .then(status, "text/html", "")
            .then(503, "text/html", "")
            .then(200, "application/json", TOKEN);
        let endpoint = builder(&server).build().unwrap();
        issue(&endpoint).unwrap();
        issue(&endpoint).unwrap_err();
        issue(&endpoint).unwrap();
        assert_eq!(server.lines(), [FIRST, POST, POST, FIRST, POST], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn known_metadata_is_void_only_after_a_document_of_another_issuer() {
    let page = r#"{"status": "maintenance"}"#;
    let evil = r#"{"issuer": "https://evil.example"}"#;
    let nowhere = json!({"issuer": ISSUER}).to_string();
    let plain = json!({"issuer": ISSUER, "token_endpoint": "http://tokens.example.com/token"});
    let plain = plain.to_string();
    for (first, (status, second), is_void) in [
        (page, (200, page), false),
        ("[]", (404, ""), false),
        (r#"{"issuer": null}"#, (404, ""), false),
        (&nowhere, (200, &nowhere), false),
        (&plain, (200, &plain), false),
        // The second address may be the one that has the document.
        (evil, (503, ""), false),
        (evil, (404, ""), true),
        (evil, (200, page), true),
        (page, (200, evil), true),
    ] {
        let server = with_document(&document())
            .then(200, "application/json", first)
            .then(status, "application/json", second)
            .then(200, "application/json", TOKEN);
        let endpoint = builder(&server).build().unwrap();
        issue(&endpoint).unwrap();
        advance(KEPT_FOR + Duration::from_secs(1)).await;
        let issued = issue(&endpoint);
        assert_eq!(issued.is_err(), is_void, "{first} {second}: {issued:?}");
        let expected: &[_] = if is_void { &[FIRST, SECOND] } else { &[FIRST, SECOND, POST] };
        assert_eq!(server.lines()[2..], *expected, "{first} {second}");
    }
}

/// Something else answers at the port, or somebody without the server's certificate.
#[cfg(feature = "client")]
#[tokio::test(start_paused = true)]
async fn known_metadata_outlives_a_server_without_http_and_no_refused_handshake() {
    let no_http: fn() -> BoxError = || "stream error detected: not HTTP".into();
    let no_tls: fn() -> BoxError = || rustls::Error::General("another's certificate".into()).into();
    for (fault, is_void) in [(no_http, false), (no_tls, true)] {
        let fails = Arc::new(AtomicBool::new(false));
        let is_failing = Arc::clone(&fails);
        let service = odd_server(move |request| {
            if request.method() == http::Method::POST {
                return Some(Ok(TOKEN.into()));
            }
            let is_failing = is_failing.load(Ordering::Relaxed);
            Some(if is_failing { Err(fault()) } else { Ok(document().to_string()) })
        });
        let credentials = Credentials::new(ID, SECRET);
        let endpoint = OAuth2::client_credentials(Issuer::new(ISSUER), service, credentials);
        let endpoint = endpoint.build().unwrap();
        endpoint.issue().await.unwrap();
        fails.store(true, Ordering::Relaxed);
        advance(KEPT_FOR + Duration::from_secs(1)).await;
        let issued = endpoint.issue().await;
        assert_eq!(issued.is_err(), is_void, "{}", fault());
        assert!(issued.err().is_none_or(|error| error.is_permanent()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_for_clients_with_a_certificate_is_checked_for_them_alone() {
    let mut plain = document();
    plain["mtls_endpoint_aliases"] = json!({"token_endpoint": "http://mtls.example.com/t"});
    let server = with_document(&plain);
    issue(&builder(&server).build().unwrap()).unwrap();
    assert_eq!(server.lines(), [FIRST, POST]);
    let server = with_document(&plain);
    let error = issue(&builder(&server).client_auth(ClientAuth::Tls).build().unwrap()).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("plain http"), "{error}");
    assert_eq!(server.lines(), [FIRST, SECOND]);
}
