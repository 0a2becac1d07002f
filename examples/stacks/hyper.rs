//! hyper-util's pooled client under the layer: a JSON `POST`, a `GET`, and a `GET` whose token was
//! revoked behind the client's back, which is answered 401 and sent once more with a new token.
//!
//! ```text
//! cargo run -p examples-stacks --example hyper
//! ```
//!
//! It prints the status of each request, and what the server has counted.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer, BoxError, Credentials, SendPayments, TokenCache, sandbox::Sandbox,
};

type SignedClient = Auth<Client<HttpConnector, Full<Bytes>>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sandbox = Sandbox::builder().start().await?;
    let base_url = sandbox.base_url();

    // One client, with one pool of connections, for the token endpoint and for the signed requests.
    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let endpoint = SendPayments::new(&base_url, http.clone(), credentials)?;
    let mut client = AuthLayer::new(TokenCache::new(endpoint)).layer(http);

    let request = Request::post(format!("{base_url}/accounts"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(r#"{"name": "Ada"}"#))?;
    let (created, account) = send(&mut client, request).await?;
    println!("POST /accounts: {created}");

    let account: serde_json::Value = serde_json::from_slice(&account)?;
    let id = account["id"].as_str().ok_or("the answer has no id")?;
    let get = || Request::get(format!("{base_url}/accounts/{id}")).body(Full::default());
    let (shown, _) = send(&mut client, get()?).await?;
    println!("GET /accounts/{{id}}: {shown}");

    sandbox.revoke(Sandbox::CLIENT_ID);
    let (replayed, _) = send(&mut client, get()?).await?;
    println!("GET /accounts/{{id}}, its token revoked: {replayed}");

    let counters = sandbox.counters();
    // The token was revoked in its first seconds, in which a server may not know it yet. So it was
    // tried again for two seconds before it was replaced.
    println!(
        "the server saw {} requests, answered {} of them 401, and {} POST /auth",
        counters.resource_requests, counters.unauthorized_replaced, counters.auth_requests
    );
    let statuses = [created, shown, replayed];
    let as_promised = statuses == [StatusCode::CREATED, StatusCode::OK, StatusCode::OK]
        && counters.resource_ok == 3
        && counters.auth_requests == 2;
    sandbox.shutdown().await;
    if !as_promised {
        return Err(format!("{statuses:?}, {counters:#?}").into());
    }
    println!(
        "As promised: the request whose token was revoked was sent again, and its caller saw a 200."
    );
    Ok(())
}

async fn send(
    client: &mut SignedClient,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), BoxError> {
    let response = client.ready().await?.call(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
