//! OAuth 2 for machines: every grant that needs no person (RFC 6749, section 4.4, and its
//! relatives).
//!
//! | item | for |
//! |---|---|
//! | [`OAuth2`] | the token endpoint |
//! | [`OAuth2Builder`] | scope, audience, resource, and whatever else a provider wants |
//! | [`Issuer`] | an authorization server, whose token endpoint is found by its metadata |
//! | [`ClientAuth`] | how the client says who it is |
//! | [`ResponseFields`] | a response whose fields have names of the provider's own |
//! | [`RefreshTokens`] | where a refresh token is kept |
//! | [`Granted`] | what a response says beside the token and its lifetime |
//!
//! # Requests
//!
//! 1. A request is a `POST` of a form. Its parameters are in this order: `grant_type`, those of the
//!    grant, `scope`, `resource`, `audience`, each [`param`](OAuth2Builder::param), and those of
//!    the client authentication.
//! 2. Names and values are encoded as HTML's forms are (RFC 6749, appendix B), and so are the
//!    client id and the secret in HTTP Basic (section 2.3.1).
//! 3. The client says who it is in one way. No other way is tried after a refusal, because the
//!    second error would hide the first, and an assertion may be used once.
//! 4. The token endpoint is given by its address, or found by an [`Issuer`].
//!
//! # Responses
//!
//! 1. A token is any 2xx with a JSON object that has an `access_token` and no `error`. A form is
//!    read too, if the content type says so or is `text/plain`.
//! 2. `expires_in` is a number or a numeric string. Zero, a negative one and anything else count as
//!    not said. Then `expires_on` and `expires_at` count, then the claims of a JWT, and then
//!    [`assumed_lifetime`](OAuth2Builder::assumed_lifetime).
//! 3. `token_type` may be missing, and of any spelling. It never gets into a header. `mac`, `N_A`
//!    and `DPoP` are an error, because such a token can't be sent by itself.
//! 4. [`Granted`] keeps the scope and the other fields.
//!
//! # Refusals
//!
//! The error code decides (section 5.2), and the status where there is none. After a 429 or a 503
//! another attempt is made, whatever the code, and `Retry-After` is kept. A wrong scope,
//! audience, resource or grant is an [`AuthError::is_misconfigured`], and the secret is not blamed
//! for it.
//!
//! [`AuthError::is_misconfigured`]: crate::AuthError::is_misconfigured
//!
//! # Examples
//!
//! A token of Auth0:
//!
//! ```
//! # #[cfg(feature = "client")]
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_reauth::{AuthLayer, Credentials, client, endpoint::OAuth2};
//!
//! let credentials = Credentials::new("my-client-id", "my-client-secret");
//! let token_uri = "https://acme.eu.auth0.com/oauth/token";
//! let endpoint = OAuth2::client_credentials(token_uri, client::https()?, credentials)
//!     .audience("https://api.acme.example")
//!     .for_api("https://api.acme.example")
//!     .build()?;
//! let auth = AuthLayer::oauth2(endpoint);
//! # Ok(())
//! # }
//! ```

mod address;
mod base64;
mod builder;
mod client_auth;
mod discovery;
mod endpoint;
mod fields;
mod metadata;
mod refresh_token;
mod refusal;
mod request;
mod response;
mod server_clock;
mod settings;
#[cfg(test)]
mod testing;

pub use self::{
    address::{Issuer, TokenAddress},
    builder::OAuth2Builder,
    client_auth::ClientAuth,
    endpoint::OAuth2,
    fields::ResponseFields,
    refresh_token::RefreshTokens,
    response::Granted,
};
