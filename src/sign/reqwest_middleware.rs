//! [`AuthLayer`] as a middleware of the `reqwest-middleware` crate.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Extensions, Uri};
use reqwest_middleware::{
    Error as MiddlewareError, Middleware, Next,
    reqwest::{Request, Response},
};
use tower_layer::Layer;
use tower_service::Service;

use super::{classify::Classify, layer::AuthLayer};
use crate::{
    error::{BoxError, Error},
    replay::{Replay, ReplayableBody},
};

/// Signs requests, holds them back during renewals, and replays them after a 401, as in a Tower
/// stack. Add the layer after middlewares that retry, so that each retry is signed again.
///
/// - Only a body that reqwest can clone is replayed: bytes, a string, JSON, a form. A stream is
///   sent once, and its 401 is the caller's.
/// - An inner middleware may set a [`refusal::Mark`](crate::refusal::Mark) in the extensions of a
///   response, for [`refusal::marked`](crate::refusal::marked) to find.
/// - The `reqwest::Client` itself follows redirects, inside of all middlewares and past the layer's
///   guard. It drops `Authorization` on the way to another origin, and no header of another name.
///   So build the client with `redirect::Policy::none()`.
///
/// # Errors
///
/// An error of the layer itself is a `reqwest_middleware::Error::Middleware` with an [`Error`] in
/// it, which `downcast_ref::<tower_reauth::Error>()` of its `anyhow::Error` returns. Errors of
/// inner middlewares and of the client come through as they are. One of reqwest shows the URL with
/// its query, unless `without_url` takes it off.
///
/// # Cancel safety
///
/// A request may be dropped at any time. A refresh that it has started goes on. The caller's
/// extensions stay as they were before the request.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use reqwest_middleware::{ClientBuilder, reqwest};
/// use tower_reauth::{AuthLayer, Credentials};
///
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let auth = AuthLayer::send_payments("https://api.example.com", credentials)?;
/// let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let client = ClientBuilder::new(http).with(auth).build();
///
/// let response = client.get("https://api.example.com/accounts").send().await?;
/// # Ok(())
/// # }
/// ```
#[async_trait::async_trait]
impl<R, C> Middleware for AuthLayer<R, C>
where
    R: Replay<Whole, Kept: Send> + Send + Sync + 'static,
    C: Classify,
{
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let mut head = http::Request::new(());
        *head.uri_mut() =
            Uri::try_from(request.url().as_str()).map_err(MiddlewareError::middleware)?;
        *head.method_mut() = request.method().clone();
        *head.headers_mut() = mem::take(request.headers_mut());
        // The layer works on a copy, so that a caller that drops the request keeps its own.
        let shared = Arc::new(Mutex::new(extensions.clone()));
        let mut service = self.layer(InnerService { next, extensions: Arc::clone(&shared) });
        let result = service.call(head.map(|()| Whole(request))).await;
        *extensions = mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
        match result {
            Ok(response) => {
                let (parts, mut response) = response.into_parts();
                // The response's own come back. If there was no replay because no token was to be
                // had, the reason is among them.
                response.extensions_mut().extend(parts.extensions);
                Ok(response)
            }
            Err(Error::Inner { error, request }) => {
                Err(match error.downcast::<MiddlewareError>() {
                    Ok(error) => *error,
                    Err(error) => MiddlewareError::middleware(Error::inner_of(error, request)),
                })
            }
            Err(error) => Err(MiddlewareError::middleware(error)),
        }
    }
}

/// A request without its headers, as the body of an `http::Request` that has them. What the types
/// of `http` can't carry, such as the request's own timeout, is thus not lost.
#[doc(hidden)]
pub struct Whole(Request);

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the request, because some callers have a secret in the URL.
        f.debug_struct("Whole").finish_non_exhaustive()
    }
}

impl ReplayableBody for Whole {
    type Kept = Option<Request>;

    fn keep(&self) -> Option<Request> {
        self.0.try_clone()
    }

    fn pause(kept: &Option<Request>) -> bool {
        kept.is_some()
    }

    fn restore(kept: Option<Request>) -> Option<Self> {
        kept.map(Self)
    }
}

/// The inner service, which is the inner middlewares and the client. It is ready at any time.
#[derive(Clone)]
struct InnerService<'a> {
    next: Next<'a>,
    extensions: Arc<Mutex<Extensions>>,
}

impl<'a> Service<http::Request<Whole>> for InnerService<'a> {
    type Response = http::Response<Response>;
    type Error = BoxError;
    type Future = BoxFuture<'a, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Whole>) -> Self::Future {
        let Self { next, extensions } = self.clone();
        Box::pin(async move {
            let (parts, Whole(mut request)) = request.into_parts();
            *request.headers_mut() = parts.headers;
            // The inner middlewares change a copy, which is stored when they return.
            let mut own = extensions.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let result = next.run(request, &mut own).await;
            *extensions.lock().unwrap_or_else(PoisonError::into_inner) = own;
            let mut response = result?;
            let mut head = http::Response::new(());
            *head.status_mut() = response.status();
            *head.headers_mut() = response.headers().clone();
            // They may hold the mark of an inner middleware.
            *head.extensions_mut() = mem::take(response.extensions_mut());
            Ok(head.map(|()| response))
        })
    }
}
