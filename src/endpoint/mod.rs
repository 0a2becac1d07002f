//! Token endpoints, which turn credentials into a token.
//!
//! | item | for |
//! |---|---|
//! | [`TokenEndpoint`] | the trait of every endpoint |
//! | [`OAuth2`] | OAuth 2: client credentials, and every grant that needs no person |
//! | [`SendPayments`] | the Send Payments API |
//! | [`fixed`] | a token that never changes, as in tests |
//! | [`TokenFile`] | a token that somebody else writes to a file, such as that of Kubernetes |
//! | `SelfSigned` (feature `sign`) | a JWT that is signed here and is the token |
//! | [`TokenClient`] | the HTTP part of an endpoint of your own |
//! | [`parse_rfc3339`] | the `expires_at` of most APIs |
//!
//! - The cache asks an endpoint for one token at a time.
//! - [`rotation`](TokenEndpoint::rotation) tells the cache what a new token does to the one in use.
//!   How the cache serves a token during its renewal follows from that.
//! - An endpoint makes one attempt per call. Timeouts, retries and back-off belong to the refresh
//!   and are set with the [`RefreshPolicy`](crate::RefreshPolicy).
//!
//! # Examples
//!
//! An endpoint for another provider's JSON, in full:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, Uri, header};
//! use tower_reauth::{
//!     AuthError, CredentialsSource,
//!     endpoint::{HttpService, IssuedToken, Rotation, TokenClient, TokenEndpoint},
//! };
//!
//! struct JsonGrant<S, C> {
//!     client: TokenClient<S>,
//!     credentials: C,
//!     uri: Uri,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct GrantResponse {
//!     access_token: String,
//!     expires_in: u64,
//! }
//!
//! impl<S: HttpService, C: CredentialsSource> TokenEndpoint for JsonGrant<S, C> {
//!     async fn issue(&self) -> Result<IssuedToken, AuthError> {
//!         let credentials =
//!             self.credentials.credentials().await.map_err(AuthError::credentials)?;
//!         let grant = serde_json::json!({
//!             "grant_type": "client_credentials",
//!             "client_id": credentials.client_id(),
//!             "client_secret": credentials.expose_secret(),
//!         });
//!         let request = Request::post(&self.uri)
//!             .header(header::CONTENT_TYPE, "application/json")
//!             .body(grant.to_string().into())
//!             .map_err(AuthError::permanent)?;
//!         let token: GrantResponse = self.client.send(request, &credentials).await?.json()?;
//!         let lifetime = Duration::from_secs(token.expires_in);
//!         Ok(IssuedToken::new(token.access_token).expires_in(lifetime))
//!     }
//!
//!     fn rotation(&self) -> Rotation {
//!         Rotation::Overlapping
//!     }
//!
//!     fn uri(&self) -> Option<&Uri> {
//!         Some(&self.uri)
//!     }
//! }
//! ```

mod client;
mod date;
mod fixed;
mod form;
mod http_service;
pub mod oauth2;
mod quote;
mod refusal;
mod response;
#[cfg(feature = "sign")]
mod self_signed;
mod send_payments;
mod spelling;
mod token_endpoint;
mod token_file;
mod unicode;

#[cfg(fuzzing)]
pub(crate) use self::refusal::retry_after;
#[cfg(feature = "sign")]
#[cfg_attr(docsrs, doc(cfg(feature = "sign")))]
pub use self::self_signed::SelfSigned;
pub(crate) use self::token_endpoint::{DynEndpoint, NoEndpoint};
pub use self::{
    client::TokenClient,
    date::parse_rfc3339,
    fixed::{FixedToken, fixed},
    http_service::HttpService,
    oauth2::OAuth2,
    response::TokenResponse,
    send_payments::SendPayments,
    token_endpoint::{Rotation, TokenEndpoint, Trigger},
    token_file::TokenFile,
};
pub use crate::{
    origin::ApiOrigins,
    token::{Identity, IssuedToken},
};
