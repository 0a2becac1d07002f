//! [`HttpService`]: the HTTP client through which a token endpoint is reached.

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use secrecy::SecretString;
use tower_service::Service;

use super::{
    quote::{content_type, redact_headers},
    spelling,
};
use crate::{
    error::{AuthError, BoxError, Fate, Kind, endpoint_at},
    isolate::isolate,
};

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
/// use http::{Request, Response, Uri};
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
    /// A success of more than `limit` bytes is an error. Nothing of the service's own errors and of
    /// the headers that are quoted holds a part of one of the `secrets`.
    #[doc(hidden)]
    fn exchange(
        self,
        request: Request<Full<Bytes>>,
        limit: usize,
        secrets: &[SecretString],
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
        secrets: &[SecretString],
    ) -> Result<Response<Bytes>, AuthError> {
        let uri = request.uri().clone();
        let failed = |error: BoxError| connection_error(error, &uri, secrets);
        // A service that is not ready has sent nothing, so no token was issued.
        let ready = poll_fn(|cx| self.poll_ready(cx)).await;
        ready.map_err(|error| failed(error.into()).with_fate(Fate::NotIssued))?;
        let response = self.call(request).await.map_err(|error| failed(error.into()))?;
        let (mut parts, body) = response.into_parts();
        // The errors below quote headers, so one that holds the secret is removed here.
        redact_headers(&mut parts.headers, secrets);
        let body = Limited::new(body, limit).collect().await.map(Collected::to_bytes);
        if !parts.status.is_success() {
            // The status decides what the error means. A body that is too long or was cut off only
            // costs the text that the error could have quoted.
            return Ok(Response::from_parts(parts, body.unwrap_or_default()));
        }
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let text = format!(
                    "{} answered {} with more than {limit} bytes{}; check its address",
                    endpoint_at(&uri),
                    parts.status,
                    content_type(&parts.headers),
                );
                AuthError::responded(Kind::InvalidResponse, text, parts.status)
            } else {
                AuthError::caused_by(
                    Kind::Transient,
                    format!("the response of {} was cut off; try again later", endpoint_at(&uri)),
                    without_secret(error, secrets),
                )
            }
        })?;
        Ok(Response::from_parts(parts, body))
    }
}

/// The reasons for which there is no response that make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The host has no address.
    Unresolved,
    /// The TLS handshake was refused, by either side.
    Tls,
    /// The address is https, and the client speaks no TLS.
    NoTls,
    /// The server does not speak HTTP.
    Protocol,
    /// The proxy in front of it made no connection.
    Proxy,
    /// Any other.
    Unreachable,
}

/// Returns `true` if there was no response because a TLS handshake was refused.
pub(super) fn is_tls_refusal(error: &AuthError) -> bool {
    error.source().is_some_and(|source| fault(source) == Fault::Tls)
}

fn connection_error(error: BoxError, uri: &Uri, secrets: &[SecretString]) -> AuthError {
    let fault = fault(&*error);
    let endpoint = endpoint_at(uri);
    let (kind, text) = match fault {
        Fault::Unresolved => (
            Kind::Unresolved,
            format!(
                "the host of {endpoint} can't be resolved, so it can't be \
                 reached; check the name in its address, and the name server"
            ),
        ),
        Fault::Tls => (
            Kind::Permanent,
            format!(
                "the TLS handshake with {endpoint} failed; check its address and \
                 its certificate, which authorities this client trusts, and the \
                 certificate of this client if the endpoint asks for one"
            ),
        ),
        Fault::NoTls => (
            Kind::Permanent,
            format!(
                "{endpoint} has an https address, and this HTTP client speaks no \
                 TLS; build the client with it (under hyper's TCP connector, with \
                 `enforce_http(false)`)"
            ),
        ),
        Fault::Protocol => (
            Kind::Permanent,
            format!(
                "{endpoint} did not answer in HTTP; check the scheme and the port \
                 of its address"
            ),
        ),
        Fault::Proxy => (
            Kind::Transient,
            format!(
                "the proxy{} made no connection to {endpoint}; check the proxy's \
                 address, user and password, or name the host in NO_PROXY",
                proxy(&*error).map(|proxy| format!(" {proxy}")).unwrap_or_default(),
            ),
        ),
        Fault::Unreachable => (
            Kind::Transient,
            format!(
                "{endpoint} can't be reached; check its address and the network, \
                 or try again later"
            ),
        ),
    };
    let was_never_sent = matches!(fault, Fault::Unresolved | Fault::NoTls);
    let may_be_issued = !was_never_sent && !has_cause(&*error, &is_connect_error);
    let fate = if may_be_issued { Fate::Unknown } else { Fate::NotIssued };
    AuthError::caused_by(kind, text, without_secret(error, secrets)).with_fate(fate)
}

/// Replaces an error whose text, or that of a cause, holds a part of one of the `secrets`.
/// The kind of the first I/O error among them is left.
///
/// The caller asks the error all that it needs to know first.
fn without_secret(error: BoxError, secrets: &[SecretString]) -> BoxError {
    let shows = |error: &(dyn Error + 'static)| {
        spelling::holds_any(&error.to_string(), secrets)
            || spelling::holds_any(&format!("{error:?}"), secrets)
    };
    if !has_cause(&*error, &shows) {
        return error;
    }
    let kind = io_kind(&*error).unwrap_or(io::ErrorKind::Other);
    // Its destructor is a user's code.
    isolate(|| drop(error));
    io::Error::from(kind).into()
}

/// Returns `true` if `error` or one of its causes is as asked.
fn has_cause(error: &(dyn Error + 'static), is: &dyn Fn(&(dyn Error + 'static)) -> bool) -> bool {
    // The source of an I/O error leaves out the error that is wrapped in it.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    is(error)
        || wrapped.is_some_and(|wrapped| has_cause(wrapped, is))
        || error.source().is_some_and(|source| has_cause(source, is))
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind.or_else(|| io_kind(error.source()?))
}

/// Returns what went wrong, as far as the error tells.
///
/// The errors of hyper and rustls are known, and so of each client that is made of them. Those of
/// other clients count as passing.
fn fault(error: &(dyn Error + 'static)) -> Fault {
    // First, since its own cause would be blamed on the token endpoint.
    if proxy(error).is_some() {
        Fault::Proxy
    } else if has_cause(error, &is_unresolved) {
        Fault::Unresolved
    } else if has_cause(error, &is_tls_fault) {
        Fault::Tls
    } else if has_cause(error, &is_without_tls) {
        Fault::NoTls
    } else if has_cause(error, &is_protocol_fault) {
        Fault::Protocol
    } else {
        Fault::Unreachable
    }
}

/// Returns host and port of the proxy that made no connection, if that is the fault.
fn proxy<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    #[cfg(feature = "client")]
    if let Some(error) = error.downcast_ref::<crate::client::ProxyError>() {
        return Some(error.proxy());
    }
    proxy(error.source()?)
}

fn is_unresolved(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "client")]
    if error.is::<ConnectError>() {
        // The type has no question for this, and its `Display` is one of a few constants.
        return error.to_string() == "dns error";
    }
    // The standard library's own text, on Unix.
    error.is::<io::Error>() && error.to_string().starts_with("failed to lookup address information")
}

/// The error of hyper's TCP connector, which has no name.
#[cfg(feature = "client")]
type ConnectError = <hyper_util::client::legacy::connect::HttpConnector as Service<Uri>>::Error;

fn is_tls_fault(error: &(dyn Error + 'static)) -> bool {
    // In TLS 1.3 a server refuses the client's certificate after the handshake, when the error is
    // HTTP's, and HTTP/2 keeps its text alone. The text is that of rustls.
    if let Some(alert) = error.to_string().strip_prefix("received fatal alert: ") {
        return is_lasting_alert(alert);
    }
    #[cfg(feature = "client")]
    if error.is::<rustls::Error>() || error.is::<rustls::pki_types::InvalidDnsNameError>() {
        return true;
    }
    false
}

/// Returns `true` for an alert (RFC 8446, section 6) that the next handshake would end with too: it
/// is about a certificate, a name, or what the two sides can do. Others, such as an internal error
/// of the server, may pass.
fn is_lasting_alert(alert: &str) -> bool {
    const OTHERS: [&str; 8] = [
        "UnknownCA",
        "AccessDenied",
        "HandshakeFailure",
        "ProtocolVersion",
        "InsufficientSecurity",
        "NoApplicationProtocol",
        "UnrecognisedName",
        "UnsupportedExtension",
    ];
    alert.contains("Certificate") || OTHERS.contains(&alert)
}

/// Returns `true` for the error of hyper's TCP connector without a connector for TLS around it. The
/// type has no question for this. reqwest without a feature for TLS has the same connector.
fn is_without_tls(error: &(dyn Error + 'static)) -> bool {
    error.to_string() == "invalid URL, scheme is not http"
}

fn is_protocol_fault(error: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "client")]
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return true;
    }
    // HTTP/2 as this side reads it. The type is not a dependency, and its text has these two forms.
    let text = error.to_string();
    text.starts_with("connection error detected: ") || text.starts_with("stream error detected: ")
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
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    })
}
