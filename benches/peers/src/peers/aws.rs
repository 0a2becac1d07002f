//! aws-smithy-runtime: its lazy identity cache, and the token that it gives out put on the request.

use std::{future::Future, sync::Arc, time::SystemTime};

use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::{
    identity::{
        Identity, IdentityFuture, ResolveCachedIdentity, ResolveIdentity, SharedIdentityCache,
        SharedIdentityResolver, http::Token,
    },
    runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
};
use aws_smithy_types::config_bag::ConfigBag;
use http::Request;

use crate::{
    answer::LIFETIME,
    endpoint::Endpoint,
    peer::{Outcome, Peer, bearer, send},
    support::{self, Body},
};

#[derive(Debug)]
struct InProcess(Endpoint);

impl ResolveIdentity for InProcess {
    fn resolve_identity<'a>(
        &'a self,
        _: &'a RuntimeComponents,
        _: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        IdentityFuture::new(async {
            let token = self.0.fetch().await?;
            let expires = SystemTime::now() + LIFETIME;
            Ok(Identity::new(Token::new(token, Some(expires)), Some(expires)))
        })
    }
}

struct Client {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    config: ConfigBag,
}

#[derive(Clone)]
pub struct Aws(Arc<Client>);

impl Peer for Aws {
    const NAME: &'static str = "aws lazy cache, then signed";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let components = RuntimeComponentsBuilder::for_tests()
            .with_time_source(Some(SystemTimeSource::new()))
            .with_sleep_impl(Some(TokioSleep::new()))
            .build()
            .unwrap();
        Self(Arc::new(Client {
            cache: IdentityCache::lazy().build(),
            resolver: SharedIdentityResolver::new(InProcess(endpoint.clone())),
            components,
            config: ConfigBag::base(),
        }))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        async move {
            let Client { cache, resolver, components, config } = &*self.0;
            match cache.resolve_cached_identity(resolver.clone(), components, config).await {
                Ok(identity) => {
                    let token = identity.data::<Token>().unwrap();
                    send(request, bearer(token.token()))
                }
                Err(_) => false,
            }
        }
    }
}
