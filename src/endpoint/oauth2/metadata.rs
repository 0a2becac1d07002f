//! The metadata of an authorization server (RFC 8414; `OpenID` Connect Discovery 1.0). Pure.

use http::{Uri, uri::Scheme};
use serde_json::Value;

use crate::{error::ConfigError, origin};

/// The parts of a server's metadata that a request for a token depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// That for clients with a certificate (RFC 8705, section 5), if this is one.
    pub(super) token_endpoint: Uri,
    /// The server takes client id and secret as parameters, and not in HTTP Basic.
    pub(super) wants_post: bool,
}

/// The client that asks for a document.
pub(super) struct Wanted<'a> {
    /// The issuer that was given.
    pub(super) issuer: &'a str,
    /// An https issuer may name an address over plain http.
    pub(super) may_be_plain: bool,
    /// The client shows a certificate.
    pub(super) has_certificate: bool,
}

/// The fault of a document that can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is that of another issuer (RFC 8414, section 3.3). A server must not be able to pass
    /// itself off as another.
    OtherIssuer,
    /// It names none, so it is no metadata.
    NoIssuer,
    /// It names no token endpoint, or none that a secret may be sent to.
    NoTokenEndpoint,
    /// It names a token endpoint over plain http, although it was itself fetched by https. That one
    /// may be anybody's, even on this machine.
    Downgrade,
}

/// Returns the addresses of the metadata, in the order in which they are tried: that of RFC 8414,
/// section 3.1, which inserts the well-known part before the path, and that of `OpenID` Connect,
/// which appends it.
///
/// # Errors
///
/// Returns an error if the issuer is no absolute http or https URL without query and fragment.
pub(super) fn addresses(issuer: &str) -> Result<[Uri; 2], ConfigError> {
    let uri = origin::parse(issuer)?;
    let path = uri.path().trim_end_matches('/');
    let base = issuer.trim_end_matches('/');
    let root = base.strip_suffix(path).unwrap_or(base);
    Ok([
        origin::parse(&format!("{root}/.well-known/oauth-authorization-server{path}"))?,
        origin::parse(&format!("{base}/.well-known/openid-configuration"))?,
    ])
}

/// Reads a document. Only the address that the client uses is checked.
pub(super) fn read(document: &Value, wanted: &Wanted<'_>) -> Result<Metadata, Unusable> {
    let &Wanted { issuer, may_be_plain, has_certificate } = wanted;
    let text = |pointer| document.pointer(pointer).and_then(Value::as_str);
    if !is_same(text("/issuer").ok_or(Unusable::NoIssuer)?, issuer) {
        return Err(Unusable::OtherIssuer);
    }
    let uri = |pointer| origin::parse_with_query(text(pointer)?).ok();
    let is_https = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTPS);
    let is_safe = may_be_plain || !origin::parse(issuer).is_ok_and(|issuer| is_https(&issuer));
    let token_endpoint = uri("/token_endpoint").ok_or(Unusable::NoTokenEndpoint)?;
    let alias = uri("/mtls_endpoint_aliases/token_endpoint").filter(|_| has_certificate);
    let token_endpoint = alias.unwrap_or(token_endpoint);
    if !is_safe && !is_https(&token_endpoint) {
        return Err(Unusable::Downgrade);
    }
    let methods = document.pointer("/token_endpoint_auth_methods_supported");
    let methods = methods.and_then(Value::as_array);
    let takes = |name: &str| methods.is_some_and(|methods| methods.iter().any(|it| it == name));
    Ok(Metadata {
        token_endpoint,
        wants_post: takes("client_secret_post") && !takes("client_secret_basic"),
    })
}

/// Returns `true` if both are the same issuer: the same string, but for the slash of an empty path.
fn is_same(found: &str, asked: &str) -> bool {
    let is_root = |url: &str| origin::parse(url).is_ok_and(|url| url.path() == "/");
    found == asked
        || found.trim_end_matches('/') == asked.trim_end_matches('/')
            && is_root(found)
            && is_root(asked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value, issuer: &str) -> Result<Metadata, Unusable> {
        super::read(document, &Wanted { issuer, may_be_plain: false, has_certificate: false })
    }

    #[test]
    fn the_path_of_an_issuer_is_inserted_and_then_appended() {
        for (issuer, first, second) in [
            (
                "https://x",
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ),
            (
                "https://x/",
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ),
            (
                "https://x/realms/a",
                "/.well-known/oauth-authorization-server/realms/a",
                "/realms/a/.well-known/openid-configuration",
            ),
            (
                "https://x/realms/a/",
                "/.well-known/oauth-authorization-server/realms/a",
                "/realms/a/.well-known/openid-configuration",
            ),
        ] {
            let [one, other] = addresses(issuer).unwrap();
            assert_eq!((one.path(), other.path()), (first, second), "{issuer}");
            assert_eq!((one.host(), other.host()), (Some("x"), Some("x")));
        }
        for issuer in ["", "x", "https://x?a", "https://x/#a", "https://u@x", "ftp://x"] {
            assert!(addresses(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn the_issuer_of_the_document_is_the_one_that_was_asked_for() {
        let read = |found: Value, asked| {
            let document = json!({"issuer": found, "token_endpoint": "https://x/token"});
            read(&document, asked).map(|_| ())
        };
        for (found, asked, is_same) in [
            ("https://x", "https://x", true),
            ("https://x/", "https://x", true),
            ("https://x", "https://x/", true),
            ("https://x/a", "https://x/a", true),
            ("https://x/a/", "https://x/a", false),
            ("https://x/a", "https://x/a/", false),
            ("https://X", "https://x", false),
            ("https://x:443", "https://x", false),
            ("http://x", "https://x", false),
            ("https://evil.example", "https://x", false),
            ("", "https://x", false),
        ] {
            let expected = if is_same { Ok(()) } else { Err(Unusable::OtherIssuer) };
            assert_eq!(read(found.into(), asked), expected, "{found} {asked}");
        }
        assert_eq!(read(json!(null), "https://x"), Err(Unusable::NoIssuer));
        assert_eq!(read(json!(["https://x"]), "https://x"), Err(Unusable::NoIssuer));
    }

    #[test]
    fn basic_is_used_unless_the_server_takes_only_parameters() {
        for (methods, expected) in [
            (json!(null), false),
            (json!([]), false),
            (json!(["client_secret_basic", "client_secret_post"]), false),
            (json!(["client_secret_post", "private_key_jwt"]), true),
            (json!(["private_key_jwt"]), false),
            (json!("client_secret_post"), false),
        ] {
            let document = json!({
                "issuer": "https://x", "token_endpoint": "https://y/token",
                "token_endpoint_auth_methods_supported": methods,
                "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.y/token"},
            });
            let metadata = read(&document, "https://x").unwrap();
            assert_eq!(metadata.wants_post, expected, "{methods}");
            assert_eq!(metadata.token_endpoint, "https://y/token");
        }
        for token_endpoint in [json!(null), json!("/token"), json!(7), json!("ftp://x/token")] {
            let document = json!({"issuer": "https://x", "token_endpoint": token_endpoint});
            assert_eq!(read(&document, "https://x"), Err(Unusable::NoTokenEndpoint));
        }
    }

    #[test]
    fn an_https_issuer_names_no_address_over_plain_http_not_even_on_this_machine() {
        let https = "https://y/token";
        // `is_allowed` is for a client without a certificate, and for one with a certificate.
        for (issuer, token_endpoint, alias, is_allowed) in [
            ("https://x", "http://localhost:8080/token", https, [false, true]),
            ("https://x", "http://127.0.0.1/token", https, [false, true]),
            ("https://x", "HTTP://[::1]/token", https, [false, true]),
            ("https://x", "http://y/token", https, [false, true]),
            ("https://x", https, "http://localhost/token", [true, false]),
            ("https://x", "http://y/token", "http://localhost/token", [false, false]),
            ("https://x", "HTTPS://y/token", https, [true, true]),
            ("http://localhost", "http://localhost/token", "http://localhost/mtls", [true, true]),
        ] {
            let document = json!({
                "issuer": issuer, "token_endpoint": token_endpoint,
                "mtls_endpoint_aliases": {"token_endpoint": alias},
            });
            for (has_certificate, is_allowed) in [false, true].into_iter().zip(is_allowed) {
                let used = if has_certificate { alias } else { token_endpoint };
                let used: Uri = used.parse().unwrap();
                let mut wanted = Wanted { issuer, may_be_plain: false, has_certificate };
                let found = super::read(&document, &wanted).map(|it| it.token_endpoint);
                let expected = if is_allowed { Ok(used.clone()) } else { Err(Unusable::Downgrade) };
                assert_eq!(found, expected, "{issuer} {token_endpoint} {alias}");
                wanted.may_be_plain = true;
                assert_eq!(super::read(&document, &wanted).unwrap().token_endpoint, used);
            }
        }
    }
}
