//! Turning credentials into a token: the [`TokenEndpoint`] trait, [`SendPayments`], and [`TokenClient`] to build
//! your own upon.
//!
//! - An endpoint is asked for one token at a time; the cache's single flight sees to that.
//! - It says with [`rotation`](TokenEndpoint::rotation) what a new token does to the one in use. How the cache
//!   serves a token during its renewal follows from that one answer.
//! - Timeouts, retries and back-off are the refresh's own; an endpoint makes one attempt per call.
//!
//! # Examples
//!
//! Another provider's JSON, in full; a type of the endpoint's own and one request:
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
//!         let credentials = self.credentials.credentials().await.map_err(AuthError::credentials)?;
//!         let (id, secret) = (credentials.client_id(), credentials.expose_secret());
//!         let grant = serde_json::json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
//!         let request = Request::post(&self.uri)
//!             .header(header::CONTENT_TYPE, "application/json")
//!             .body(grant.to_string().into())
//!             .map_err(AuthError::permanent)?;
//!         let token: GrantResponse = self.client.send(request, &credentials).await?.json()?;
//!         Ok(IssuedToken::new(token.access_token).expires_in(Duration::from_secs(token.expires_in)))
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
mod http_service;
mod quote;
mod refusal;
mod response;
mod send_payments;
mod token_endpoint;

pub(crate) use self::token_endpoint::DynEndpoint;
pub use self::{
    client::TokenClient,
    http_service::HttpService,
    response::TokenResponse,
    send_payments::SendPayments,
    token_endpoint::{Rotation, TokenEndpoint},
};
#[cfg(fuzzing)]
pub(crate) use self::{refusal::retry_after, send_payments::parse_date};
pub use crate::token::IssuedToken;
