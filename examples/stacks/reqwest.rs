//! The layer over a `reqwest::Client`: a JSON `POST`, then a streamed upload whose token was
//! revoked behind the client's back, which is answered 401 and sent once more, byte for byte, with
//! a new token.
//!
//! ```text
//! cargo run -p examples-stacks --example reqwest
//! ```
//!
//! It prints the status of each request with the account that came of it, and what the server has
//! counted.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, Credentials, ReqwestService, SendPayments, TokenCache,
    replay::ReplayLayer, sandbox::Sandbox,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sandbox = Sandbox::builder().start().await?;
    let url = format!("{}/accounts", sandbox.base_url());

    // It follows no redirects. They would take the secret, or the token, past the layer's guard.
    let http = ReqwestService::build(reqwest::Client::builder())?;
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(sandbox.base_url(), http.clone(), credentials)?;
    let auth = AuthLayer::new(TokenCache::new(endpoint));

    // A body that is `Clone` can be sent again as it is.
    let client = ServiceBuilder::new().layer(auth.clone()).service(http.clone());
    let request = Request::post(&url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::<Bytes>::from(r#"{"name": "Ada"}"#))?;
    let (created, account) = answer(client.oneshot(request).await?).await?;
    println!("POST /accounts: {created} {}", account["name"]);

    // A stream can be sent again with a `ReplayLayer` above.
    let client = ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(http);
    sandbox.revoke(Sandbox::CLIENT_ID);
    let chunks =
        [r#"{"name": ""#, "Grace ", "Brewster ", "Hopper", r#""}"#].map(Ok::<_, Infallible>);
    let request = Request::post(&url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)))?;
    let (uploaded, account) = answer(client.oneshot(request).await?).await?;
    println!("POST /accounts, streamed, its token revoked: {uploaded} {}", account["name"]);

    let counters = sandbox.counters();
    println!(
        "the server saw {} requests, answered {} of them 401, and {} POST /auth",
        counters.resource_requests, counters.unauthorized_replaced, counters.auth_requests
    );
    sandbox.shutdown().await;
    let as_promised = [created, uploaded] == [StatusCode::CREATED; 2]
        && account["name"] == "Grace Brewster Hopper"
        && (counters.resource_ok, counters.auth_requests, counters.accounts_created) == (2, 2, 2);
    if !as_promised {
        return Err(format!("not as promised: {counters:#?}").into());
    }
    println!("As promised: the upload whose token was revoked was sent again, byte for byte.");
    Ok(())
}

async fn answer(
    response: Response<reqwest::Body>,
) -> Result<(StatusCode, serde_json::Value), BoxError> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body)?))
}
