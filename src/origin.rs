//! [`Origin`]: scheme, host and port of a URL (RFC 6454, section 4).
//!
//! An origin decides two things: which requests may carry the token, and where a secret would
//! cross a network in plain text.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::error::{ConfigError, shown};

/// The scheme, host and port of an http or https URL.
///
/// An IPv6 address is one host in all of its spellings (RFC 4291, section 2.2), because two
/// spellings lead to the same machine. A name with a dot at its end is another name than the one
/// without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    https: bool,
    /// In lower case, an IPv6 address in its brackets and in the spelling of RFC 5952.
    host: Box<str>,
    /// The host if it is an IPv6 address in brackets, to compare it with other spellings.
    ipv6: Option<Ipv6>,
    port: u16,
    /// Host and port as a URI writes them, the port only if it is not the scheme's default.
    authority: Box<str>,
    /// Computed once, because every request asks for it.
    exposed: bool,
}

/// The origins of the API, which may see the token.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::ApiOrigins;
///
/// # fn f() -> Result<(), tower_reauth::ConfigError> {
/// let origins = ApiOrigins::none().and("https://api.example.com")?;
/// assert_ne!(origins, ApiOrigins::none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiOrigins(
    /// `None` for the origin of the token endpoint.
    Option<Vec<Origin>>,
);

impl ApiOrigins {
    /// Returns no origin at all. A request is refused until one is
    /// [allowed](crate::AuthLayer::allow_origin).
    pub fn none() -> Self {
        Self(Some(Vec::new()))
    }

    /// Adds the origin of `url`. A path is ignored. The origin of the token endpoint is not among
    /// them, unless it is added too.
    ///
    /// # Errors
    ///
    /// Returns an error if `url` is not an absolute https or http URL, or is plain http beyond this
    /// machine.
    pub fn and(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let uri = parse(url.as_ref())?;
        check_transport(&uri, "AuthLayer::allow_plain_http")?;
        self.0.get_or_insert_default().extend(Origin::of(&uri));
        Ok(self)
    }

    /// Returns the origins, if the token endpoint has this URI.
    pub(crate) fn of(self, endpoint: Option<&Uri>) -> Vec<Origin> {
        self.0.unwrap_or_else(|| endpoint.and_then(Origin::of).into_iter().collect())
    }
}

impl Origin {
    /// Returns the origin of `uri`, or `None` if it is relative or neither http nor https.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let https = is_https(uri)?;
        let (ipv6, port) = (Ipv6::of(uri.host()?), port(uri, https));
        let host = match &ipv6 {
            Some(ipv6) => ipv6.to_string(),
            None => uri.host()?.to_ascii_lowercase(),
        };
        let authority =
            if port == default_port(https) { host.clone() } else { format!("{host}:{port}") };
        let exposed = !https && !is_loopback(&host);
        Some(Self { https, host: host.into(), ipv6, port, authority: authority.into(), exposed })
    }

    /// Returns `true` if `uri` is of this origin and spells its authority as `authority` does.
    ///
    /// The fast path of [`is_of`](Self::is_of), since nearly every URI is spelled like that. It
    /// compares bytes and skips the parsing of host and port, which takes 45 ns.
    #[inline]
    pub(crate) fn is_written_in(&self, uri: &Uri) -> bool {
        let scheme = match uri.scheme_str() {
            Some("https") => self.https,
            Some("http") => !self.https,
            _ => false,
        };
        scheme && uri.authority().is_some_and(|authority| authority.as_str() == &*self.authority)
    }

    /// Returns `true` if `uri` is of this origin, however it is spelled. Allocates nothing.
    pub(crate) fn is_of(&self, uri: &Uri) -> bool {
        is_https(uri) == Some(self.https)
            && uri.host().is_some_and(|host| self.has_host(host))
            && port(uri, self.https) == self.port
    }

    /// Returns `true` if `host` is this origin's, however it is spelled. Allocates nothing.
    fn has_host(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.host)
            || self.ipv6.as_ref().is_some_and(|ipv6| ipv6.is_spelled(host))
    }

    /// Returns `true` if the value of a `Host` header names this origin's host and port.
    ///
    /// A value without a port stands for the default port of the scheme (RFC 9110, section 4.2).
    pub(crate) fn is_host(&self, value: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(value) else { return false };
        self.has_host(authority.host())
            && authority.port_u16().unwrap_or(default_port(self.https)) == self.port
    }

    /// Returns `true` if a secret sent to this origin would cross a network in plain text.
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed
    }
}

/// An IPv6 address as a host, with the zone that it may name (RFC 6874).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ipv6 {
    address: Ipv6Addr,
    /// From its `%` on. Empty if there is none.
    zone: Box<str>,
}

impl Ipv6 {
    /// Returns the address that `host` holds in brackets.
    fn of(host: &str) -> Option<Self> {
        let (address, zone) = ipv6(host)?;
        Some(Self { address, zone: zone.into() })
    }

    fn is_spelled(&self, host: &str) -> bool {
        ipv6(host).is_some_and(|(address, zone)| address == self.address && *zone == *self.zone)
    }
}

impl fmt::Display for Ipv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}{}]", self.address, self.zone)
    }
}

/// Returns the IPv6 address that `host` holds in brackets, and its zone.
fn ipv6(host: &str) -> Option<(Ipv6Addr, &str)> {
    let bare = bare(host)?;
    let (address, zone) = bare.split_at(bare.find('%').unwrap_or(bare.len()));
    Some((address.parse().ok()?, zone))
}

/// Returns `host` without its brackets, which `http` leaves around an IPv6 address.
fn bare(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

fn is_https(uri: &Uri) -> Option<bool> {
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(true),
        Some(scheme) if *scheme == Scheme::HTTP => Some(false),
        _ => None,
    }
}

fn port(uri: &Uri, https: bool) -> u16 {
    uri.port_u16().unwrap_or(default_port(https))
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// Returns `true` if `host` is this machine. An IPv6 address may be in brackets.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = bare(host).unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Parses an absolute http or https URL without user information, query and fragment.
pub(crate) fn parse(url: &str) -> Result<Uri, ConfigError> {
    let invalid = |reason| ConfigError::InvalidUrl { url: redacted(url), reason };
    // Looked for in the text, because the parser drops a fragment silently.
    if url.contains('#') {
        return Err(invalid("it has a fragment; give scheme, host and path only"));
    }
    let uri: Uri =
        url.parse().map_err(|_| invalid("it is not a URL; give one such as https://host/path"))?;
    let Some(authority) = uri.authority() else {
        return Err(invalid("it has no scheme and host; give one such as https://host/path"));
    };
    if authority.as_str().contains('@') {
        return Err(invalid("it has user information; give scheme, host and path only"));
    }
    if uri.scheme().is_none() {
        return Err(invalid("it has no scheme; give one such as https://host/path"));
    }
    if uri.query().is_some() {
        return Err(invalid("it has a query; give scheme, host and path only"));
    }
    if is_https(&uri).is_none() {
        return Err(invalid("its scheme is neither https nor http; give one of these two"));
    }
    Ok(uri)
}

/// Parses a URL as [`parse`] does, with or without a query.
pub(crate) fn parse_with_query(url: &str) -> Result<Uri, ConfigError> {
    let Some((base, _)) = url.split_once('?') else { return parse(url) };
    parse(base)?;
    let invalid = |reason| ConfigError::InvalidUrl { url: redacted(url), reason };
    if url.contains('#') {
        return Err(invalid("it has a fragment; give scheme, host, path and query only"));
    }
    url.parse().map_err(|_| invalid("its query has characters that must be percent-encoded"))
}

/// Appends `path`, which begins with a slash, to the path of `base`.
pub(crate) fn join(base: &str, path: &str) -> Result<Uri, ConfigError> {
    // First on its own, so that the error shows the URL as it was given.
    parse(base)?;
    parse(&format!("{}{path}", base.trim_end_matches('/')))
}

/// Refuses plain http beyond this machine.
///
/// The error names `allow` as the method that permits it.
pub(crate) fn check_transport(uri: &Uri, allow: &'static str) -> Result<(), ConfigError> {
    match Origin::of(uri) {
        Some(origin) if origin.is_exposed() => {
            Err(ConfigError::PlainHttp { origin: origin.to_string(), allow })
        }
        _ => Ok(()),
    }
}

/// Returns the part of a bad URL that an error may show.
///
/// A URL that can't be parsed has no user information to cut out, so with an `@` none of it is
/// shown. Other text is cut at its query and after 100 characters.
fn redacted(url: &str) -> String {
    match url.parse::<Uri>() {
        Ok(uri) => shown(&uri),
        Err(_) if url.contains('@') => "<a URL with user information>".into(),
        Err(_) => url.split(['?', '#']).next().unwrap_or_default().chars().take(100).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let api = origin("https://api.example.com");
        for (url, same) in [
            ("https://api.example.com/x?y", true),
            ("https://API.example.com:443/", true),
            ("https://user@api.example.com/", true),
            ("http://api.example.com/", false),
            ("https://api.example.com:8443/", false),
            ("https://api.example.com.evil.example/", false),
            ("https://evil.example/?api.example.com", false),
            ("https://api.example.com@evil.example/", false),
            ("https://api.example.com./", false),
            ("wss://api.example.com/", false),
            ("/relative", false),
        ] {
            assert_eq!(api.is_of(&url.parse().unwrap()), same, "{url}");
        }
    }

    #[test]
    fn all_spellings_of_one_address_are_one_origin_and_another_name_is_another() {
        let same = [
            "https://[2001:db8::a:0:0:1]:8443/x",
            "https://[2001:DB8::A:0:0:1]:8443/",
            "https://[2001:db8:0:0:a::1]:8443/",
            "https://[2001:0db8:0000:0000:000a:0000:0000:0001]:8443/",
            "https://[2001:db8::a:0:0.0.0.1]:8443/",
        ];
        let others = [
            "https://[2001:db8::a:0:0:2]:8443/",
            "https://[2001:db8::a:0:0:1]/",
            "http://[2001:db8::a:0:0:1]:8443/",
            "https://2001.db8:8443/",
        ];
        for url in same {
            let base = origin(url);
            for (other, expected) in
                same.iter().map(|url| (url, true)).chain(others.iter().map(|url| (url, false)))
            {
                let uri: Uri = other.parse().unwrap();
                assert_eq!(base.is_of(&uri), expected, "{url} {other}");
                assert_eq!(base == origin(other), expected, "{url} {other}");
                let host = uri.authority().unwrap().as_str().as_bytes();
                assert_eq!(base.is_host(host), expected || uri.scheme_str() == Some("http"));
            }
            assert_eq!(base.to_string(), "https://[2001:db8::a:0:0:1]:8443");
        }
        assert!(!origin("http://[0:0:0:0:0:0:0:1]").is_exposed());
        let zoned = origin("https://[fe80:0::1%25eth0]");
        assert!(zoned.is_of(&"https://[fe80::1%25eth0]/".parse().unwrap()));
        for (url, other) in [
            ("https://[fe80::1%25eth0]", "https://[fe80::1%25eth1]/"),
            ("https://[fe80::1%25eth0]", "https://[fe80::1]/"),
            ("https://api.example.com", "https://api.example.com./"),
            ("https://api.example.com.", "https://api.example.com/"),
            // Mapped addresses are addresses of IPv6 (RFC 4291, section 2.5.5.2).
            ("https://127.0.0.1", "https://[::ffff:127.0.0.1]/"),
            ("https://[::ffff:127.0.0.1]", "https://127.0.0.1/"),
        ] {
            assert!(!origin(url).is_of(&other.parse().unwrap()), "{url} {other}");
        }
    }

    #[test]
    fn loopback_is_recognised_by_address_not_by_looks() {
        for (url, exposed) in [
            ("http://localhost:8080", false),
            ("http://LOCALHOST", false),
            ("http://127.8.9.1", false),
            ("http://[::1]:80", false),
            ("http://127.0.0.1.evil.example", true),
            ("http://localhost.evil.example", true),
            ("http://10.0.0.1", true),
            ("http://api.example.com", true),
            ("https://api.example.com", false),
        ] {
            assert_eq!(origin(url).is_exposed(), exposed, "{url}");
            let host = url.parse::<Uri>().unwrap().host().map(str::to_owned).unwrap();
            assert!(!url.starts_with("http:") || is_loopback(&host) != exposed, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_a_typed_error_without_its_password() {
        for url in [
            "",
            "api.example.com",
            "/auth",
            "ftp://x/",
            "https://x/?a=hunter2",
            "https://x/#hunter2",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for url in ["https://user:hunter2@x/", "https://user:hunter2@x y/"] {
            let error = parse(url).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_base_url_keeps_its_path() {
        for (base, joined) in [
            ("https://x", "https://x/auth"),
            ("https://x/", "https://x/auth"),
            ("https://x/v1", "https://x/v1/auth"),
            ("https://x/v1/", "https://x/v1/auth"),
        ] {
            assert_eq!(join(base, "/auth").unwrap().to_string(), joined);
        }
    }
}
