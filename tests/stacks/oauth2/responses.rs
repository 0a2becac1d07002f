//! Promises 100 and 101: odd responses and errors, from a real server.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::json;
use tower_reauth::{
    AuthError,
    endpoint::oauth2::Granted,
    sandbox::{OAuth2Server, ScriptedResponse},
};

use super::client_credentials;

/// The token of a server that answers with `response`.
async fn play(response: ScriptedResponse) -> Result<tower_reauth::AccessToken, AuthError> {
    let server = OAuth2Server::builder().start().await.unwrap();
    server.respond_every(Some(response));
    let endpoint = client_credentials(&server).scope("a").build().unwrap();
    super::token(endpoint).await
}

#[tokio::test]
async fn a_token_is_found_in_every_odd_response() {
    let token = ScriptedResponse::token;
    for (odd, lifetime) in [
        (token(), 3600),
        (token().field("expires_in", "1800"), 1800),
        (token().field("expires_in", " 1800 "), 1800),
        (token().field("expires_in", 1800.9), 1800),
        (token().field("expires_in", json!(null)), 3600),
        (token().field("expires_in", 0), 3600),
        (token().field("expires_in", -1), 3600),
        (token().field("expires_in", "soon"), 3600),
        (token().without("expires_in"), 3600),
        (token().without("token_type"), 3600),
        (token().field("token_type", "BearerToken"), 3600),
        (token().field("token_type", "bearer"), 3600),
        (token().field("error", ""), 3600),
        (token().status(StatusCode::ACCEPTED), 3600),
        (token().status(StatusCode::CREATED), 3600),
        (token().byte_order_mark(), 3600),
        (token().form(), 3600),
    ] {
        let shown = format!("{odd:?}");
        let token = play(odd).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let lived = token.lifetime().as_secs();
        assert!(lived.abs_diff(lifetime) <= 1, "{shown}: {lived}");
        assert!(token.get::<Granted>().is_some());
    }
}

#[tokio::test]
async fn a_response_without_a_usable_token_is_a_typed_error() {
    let token = ScriptedResponse::token;
    for odd in [
        token().without("access_token"),
        token().field("access_token", ""),
        token().field("access_token", 1),
        token().field("token_type", "mac"),
        token().field("token_type", "N_A"),
        token().field("token_type", "DPoP"),
        ScriptedResponse::page(StatusCode::OK),
    ] {
        let shown = format!("{odd:?}");
        let error = play(odd).await.err().unwrap_or_else(|| panic!("{shown}"));
        assert!(error.is_invalid_response(), "{shown}: {error}");
    }
}

#[tokio::test]
async fn an_error_is_classed_by_its_code_and_else_by_its_status() {
    let error = |status: u16, code: &str| {
        ScriptedResponse::error(StatusCode::from_u16(status).unwrap(), code)
    };
    let empty = |status: u16| ScriptedResponse::empty(StatusCode::from_u16(status).unwrap());
    let page = |status: u16| ScriptedResponse::page(StatusCode::from_u16(status).unwrap());
    #[derive(Debug, PartialEq)]
    enum Kind {
        Rejected,
        Misconfigured,
        Permanent,
        Transient,
        Invalid,
    }
    for (response, kind) in [
        (error(400, "invalid_client"), Kind::Rejected),
        (error(401, "invalid_client"), Kind::Rejected),
        (error(403, "invalid_client"), Kind::Rejected),
        (error(200, "invalid_client"), Kind::Rejected),
        (error(400, "invalid_grant"), Kind::Rejected),
        (error(400, "unauthorized_client"), Kind::Misconfigured),
        (error(400, "unsupported_grant_type"), Kind::Misconfigured),
        (error(400, "invalid_scope"), Kind::Misconfigured),
        (error(400, "invalid_target"), Kind::Misconfigured),
        (error(400, "invalid_request"), Kind::Misconfigured),
        (error(403, "access_denied"), Kind::Misconfigured),
        (error(400, "consent_required"), Kind::Misconfigured),
        (error(400, "temporarily_unavailable"), Kind::Transient),
        (error(400, "server_error"), Kind::Transient),
        (empty(400), Kind::Rejected),
        (empty(401), Kind::Rejected),
        (page(401), Kind::Rejected),
        (page(403), Kind::Permanent),
        (empty(404), Kind::Permanent),
        (empty(405), Kind::Permanent),
        (empty(408), Kind::Transient),
        (empty(410), Kind::Transient),
        (empty(429).retry_after(Duration::from_secs(1)), Kind::Transient),
        (empty(500), Kind::Transient),
        (page(503), Kind::Transient),
        (empty(307).header(http::header::LOCATION, HeaderValue::from_static("/x")), Kind::Invalid),
    ] {
        let shown = format!("{response:?} {kind:?}");
        let error = play(response).await.err().unwrap_or_else(|| panic!("{shown}"));
        let found = if error.is_transient() {
            Kind::Transient
        } else if error.is_misconfigured() {
            Kind::Misconfigured
        } else if error.is_rejected() {
            Kind::Rejected
        } else if error.is_invalid_response() {
            Kind::Invalid
        } else {
            Kind::Permanent
        };
        assert_eq!(found, kind, "{shown}: {error}");
        let blames = error.to_string().contains("check the client id and the secret");
        assert!(kind == Kind::Rejected || !blames, "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_a_part_of_a_code_does_not_hide_what_the_code_means() {
    let server = OAuth2Server::builder().start().await.unwrap();
    for code in ["invalid_scope", "unauthorized_client"] {
        for value in ["scope", "client", "o"] {
            let response = ScriptedResponse::error(StatusCode::UNAUTHORIZED, code);
            server.respond_next(response.field("error_description", "for this client"));
            let endpoint = client_credentials(&server).param("mode", value).build().unwrap();
            let error = super::token(endpoint).await.unwrap_err();
            assert!(error.is_misconfigured() && error.code() == Some(code), "{value}: {error}");
            let text = error.to_string();
            assert!(text.contains(code), "{text}");
            assert_eq!(
                text.contains("for this client"),
                code == "unauthorized_client" && value == "scope"
            );
        }
    }
}
