//! azure_core: its bearer token policy, above one that answers in the network's place.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use azure_core::{
    Bytes, Error, Result,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{
        AsyncRawResponse, Context, Method, Request, StatusCode,
        headers::Headers,
        policies::{Policy, PolicyResult, auth::BearerTokenAuthorizationPolicy},
    },
    time::{Duration, OffsetDateTime},
};

use crate::{
    answer::LIFETIME,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    support,
};

#[derive(Debug)]
struct InProcess(Endpoint);

#[async_trait]
impl TokenCredential for InProcess {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> Result<AccessToken> {
        let refused = |error| Error::with_error(ErrorKind::Credential, error, "refused");
        let token = self.0.fetch().await.map_err(refused)?;
        let lifetime = Duration::try_from(LIFETIME).unwrap();
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + lifetime))
    }
}

#[derive(Debug)]
struct Answers;

#[async_trait]
impl Policy for Answers {
    async fn send(
        &self,
        _: &Context,
        request: &mut Request,
        _: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        std::hint::black_box(request);
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), Bytes::new()))
    }
}

#[derive(Clone)]
pub struct Azure {
    policy: BearerTokenAuthorizationPolicy,
    next: Arc<[Arc<dyn Policy>]>,
}

impl Peer for Azure {
    const NAME: &'static str = "azure_core bearer policy";
    type Input = Request;

    async fn make(endpoint: &Endpoint) -> Self {
        let credential = Arc::new(InProcess(endpoint.clone()));
        let policy =
            BearerTokenAuthorizationPolicy::new(credential, ["https://example.com/.default"]);
        Self { policy, next: Arc::new([Arc::new(Answers)]) }
    }

    fn input() -> Request {
        // Cloned, since to parse the URL would take longer than the call.
        static REQUEST: LazyLock<Request> = LazyLock::new(|| {
            let request = support::get(4);
            let mut own = Request::new(request.uri().to_string().parse().unwrap(), Method::Get);
            for (name, value) in request.headers() {
                own.insert_header(name.as_str().to_owned(), value.to_str().unwrap().to_owned());
            }
            own
        });
        REQUEST.clone()
    }

    fn call(&mut self, mut request: Request) -> impl Future<Output = impl Outcome> + Send {
        async move { self.policy.send(&Context::new(), &mut request, &self.next).await.is_ok() }
    }
}
