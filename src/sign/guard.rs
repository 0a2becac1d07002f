//! [`Guard`]: decides whether a request may carry the token. Pure.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};

use crate::{
    error::{AuthError, ConfigError, Kind, shown},
    origin::{self, Origin},
};

/// The treatment of requests to an origin that may not see the token. They are never signed.
///
/// # Examples
///
/// ```
/// # fn f(cache: tower_reauth::TokenCache) {
/// use tower_reauth::{AuthLayer, CrossOriginRequests};
///
/// let layer = AuthLayer::new(cache).cross_origin_requests(CrossOriginRequests::PassUnsigned);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrossOriginRequests {
    /// The request is not sent. The caller gets an [`AuthError::is_refused_origin`], which names
    /// the origin and nothing else of the URI.
    #[default]
    Refuse,
    /// The request is sent as it is, without a token.
    PassUnsigned,
}

/// The origins that may see the token.
#[derive(Clone)]
pub(crate) struct Guard {
    endpoint: Option<Uri>,
    /// The path of `endpoint`. Taking it from the URI for each `POST` would cost 20 instructions,
    /// of 1,500.
    token_path: Option<Box<str>>,
    allowed: Vec<Origin>,
    /// Those of `allowed` to which the token may go in plain text.
    plain: Vec<Origin>,
    pub(crate) cross_origin: CrossOriginRequests,
}

/// The decision on one request.
#[derive(Debug)]
pub(crate) enum Admission {
    Sign,
    PassUnsigned,
    Refuse(AuthError),
}

impl Guard {
    /// Allows only the origins of the API, for tokens of the endpoint with this URI.
    pub(crate) fn new(endpoint: Option<&Uri>, allowed: Vec<Origin>) -> Self {
        Self {
            endpoint: endpoint.cloned(),
            token_path: endpoint.map(|endpoint| endpoint.path().into()),
            allowed,
            plain: Vec::new(),
            cross_origin: CrossOriginRequests::default(),
        }
    }

    pub(crate) fn allow(&mut self, url: &str) -> Result<(), ConfigError> {
        let uri = origin::parse(url)?;
        origin::check_transport(&uri, "AuthLayer::allow_plain_http")?;
        self.allowed.extend(Origin::of(&uri));
        Ok(())
    }

    pub(crate) fn allow_plain(&mut self, url: &str) -> Result<(), ConfigError> {
        let uri = origin::parse(url)?;
        self.allowed.extend(Origin::of(&uri));
        self.plain.extend(Origin::of(&uri));
        Ok(())
    }

    /// Returns whether a request takes the fast path, as nearly every one does. It is then signed,
    /// unless one of its headers [overrides the authority](overrides_authority).
    ///
    /// Its URI has no host, or is written exactly as an origin that may see the token. It is not
    /// the token request.
    #[inline]
    pub(crate) fn is_fast_path(&self, method: &Method, uri: &Uri) -> bool {
        let may_see_it = |origin: &Origin| !self.is_exposed(origin);
        let is_to_it = |origin: &Origin| uri.authority().is_none() || origin.is_written_in(uri);
        self.allowed.iter().any(|origin| is_to_it(origin) && may_see_it(origin))
            && !self.has_token_path(method, uri)
    }

    /// Decides on one request, on the fast path if possible.
    pub(crate) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Admission {
        // There are few headers, so comparing each name is quicker than a lookup.
        if self.is_fast_path(method, uri) && !headers.keys().any(overrides_authority) {
            Admission::Sign
        } else {
            self.check_slow(method, uri, headers)
        }
    }

    /// Decides on any request. On those of the fast path it gives the same decision 5 ns later.
    fn check_slow(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Admission {
        if self.is_token_request(method, uri, headers) {
            return Admission::PassUnsigned;
        }
        if uri.authority().is_none() {
            return self.check_relative(headers);
        }
        match self.allowed.iter().find(|origin| origin.is_of(uri)) {
            // A server chooses the site by `Host` (RFC 9110, section 7.2). One that names another
            // host than the URI sends the token to another origin in all but name.
            Some(origin) => {
                let mut hosts = hosts(headers);
                match hosts.find(|host| !origin.is_host(host.as_bytes())) {
                    Some(host) => self.cross_origin(&shown_host(host)),
                    None if self.is_exposed(origin) => Self::exposed(origin),
                    None => Admission::Sign,
                }
            }
            None => self.cross_origin(&shown(uri)),
        }
    }

    /// Decides on a request whose URI has no host. Such a request goes to the peer to which the
    /// inner service is connected, as in gRPC channels and with `hyper::client::conn`. The guard
    /// trusts whoever connected the service, so the request may be signed. A `Host` header that
    /// names another origin is believed.
    fn check_relative(&self, headers: &HeaderMap) -> Admission {
        let hosts = || hosts(headers);
        let mut named = self
            .allowed
            .iter()
            .filter(|origin| hosts().all(|host| origin.is_host(host.as_bytes())));
        match (named.clone().find(|origin| !self.is_exposed(origin)), named.next()) {
            (Some(_), _) => Admission::Sign,
            (None, Some(origin)) => Self::exposed(origin),
            (None, None) => self.cross_origin(
                &hosts().next().map_or_else(|| "a URI without host".into(), shown_host),
            ),
        }
    }

    fn is_exposed(&self, origin: &Origin) -> bool {
        origin.is_exposed() && !self.plain.contains(origin)
    }

    fn exposed(origin: &Origin) -> Admission {
        Admission::Refuse(AuthError::new(
            Kind::RefusedOrigin,
            format!(
                "{origin} is plain http and not this machine, so the token was not sent; use \
                 https, or allow it with AuthLayer::allow_plain_http"
            ),
        ))
    }

    fn cross_origin(&self, target: &str) -> Admission {
        match self.cross_origin {
            CrossOriginRequests::PassUnsigned => Admission::PassUnsigned,
            CrossOriginRequests::Refuse if self.allowed.is_empty() => {
                Admission::Refuse(AuthError::new(
                    Kind::RefusedOrigin,
                    format!(
                        "no origin may see the token, so the request to {target} was not sent; \
                         name the API with OAuth2Builder::for_api or AuthLayer::allow_origin"
                    ),
                ))
            }
            CrossOriginRequests::Refuse => Admission::Refuse(AuthError::new(
                Kind::RefusedOrigin,
                format!(
                    "{target} is not of an origin that may see the token, so the request was not \
                     sent; name the origin with AuthLayer::allow_origin, or let such requests pass \
                     unsigned with AuthLayer::cross_origin_requests"
                ),
            )),
        }
    }

    /// Returns whether this is the request for a token. It needs no token, and if it waited for
    /// one, it would wait for itself.
    fn is_token_request(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        if !self.has_token_path(method, uri) {
            return false;
        }
        let Some(origin) = self.endpoint.as_ref().and_then(Origin::of) else { return false };
        // A URI without a host goes to the API, unless its `Host` header says otherwise.
        let may_be_endpoint = || self.allowed.contains(&origin) || hosts(headers).next().is_some();
        (if uri.authority().is_none() { may_be_endpoint() } else { origin.is_of(uri) })
            && hosts(headers).all(|host| origin.is_host(host.as_bytes()))
    }

    fn has_token_path(&self, method: &Method, uri: &Uri) -> bool {
        *method == Method::POST && self.token_path.as_deref().is_some_and(|path| path == uri.path())
    }
}

/// Returns whether a header of this name may name another origin than the URI's.
#[inline]
pub(crate) fn overrides_authority(name: &HeaderName) -> bool {
    *name == header::HOST
}

/// Returns host and port of a `Host` header. Whatever else stands there may be a secret.
fn shown_host(host: &HeaderValue) -> String {
    match Authority::try_from(host.as_bytes()) {
        Ok(authority) => match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().into(),
        },
        Err(_) => "what its `Host` header says".into(),
    }
}

/// Returns the values of the `Host` headers.
fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.get_all(header::HOST).iter()
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the endpoint's URI, because some endpoints take the secret in it.
        let allowed: Vec<_> = self.allowed.iter().map(Origin::to_string).collect();
        f.debug_struct("Guard")
            .field("allowed", &allowed)
            .field("cross_origin", &self.cross_origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
