//! yup-oauth2: an authorized user, whose token is fetched over HTTP and kept in memory.

use std::{
    future::Future,
    task::{Context, Poll},
};

use http::{Request, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::Service;
use yup_oauth2::{
    AuthorizedUserAuthenticator, CustomHyperClientBuilder, authenticator::Authenticator,
    authorized_user::AuthorizedUserSecret,
};

use crate::{
    endpoint::Endpoint,
    peer::{Outcome, Peer, bearer, send},
    support::{self, Body},
};

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];

/// The user's flow knows one address only. This takes all connections to the endpoint instead.
#[derive(Clone)]
pub struct ToEndpoint {
    http: HttpConnector,
    endpoint: Uri,
}

impl Service<Uri> for ToEndpoint {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.http.call(self.endpoint.clone())
    }
}

#[derive(Clone)]
pub struct Yup(Authenticator<ToEndpoint>);

impl Peer for Yup {
    const NAME: &'static str = "yup-oauth2 token, then signed";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let secret = AuthorizedUserSecret {
            client_id: "id".into(),
            client_secret: "secret".into(),
            refresh_token: "refresh".into(),
            key_type: "authorized_user".into(),
        };
        let connector =
            ToEndpoint { http: HttpConnector::new(), endpoint: endpoint.url().parse().unwrap() };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let client = CustomHyperClientBuilder::from(client);
        Self(AuthorizedUserAuthenticator::with_client(secret, client).build().await.unwrap())
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            match self.0.token(&SCOPES).await {
                Ok(token) => send(request, bearer(token.token().unwrap())),
                Err(_) => false,
            }
        }
    }
}
