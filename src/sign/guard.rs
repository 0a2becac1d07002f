//! May this request carry the token? Pure.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};

use crate::{
    error::{AuthError, ConfigError, Kind, shown},
    origin::{self, Origin},
};

/// What becomes of a request to an origin that may not see the token. It is never signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrossOriginRequests {
    /// It is not sent; the caller gets an [`AuthError::is_refused_origin`] that names the origin and nothing else of the
    /// URI.
    #[default]
    Refuse,
    /// It is sent as it is, without a token.
    PassUnsigned,
}

/// The origins that may see the token.
#[derive(Clone)]
pub(crate) struct Guard {
    endpoint: Option<Uri>,
    /// Its path. To take it from there would be 20 more instructions of each POST, of 1500.
    token_path: Option<Box<str>>,
    allowed: Vec<Origin>,
    plain: Vec<Origin>,
    pub(crate) cross_origin: CrossOriginRequests,
}

#[derive(Debug)]
pub(crate) enum Admission {
    Sign,
    PassUnsigned,
    Refuse(AuthError),
}

impl Guard {
    /// Only the token endpoint's own origin.
    pub(crate) fn new(endpoint: Option<&Uri>) -> Self {
        Self {
            endpoint: endpoint.cloned(),
            token_path: endpoint.map(|endpoint| endpoint.path().into()),
            allowed: endpoint.and_then(Origin::of).into_iter().collect(),
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

    /// Nearly every request: to an origin that may see the token, written as ours is, or to wherever the service below is
    /// connected. If none of its headers [says otherwise](overrides_authority), it is to be signed.
    #[inline]
    pub(crate) fn is_fast_path(&self, method: &Method, uri: &Uri) -> bool {
        let may_see_it = |origin: &Origin| !self.is_exposed(origin);
        let is_to_it = |origin: &Origin| uri.authority().is_none() || origin.is_written_in(uri);
        self.allowed.iter().any(|origin| is_to_it(origin) && may_see_it(origin))
            && !self.has_token_path(method, uri)
    }

    pub(crate) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Admission {
        // There are few headers, so looking at each name is quicker than a lookup.
        if self.is_fast_path(method, uri) && !headers.keys().any(overrides_authority) {
            Admission::Sign
        } else {
            self.check_slow(method, uri, headers)
        }
    }

    /// What [`check`](Self::check) says of usual requests as well, 5 ns later.
    fn check_slow(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Admission {
        if self.is_token_request(method, uri, headers) {
            return Admission::PassUnsigned;
        }
        if uri.authority().is_none() {
            return self.check_relative(headers);
        }
        match self.allowed.iter().find(|origin| origin.is_of(uri)) {
            // Servers choose by `Host`, so one that says otherwise is another origin in all but name.
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

    /// A URI without host goes where the service below is connected to, as in gRPC channels and on hyper's own
    /// connections: whoever built that chose its origin. A `Host` header that says otherwise is believed.
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
                "{origin} is plain http and not this machine, so the token was not sent; use https, or allow it \
                 with AuthLayer::allow_plain_http"
            ),
        ))
    }

    fn cross_origin(&self, target: &str) -> Admission {
        match self.cross_origin {
            CrossOriginRequests::PassUnsigned => Admission::PassUnsigned,
            CrossOriginRequests::Refuse => Admission::Refuse(AuthError::new(
                Kind::RefusedOrigin,
                format!(
                    "{target} is not of an origin that may see the token, so the request was not sent; name the \
                     origin with AuthLayer::allow_origin, or let such requests pass unsigned with \
                     AuthLayer::cross_origin_requests"
                ),
            )),
        }
    }

    /// The request for a token needs none, and waiting for one would be waiting for itself.
    fn is_token_request(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        if !self.has_token_path(method, uri) {
            return false;
        }
        let Some(origin) = self.endpoint.as_ref().and_then(Origin::of) else { return false };
        (uri.authority().is_none() || origin.is_of(uri))
            && hosts(headers).all(|host| origin.is_host(host.as_bytes()))
    }

    fn has_token_path(&self, method: &Method, uri: &Uri) -> bool {
        *method == Method::POST && self.token_path.as_deref().is_some_and(|path| path == uri.path())
    }
}

/// Whether a header of this name may say that the request is for another origin than the URI's.
#[inline]
pub(crate) fn overrides_authority(name: &HeaderName) -> bool {
    *name == header::HOST
}

/// Host and port of a `Host` header, and nothing else that may stand there.
fn shown_host(host: &HeaderValue) -> String {
    match Authority::try_from(host.as_bytes()) {
        Ok(authority) => match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().into(),
        },
        Err(_) => "what its `Host` header says".into(),
    }
}

/// The `Host` headers.
fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.get_all(header::HOST).iter()
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the endpoint's URI: some carry the secret in it.
        let allowed: Vec<_> = self.allowed.iter().map(Origin::to_string).collect();
        f.debug_struct("Guard")
            .field("allowed", &allowed)
            .field("cross_origin", &self.cross_origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(Some(&Uri::from_static("https://api.example.com/v1/auth")))
    }

    fn check(
        guard: &Guard,
        method: &Method,
        uri: &'static str,
        host: Option<&'static str>,
    ) -> &'static str {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, http::HeaderValue::from_static(host));
        }
        let uri = Uri::from_static(uri);
        let (admission, slow) =
            (guard.check(method, &uri, &headers), guard.check_slow(method, &uri, &headers));
        assert_eq!(format!("{admission:?}"), format!("{slow:?}"), "{uri}");
        match admission {
            Admission::Sign => "sign",
            Admission::PassUnsigned => "pass",
            Admission::Refuse(error) => {
                assert!(error.is_refused_origin());
                "refuse"
            }
        }
    }

    #[test]
    fn the_fast_path_takes_the_endpoints_own_spelling_and_no_host_but_not_the_token_request() {
        let guard = guard();
        for (method, uri, is_fast_path) in [
            (Method::GET, "https://api.example.com/v1/accounts?limit=10", true),
            (Method::POST, "https://api.example.com/v1/accounts", true),
            (Method::POST, "/v1/accounts", true),
            (Method::POST, "/v1/auth", false),
            (Method::GET, "https://API.example.com/", false),
            (Method::POST, "https://api.example.com/v1/auth", false),
        ] {
            assert_eq!(guard.is_fast_path(&method, &Uri::from_static(uri)), is_fast_path, "{uri}");
        }
    }

    #[test]
    fn only_allowed_origins_are_signed() {
        let mut guard = guard();
        guard.allow("https://reports.example.com").unwrap();
        for (uri, expected) in [
            ("https://api.example.com/v1/accounts", "sign"),
            ("https://reports.example.com/", "sign"),
            ("https://evil.example/", "refuse"),
            ("http://api.example.com/v1/accounts", "refuse"),
            ("https://api.example.com:444/", "refuse"),
        ] {
            assert_eq!(check(&guard, &Method::GET, uri, None), expected, "{uri}");
        }
        guard.cross_origin = CrossOriginRequests::PassUnsigned;
        assert_eq!(check(&guard, &Method::GET, "https://evil.example/", None), "pass");
    }

    #[test]
    fn the_token_request_itself_is_never_signed() {
        let guard = guard();
        for (method, uri, expected) in [
            (Method::POST, "https://api.example.com/v1/auth", "pass"),
            (Method::POST, "https://api.example.com/v1/auth?x=y", "pass"),
            (Method::POST, "/v1/auth", "pass"),
            (Method::GET, "https://api.example.com/v1/auth", "sign"),
            (Method::POST, "https://api.example.com/v1/auth/x", "sign"),
            (Method::POST, "https://evil.example/v1/auth", "refuse"),
        ] {
            assert_eq!(check(&guard, &method, uri, None), expected, "{uri}");
        }
    }

    #[test]
    fn a_host_header_that_names_another_origin_makes_a_request_cross_origin() {
        let mut guard = guard();
        guard.allow("https://reports.example.com").unwrap();
        for (uri, host, expected) in [
            ("https://api.example.com/v1/accounts", "api.example.com", "sign"),
            ("https://api.example.com/v1/accounts", "evil.example", "refuse"),
            ("https://api.example.com/v1/accounts", "reports.example.com", "refuse"),
        ] {
            assert_eq!(check(&guard, &Method::GET, uri, Some(host)), expected, "{host}");
        }
        // The token endpoint's path, on another host.
        assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("evil.example")), "refuse");
        assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("reports.example.com")), "sign");
        assert_eq!(check(&guard, &Method::POST, "/v1/auth", Some("api.example.com")), "pass");
        assert_eq!(
            check(&guard, &Method::POST, "https://reports.example.com/v1/auth", None),
            "sign"
        );
    }

    #[test]
    fn a_cross_origin_host_header_is_named_without_what_may_be_a_secret() {
        for (uri, host, shown) in [
            (
                "https://api.example.com/x",
                "user:password@evil.example:8443",
                "evil.example:8443 is not",
            ),
            ("/x", "user:password@evil.example", "evil.example is not"),
            ("/x", "password of a user", "what its `Host` header says is not"),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            let admission = guard().check(&Method::GET, &Uri::from_static(uri), &headers);
            let Admission::Refuse(error) = admission else { panic!("{admission:?}") };
            let error = error.to_string();
            assert!(error.starts_with(shown) && !error.contains("password"), "{error}");
        }
    }

    #[test]
    fn a_relative_uri_is_signed_unless_its_host_header_is_cross_origin() {
        let guard = guard();
        for (host, expected) in [
            (None, "sign"),
            (Some("api.example.com"), "sign"),
            (Some("API.example.com:443"), "sign"),
            (Some("evil.example"), "refuse"),
            (Some("api.example.com:8443"), "refuse"),
            (Some("not a host"), "refuse"),
        ] {
            assert_eq!(check(&guard, &Method::GET, "/v1/accounts", host), expected, "{host:?}");
        }
    }

    #[test]
    fn plain_http_beyond_this_machine_needs_to_be_allowed_by_name() {
        let mut guard = Guard::new(Some(&Uri::from_static("http://payments.internal/auth")));
        assert_eq!(check(&guard, &Method::GET, "http://payments.internal/x", None), "refuse");
        assert_eq!(check(&guard, &Method::GET, "/x", None), "refuse");
        assert_eq!(check(&guard, &Method::GET, "/x", Some("payments.internal")), "refuse");
        assert!(matches!(
            guard.allow("http://payments.internal"),
            Err(ConfigError::PlainHttp { .. })
        ));
        guard.allow_plain("http://payments.internal").unwrap();
        assert_eq!(check(&guard, &Method::GET, "http://payments.internal/x", None), "sign");
        assert_eq!(check(&guard, &Method::GET, "/x", None), "sign");
        let local = Guard::new(Some(&Uri::from_static("http://127.0.0.1:8080/auth")));
        assert_eq!(check(&local, &Method::GET, "http://127.0.0.1:8080/x", None), "sign");
    }

    #[test]
    fn without_an_endpoint_uri_every_origin_must_be_named() {
        let mut guard = Guard::new(None);
        assert_eq!(check(&guard, &Method::GET, "https://api.example.com/", None), "refuse");
        assert_eq!(check(&guard, &Method::GET, "/x", None), "refuse");
        guard.allow("https://api.example.com").unwrap();
        assert_eq!(check(&guard, &Method::GET, "https://api.example.com/", None), "sign");
    }
}
