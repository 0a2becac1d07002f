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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_uri_keeps_no_user_information_no_path_and_no_query() {
        let uri =
            Uri::from_static("https://user:hunter2@api.example.com:8443/v1/hunter3?key=hunter4");
        assert_eq!(shown(&uri), "https://api.example.com:8443");
    }
}
