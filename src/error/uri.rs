//! The part of a URI that a text may show.

use http::Uri;

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
