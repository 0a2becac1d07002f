//! The part of a URI that a text may show.

use http::{Method, Request, Uri, uri::Authority};

/// The greatest length of a [`request_line`], in characters.
const LONGEST: usize = 200;

/// Returns scheme, host and port of `uri`.
///
/// User information, path and query are left out, because each of them may hold a secret.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{host}{port}")
}

/// Returns host and port of `uri`, with the scheme's default port if none is given. `None` if it is
/// relative.
pub(crate) fn host_and_port(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Some(format!("{host}:{}", uri.port_u16().unwrap_or(default)))
}

/// Returns the method of a request and its URI, without user information and query.
///
/// Either of them may hold a secret.
pub(crate) fn request_line(method: &str, scheme: &str, authority: &str, path: &str) -> Box<str> {
    let separator = if scheme.is_empty() { "" } else { "://" };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let line = format!("{method} {scheme}{separator}{host}{path}");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]).into(),
        None => line.into(),
    }
}

/// Returns the [`request_line`] of a request that is not for the API, whose path may be a secret of
/// somebody else.
pub(crate) fn foreign_line(method: &str, scheme: &str, authority: &str) -> Box<str> {
    request_line(method, scheme, authority, "/...")
}

/// Returns the [`foreign_line`] of a request.
#[cold]
pub(crate) fn foreign_line_of<B>(request: &Request<B>) -> Box<str> {
    let (method, uri) = (request.method(), request.uri());
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    foreign_line(method.as_str(), uri.scheme_str().unwrap_or_default(), authority)
}

/// Returns the [`request_line`] of a request.
#[cold]
pub(crate) fn line_of<B>(request: &Request<B>) -> Box<str> {
    let (method, uri): (&Method, &Uri) = (request.method(), request.uri());
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    request_line(method.as_str(), uri.scheme_str().unwrap_or_default(), authority, uri.path())
}

/// Returns the token endpoint at `uri` as an error names it.
pub(crate) fn endpoint_at(uri: &Uri) -> String {
    match host_and_port(uri) {
        Some(address) => format!("the token endpoint {address}"),
        None => "the token endpoint".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_uri_keeps_no_user_information_no_path_and_no_query() {
        let uri =
            Uri::from_static("https://user:hunter2@api.example.com:8443/v1/hunter3?key=hunter4");
        assert_eq!(shown(&uri), "https://api.example.com:8443");
    }

    #[test]
    fn a_request_line_keeps_no_user_information_and_no_query() {
        let line = |uri: &str| line_of(&Request::post(uri).body(()).unwrap());
        assert_eq!(
            &*line("https://user:hunter2@api.example.com:8443/v1/accounts?key=hunter4"),
            "POST https://api.example.com:8443/v1/accounts"
        );
        assert_eq!(&*line("/v1?key=hunter4"), "POST /v1");
        let foreign = Request::get("https://me:hunter2@evil.example/hunter3?key=hunter4");
        let foreign = foreign_line_of(&foreign.body(()).unwrap());
        assert_eq!(&*foreign, "GET https://evil.example/...");
        assert_eq!(
            &*request_line("POST", "http", "user:hunter2@api", "/v1?key=hunter4"),
            "POST http://api/v1"
        );
        let long = line(&format!("https://api.example.com/{}", "x".repeat(1000)));
        assert_eq!((long.len(), &long[198..]), (203, "xx..."));
    }

    #[test]
    fn an_address_has_its_port() {
        for (uri, expected) in [
            ("https://user:hunter2@api.example.com/v1?key=hunter4", Some("api.example.com:443")),
            ("http://127.0.0.1/", Some("127.0.0.1:80")),
            ("https://[::1]:8443", Some("[::1]:8443")),
            ("/auth", None),
        ] {
            assert_eq!(host_and_port(&Uri::from_static(uri)).as_deref(), expected, "{uri}");
        }
    }
}
