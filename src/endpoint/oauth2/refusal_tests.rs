//! The table of errors, row by row: status, code and body in, kind, advice and pause out.

use std::time::Duration;

use http::Response;

use crate::{
    assertion,
    endpoint::{
        OAuth2,
        oauth2::{
            ClientAuth,
            testing::{Server, URI, issue},
        },
    },
    error::{AuthError, Fate, Kind},
};

/// A content type and a body.
type Body<'a> = (&'a str, &'a str);

const BLAMES_SECRET: &str = "check the client id and the secret";

fn refused(status: u16, content_type: &str, body: &str) -> AuthError {
    issue(Server::default().then(status, content_type, body).builder()).unwrap_err()
}

fn coded(status: u16, code: &str) -> AuthError {
    refused(status, "application/json", &format!(r#"{{"error": "{code}"}}"#))
}

#[test]
fn each_code_means_one_thing_whatever_the_status() {
    let misconfigured = [
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_request",
        "access_denied",
        "consent_required",
        "invalid_dpop_proof",
    ];
    let transient = ["slow_down", "temporarily_unavailable", "server_error"];
    for status in [200, 201, 400, 401, 403, 404, 500] {
        for code in misconfigured {
            let error = coded(status, code);
            assert!(error.is_misconfigured() && error.is_permanent(), "{status} {code}: {error}");
            assert!(!error.to_string().contains("the secret"), "{status} {code}: {error}");
            assert_eq!(error.code(), Some(code));
        }
        for code in transient {
            let error = coded(status, code);
            assert!(error.is_transient(), "{status} {code}: {error}");
            let pause = (code == "slow_down").then_some(Duration::from_secs(5));
            assert_eq!(error.retry_after(), pause, "{status} {code}");
        }
        for code in ["invalid_client", "invalid_grant"] {
            let error = coded(status, code);
            assert!(error.is_rejected(), "{status} {code}: {error}");
            assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
        }
        let blames = coded(status, "invalid_client").to_string();
        assert!(blames.contains(BLAMES_SECRET) && blames.contains("ClientAuth::Post"), "{blames}");
        let grant = coded(status, "invalid_grant").to_string();
        assert!(!grant.contains("the secret"), "{grant}");
    }
}

/// A server that is asked too often says so by its status, and puts into the code what it has.
#[test]
fn a_status_that_means_later_is_no_fault_of_the_client() {
    for status in [429, 503] {
        for code in ["access_denied", "invalid_request", "invalid_client", "invalid_grant"] {
            let response = Response::builder().status(status).header("retry-after", "17");
            let body = format!(r#"{{"error": "{code}"}}"#);
            let server = Server::default().then_this(response.body(body).unwrap());
            let error = issue(server.builder()).unwrap_err();
            assert!(error.is_transient(), "{status} {code}: {error}");
            assert!(!error.is_misconfigured() && !error.to_string().contains("check"), "{error}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(17)), "{status} {code}");
            assert_eq!(error.code(), Some(code));
        }
    }
}

#[test]
fn without_a_code_the_status_decides() {
    let (html, json) = (("text/html", "<html>no</html>"), ("application/json", "{}"));
    let unknown = ("application/json", r#"{"error": "unheard_of"}"#);
    let both = [html, json, unknown];
    let rows: [(&[u16], &[Body<'_>], Kind); 8] = [
        (&[401], &both, Kind::Rejected),
        (&[400], &both, Kind::Rejected),
        (&[403], &[html, ("text/plain", "no")], Kind::Permanent),
        (&[403], &[json, unknown], Kind::Rejected),
        (&[408, 409, 410, 425, 429, 500, 502, 503, 504, 599], &both, Kind::Transient),
        (&[301, 302, 303, 307, 308], &both, Kind::InvalidResponse),
        (&[404, 405], &both, Kind::Permanent),
        (&[200, 201, 202], &[html, json], Kind::InvalidResponse),
    ];
    for (statuses, bodies, expected) in rows {
        for status in statuses {
            for (content_type, body) in bodies {
                let error = refused(*status, content_type, body);
                assert_eq!(error.kind(), expected, "{status} {content_type} {body}: {error}");
                let blames = error.to_string().contains(BLAMES_SECRET);
                assert_eq!(blames, expected == Kind::Rejected, "{status} {body}: {error}");
                assert!(!error.is_misconfigured());
            }
        }
    }
    // A success that tells nothing may have cost the token in use.
    assert_eq!(refused(200, html.0, html.1).fate(), Fate::Unknown);
    assert_eq!(refused(401, html.0, html.1).fate(), Fate::NotIssued);
    // An unknown code in a success refuses all the same.
    assert!(refused(200, unknown.0, unknown.1).is_rejected());
}

#[test]
fn a_retry_after_is_kept() {
    for (status, code) in [(429, ""), (503, ""), (400, "temporarily_unavailable")] {
        let body = format!(r#"{{"error": "{code}"}}"#);
        let response = Response::builder().status(status).header("retry-after", "17");
        let server = Server::default().then_this(response.body(body).unwrap());
        let error = issue(server.builder()).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(17)), "{status} {code}");
    }
}

#[test]
fn the_advice_is_about_what_was_sent() {
    let assertion = || assertion::from_fn(|_| async { Ok("an-assertion".into()) });
    let advice = |auth, code: &str| {
        let server = Server::answering(401, &format!(r#"{{"error": "{code}"}}"#));
        issue(server.builder().client_auth(auth)).unwrap_err().to_string()
    };
    for (auth, expected) in [
        (ClientAuth::Basic, "ClientAuth::BasicUnencoded"),
        (ClientAuth::BasicUnencoded, "encoded (ClientAuth::Basic)"),
        (ClientAuth::Post, "in the header (ClientAuth::Basic)"),
        (ClientAuth::Tls, "the certificate"),
        (ClientAuth::assertion(assertion()), "the key, the audience and the clock"),
        (ClientAuth::None, "OAuth2Builder::client_auth"),
    ] {
        let shown = format!("{auth:?}");
        let text = advice(auth, "invalid_client");
        assert!(text.contains(expected), "{shown}: {text}");
    }
    let body = r#"{"error": "invalid_grant", "error_description": "AADSTS70021: no match"}"#;
    let bearer = OAuth2::jwt_bearer(URI, Server::answering(400, body), assertion());
    let text = issue(bearer).unwrap_err().to_string();
    assert!(text.contains("AADSTS70021") && text.contains("its subject, its audience"), "{text}");
    let token_type = "urn:ietf:params:oauth:token-type:jwt";
    let server = Server::answering(400, body);
    let text = issue(OAuth2::token_exchange(URI, server, assertion(), token_type)).unwrap_err();
    assert!(text.to_string().contains("the subject token"), "{text}");
}
