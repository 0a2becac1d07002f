//! [`HttpService`]: the HTTP client through which a token endpoint is reached.

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use tower_service::Service;

use super::quote::{content_type, redact_content_type};
use crate::error::{AuthError, BoxError, Fate, Kind};

/// A Tower service that a token endpoint can use as its HTTP client.
///
/// The trait is a shorthand for bounds and has nothing to implement. Every service that meets the
/// bounds has it: hyper's client with `Full<Bytes>` bodies, the client of the feature `client`, and
/// any Tower stack over one of them.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower_reauth::{BoxError, endpoint::{HttpService, TokenClient}};
///
/// fn client<S: HttpService>(service: S) -> TokenClient<S> {
///     TokenClient::new(service)
/// }
///
/// let service = tower::service_fn(|_: Request<Full<Bytes>>| async {
///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
/// });
/// # let _ = client(service);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP client that a token endpoint can use",
    note = "it must be `Clone + Send + 'static` and a `Service<http::Request<Full<Bytes>>, \
            Response = http::Response<_>>` whose future and body are `Send`",
    note = "hyper's client is one if it is built for `Full<Bytes>` bodies"
)]
pub trait HttpService: Clone + Send + 'static {
    /// Sends one request and collects its response.
    ///
    /// A success of more than `limit` bytes is an error. A content type that holds `secret` is
    /// removed.
    #[doc(hidden)]
    fn exchange(
        self,
        request: Request<Full<Bytes>>,
        limit: usize,
        secret: &str,
    ) -> impl Future<Output = Result<Response<Bytes>, AuthError>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn exchange(
        mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
        secret: &str,
    ) -> Result<Response<Bytes>, AuthError> {
        // A service that is not ready has sent nothing, so no token was issued.
        let ready = poll_fn(|cx| self.poll_ready(cx)).await;
        ready.map_err(|error| connection_error(error.into()).with_fate(Fate::NotIssued))?;
        let (mut parts, body) =
            self.call(request).await.map_err(|error| connection_error(error.into()))?.into_parts();
        // The errors below quote the content type, so one that holds the secret is removed here.
        redact_content_type(&mut parts.headers, secret);
        let body = Limited::new(body, limit).collect().await.map(Collected::to_bytes);
        if !parts.status.is_success() {
            // The status decides what the error means. A body that is too long or was cut off only
            // costs the text that the error could have quoted.
            return Ok(Response::from_parts(parts, body.unwrap_or_default()));
        }
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let text = format!(
                    "the token endpoint answered {} with more than {limit} bytes{}; check its \
                     address",
                    parts.status,
                    content_type(&parts.headers),
                );
                AuthError::answered(Kind::InvalidResponse, text, parts.status, None)
            } else {
                AuthError::caused_by(
                    Kind::Transient,
                    "the token endpoint's response was cut off; try again later",
                    error,
                )
                // The head was a success, so the token that the body held is lost.
                .with_fate(Fate::Issued)
            }
        })?;
        Ok(Response::from_parts(parts, body))
    }
}

fn connection_error(error: BoxError) -> AuthError {
    let fate = if is_connect_error(&*error) { Fate::NotIssued } else { Fate::Unknown };
    AuthError::caused_by(
        Kind::Transient,
        "the token endpoint can't be reached; check its address and the network, or try again \
         later",
        error,
    )
    .with_fate(fate)
}

/// Returns `true` if no connection was established, so that nothing was sent.
///
/// The types of other HTTP clients are not known here, so it may return `false` for such an error.
/// The cost is small, because the token in use then counts as suspect and is still sent.
fn is_connect_error(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "client")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return error.is_connect();
    }
    let refused = error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    });
    refused || error.source().is_some_and(is_connect_error)
}
