//! `reqwest::Client` as the inner service and as the client of the token endpoint, against the
//! sandbox on a real socket.

use std::convert::Infallible;

use axum::{Router, response::Redirect, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode, header};
use http_body_util::Full;
use support::{closed_port::ClosedPort, known_at_once};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthLayer, Credentials, Error, ReqwestService, SendPayments, TokenCache,
    endpoint::fixed,
    replay::ReplayLayer,
    reqwest::{self, Client, Response},
    sandbox::Sandbox,
};

const ADA: &str = r#"{"name": "Ada"}"#;

fn service() -> ReqwestService {
    ReqwestService::build(Client::builder()).unwrap()
}

fn auth(sandbox: &Sandbox) -> AuthLayer {
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(sandbox.base_url(), service(), credentials).unwrap();
    AuthLayer::new(known_at_once(endpoint))
}

fn create<B>(sandbox: &Sandbox, body: B) -> Request<B> {
    Request::post(format!("{}/accounts", sandbox.base_url()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn requests_are_signed_and_replayed_after_a_401() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let client = auth(&sandbox).layer(service());
    let request = || create(&sandbox, Full::<Bytes>::from(ADA));
    assert_eq!(client.clone().oneshot(request()).await.unwrap().status(), StatusCode::CREATED);
    sandbox.revoke(Sandbox::CLIENT_ID);
    let response = Response::from(client.oneshot(request()).await.unwrap());
    assert_eq!(response.status(), StatusCode::CREATED);
    let account: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(account["name"], "Ada");
    let counters = sandbox.counters();
    assert_eq!((counters.auth_requests, counters.accounts_created), (2, 2));
}

#[tokio::test]
async fn a_streamed_body_is_replayed_below_a_replay_layer() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let auth = auth(&sandbox);
    auth.cache().token().await.unwrap();
    sandbox.revoke(Sandbox::CLIENT_ID);
    let client = ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(service());
    let chunks = [r#"{"name": ""#, "Grace", r#""}"#].map(Ok::<_, Infallible>);
    // It is not `Sync`, as reqwest wants its bodies.
    let body = axum::body::Body::from_stream(futures_util::stream::iter(chunks));
    let response = client.oneshot(create(&sandbox, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(Response::from(response).text().await.unwrap().contains("Grace"));
    assert_eq!(sandbox.counters().auth_requests, 2);
}

#[tokio::test]
async fn the_clients_own_error_comes_through() {
    let closed = ClosedPort::hold();
    let url = format!("http://{}", closed.addr());
    let sandbox = Sandbox::builder().start().await.unwrap();
    let auth = auth(&sandbox).allow_origin(&url).unwrap();
    let request = Request::get(&url).body(Full::<Bytes>::default()).unwrap();
    let error = auth.clone().layer(service()).oneshot(request).await.unwrap_err();
    assert_eq!(error.request(), Some(&*format!("GET {url}/")));
    let Error::Inner { error, .. } = error else { panic!("{error:?}") };
    assert!(error.downcast_ref::<reqwest::Error>().unwrap().is_connect());
    // One without a host is no request for reqwest.
    let request = Request::get("/accounts").body(Full::<Bytes>::default()).unwrap();
    let error = auth.layer(service()).oneshot(request).await.unwrap_err();
    let Error::Inner { error, .. } = error else { panic!("{error:?}") };
    assert!(error.downcast_ref::<reqwest::Error>().unwrap().is_builder());
}

/// Some callers have a secret in the URL.
#[tokio::test]
async fn an_error_of_the_client_shows_no_url() {
    let closed = ClosedPort::hold();
    let url = format!("http://{}", closed.addr());
    let auth = AuthLayer::new(TokenCache::new(fixed("token"))).allow_origin(&url).unwrap();
    // reqwest can't send the second, because its parser of URLs is stricter.
    for url in [format!("{url}/v1?api_key=hunter2"), "http://[v1.hunter2]/".into()] {
        let request = Request::get(&url).body(Full::<Bytes>::default()).unwrap();
        let error = service().oneshot(request).await.unwrap_err();
        assert!(error.url().is_none(), "{url}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let request = Request::get(format!("{url}/v1?api_key=hunter2"));
    let error = auth.layer(service()).oneshot(request.body(Full::<Bytes>::default()).unwrap());
    let error = error.await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

/// A client that follows redirects would take the token past the layer's guard.
#[tokio::test]
async fn a_client_that_is_built_here_follows_no_redirects() {
    let serve = async |router: Router| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    };
    let seen = async |headers: HeaderMap| headers.contains_key("x-token").to_string();
    let elsewhere = serve(Router::new().route("/", get(seen))).await;
    let api = serve(Router::new().route("/", get(async move || Redirect::to(&elsewhere)))).await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let auth = auth(&sandbox).header_name(HeaderName::from_static("x-token"));
    let auth = auth.allow_origin(&api).unwrap();
    let ask = async |http: ReqwestService| {
        let request = Request::get(&api).body(Full::<Bytes>::default()).unwrap();
        Response::from(auth.layer(http).oneshot(request).await.unwrap())
    };
    let builder = Client::builder().redirect(reqwest::redirect::Policy::default());
    let response = ask(ReqwestService::build(builder).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    // This is what it guards against.
    let followed = ask(ReqwestService::new(Client::new())).await;
    assert_eq!(followed.text().await.unwrap(), "true", "the token went elsewhere");
}
