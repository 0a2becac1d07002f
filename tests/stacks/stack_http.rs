//! The layer among those of tower-http: redirects, traces, sensitive headers, compression.
//! `docs/stacks.md` says it in words.

use http::{HeaderName, Response, header};
use http_body_util::BodyExt;
use support::{Endpoint, Resource, Step, URI, authorization, get, log::Log, ok};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{
    compression::{CompressionLayer, predicate::SizeAbove},
    decompression::DecompressionLayer,
    follow_redirect::FollowRedirectLayer,
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    trace::{DefaultMakeSpan, DefaultOnRequest, TraceLayer},
};
use tower_reauth::{AuthError, AuthLayer, CrossOriginRequests, TokenCache};
use tracing::Level;

fn auth(endpoint: &Endpoint) -> AuthLayer {
    AuthLayer::new(TokenCache::new(endpoint.clone()))
}

/// Sends the first request elsewhere; accepts every other.
fn redirecting(status: u16) -> Resource {
    Resource::new(move |number, _| match number {
        1 => {
            let redirect = Response::builder()
                .status(status)
                .header(header::LOCATION, "https://evil.example/take");
            redirect.body(String::new()).unwrap()
        }
        _ => ok(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_redirect_followed_above_is_refused_or_goes_on_unsigned() {
    for status in [301, 302, 303, 307, 308] {
        for foreign in [CrossOriginRequests::Refuse, CrossOriginRequests::PassUnsigned] {
            let resource = redirecting(status);
            let service = ServiceBuilder::new()
                .layer(FollowRedirectLayer::new())
                .layer(auth(&Endpoint::exclusive()).cross_origin_requests(foreign))
                .service(resource.clone());
            let answer = service.oneshot(get(URI)).await;
            if foreign == CrossOriginRequests::Refuse {
                let error = answer.unwrap_err();
                assert!(error.as_auth().is_some_and(AuthError::is_refused_origin), "{status}");
                assert_eq!(resource.tokens(), ["Bearer token-1"], "{status}");
            } else {
                assert_eq!(answer.unwrap().status(), 200);
                assert_eq!(resource.tokens(), ["Bearer token-1", ""], "{status}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_followed_below_does_not_take_the_token_to_another_origin() {
    for status in [301, 302, 303, 307, 308] {
        let resource = redirecting(status);
        let service = ServiceBuilder::new()
            .layer(auth(&Endpoint::exclusive()))
            .layer(FollowRedirectLayer::new())
            .service(resource.clone());
        assert_eq!(service.oneshot(get(URI)).await.unwrap().status(), 200);
        assert_eq!(resource.tokens(), ["Bearer token-1", ""], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_shows_headers_sees_no_token_on_either_side() {
    let (log, _logging) = Log::of_this_thread(Level::TRACE);
    let trace = || {
        let span = DefaultMakeSpan::new().level(Level::INFO).include_headers(true);
        TraceLayer::new_for_http()
            .make_span_with(span)
            .on_request(DefaultOnRequest::new().level(Level::INFO))
    };
    let own = HeaderName::from_static("x-partner-key");
    let service = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([own.clone()]))
        .layer(trace())
        .layer(auth(&Endpoint::exclusive()))
        .layer(trace())
        .service(Resource::accepting("token-2"));
    let mut request = get(URI);
    request.headers_mut().insert(own, "partner-secret".parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let log = log.text();
    assert!(log.contains("\"authorization\": Sensitive"), "{log}");
    assert!(!log.contains("token-1") && !log.contains("token-2"), "{log}");
    // What another layer has marked stays marked in the replay.
    assert!(
        log.contains("\"x-partner-key\": Sensitive") && !log.contains("partner-secret"),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn compressed_answers_are_replayed_and_given_back_on_either_side_of_decompression() {
    for above in [true, false] {
        for renewable in [true, false] {
            let endpoint = Endpoint::exclusive();
            if !renewable {
                endpoint.then(Step::Issue).then(Step::Fail(AuthError::rejected("no such client")));
            }
            let accepted = if renewable { "Bearer token-2" } else { "nothing" };
            let resource = Resource::new(move |_, request| {
                assert_eq!(request.headers()[header::ACCEPT_ENCODING], "gzip");
                let (status, text) = if authorization(request) == accepted {
                    (200, "done")
                } else {
                    (401, "who are you?")
                };
                Response::builder().status(status).body(text.repeat(100)).unwrap()
            });
            let server = CompressionLayer::new().compress_when(SizeAbove::new(16));
            let (auth, decompression) = (auth(&endpoint), DecompressionLayer::new());
            let (status, body) = if above {
                let service = ServiceBuilder::new()
                    .layer(decompression)
                    .layer(auth)
                    .layer(server)
                    .service(resource);
                let answer = service.oneshot(get(URI)).await.unwrap();
                (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
            } else {
                let service = ServiceBuilder::new()
                    .layer(auth)
                    .layer(decompression)
                    .layer(server)
                    .service(resource);
                let answer = service.oneshot(get(URI)).await.unwrap();
                (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
            };
            let expected = if renewable { (200, "done") } else { (401, "who are you?") };
            assert_eq!(
                (status.as_u16(), &body[..]),
                (expected.0, expected.1.repeat(100).as_bytes())
            );
            assert_eq!(endpoint.calls(), 2);
        }
    }
}
