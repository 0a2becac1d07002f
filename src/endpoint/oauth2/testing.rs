//! A server that answers as it is told, for the tests of this module.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower_service::Service;

use super::OAuth2Builder;
use crate::{
    credentials::Credentials,
    endpoint::{IssuedToken, OAuth2, TokenEndpoint},
    error::{AuthError, BoxError},
};

pub(super) const URI: &str = "https://login.example.com/oauth/token";
pub(super) const ID: &str = "my-client-id";
pub(super) const SECRET: &str = "s3cret-of-the-client";

/// Answers with the responses that it was given, and the last of them again and again.
#[derive(Clone, Default)]
pub(super) struct Server {
    responses: Arc<Mutex<VecDeque<Response<String>>>>,
    seen: Arc<Mutex<Vec<Request<String>>>>,
}

impl Server {
    pub(super) fn answering(status: u16, body: &str) -> Self {
        Self::default().then(status, "application/json", body)
    }

    pub(super) fn then(self, status: u16, content_type: &str, body: &str) -> Self {
        let response = Response::builder().status(status).header("content-type", content_type);
        self.then_this(response.body(body.to_owned()).unwrap())
    }

    pub(super) fn then_this(self, response: Response<String>) -> Self {
        self.responses.lock().unwrap().push_back(response);
        self
    }

    /// Returns a builder for the grant `client_credentials` at this server.
    pub(super) fn builder(&self) -> OAuth2Builder<Self> {
        OAuth2::client_credentials(URI, self.clone(), Credentials::new(ID, SECRET))
    }

    pub(super) fn bodies(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|request| request.body().clone()).collect()
    }

    /// Returns the method and the address of each request.
    pub(super) fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|request| format!("{} {}", request.method(), request.uri())).collect()
    }

    /// Returns the headers of each request.
    pub(super) fn heads(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|request| format!("{:?}", request.headers())).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        let value = seen.last()?.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let request = request.map(|body| {
            let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        });
        self.seen.lock().unwrap().push(request);
        let mut responses = self.responses.lock().unwrap();
        let response = responses.front().cloned().unwrap();
        if responses.len() > 1 {
            responses.pop_front();
        }
        ready(Ok(response.map(|body| Full::new(Bytes::from(body)))))
    }
}

/// Makes one attempt with the endpoint of this builder.
pub(super) fn issue(builder: OAuth2Builder<Server>) -> Result<IssuedToken, AuthError> {
    builder.build().unwrap().issue().now_or_never().expect("nothing waits here")
}
