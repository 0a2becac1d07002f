//! reqwest-middleware: a middleware that signs, above one that answers in the network's place.

use std::{future::Future, sync::LazyLock};

use async_trait::async_trait;
use http::{Extensions, HeaderValue, header};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next, Result};

use crate::{
    answer::token,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    support,
};

struct Signer(HeaderValue);

#[async_trait]
impl Middleware for Signer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        request.headers_mut().insert(header::AUTHORIZATION, self.0.clone());
        next.run(request, extensions).await
    }
}

struct Answers;

#[async_trait]
impl Middleware for Answers {
    async fn handle(&self, request: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response> {
        drop(std::hint::black_box(request));
        Ok(http::Response::new("").into())
    }
}

#[derive(Clone)]
pub struct ReqwestMiddleware(ClientWithMiddleware);

impl Peer for ReqwestMiddleware {
    const NAME: &'static str = "reqwest-middleware, signing";
    type Input = Request;

    async fn make(_: &Endpoint) -> Self {
        let signer = Signer(support::static_header(&token()));
        Self(ClientBuilder::new(reqwest::Client::new()).with(signer).with(Answers).build())
    }

    fn input() -> Request {
        // Cloned, since to parse the URL would take longer than the call.
        static REQUEST: LazyLock<Request> = LazyLock::new(|| {
            let request = support::get(4).map(|_| reqwest::Body::default());
            request.try_into().unwrap()
        });
        let mut request = REQUEST.try_clone().unwrap();
        // A clone's have no room left for another one, which those of `get` have.
        *request.headers_mut() = support::get(4).into_parts().0.headers;
        request
    }

    fn call(&mut self, request: Request) -> impl Future<Output = impl Outcome> + Send {
        async move { self.0.execute(request).await.is_ok() }
    }
}
