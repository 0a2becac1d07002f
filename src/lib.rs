//! Client-side Tower middleware that keeps outgoing requests signed with a short-lived access
//! token.
//!
//! - [`AuthLayer`] wraps any `tower::Service<http::Request<B>>`. Its requests carry the token of a
//!   [`TokenCache`].
//! - The cache asks its [`TokenEndpoint`] for a token when one is needed. It makes one request at a
//!   time, whatever the number of callers is, in a task that no caller's cancellation stops.
//! - A request that is answered 401 is sent again, with a newer token if the old one is to blame. A
//!   resource that refuses every token costs the callers of the others nothing.
//! - A token is renewed before it expires. If the new token kills the old one, it is renewed at a
//!   moment without requests in flight, or while new requests are held back.
//! - The token goes to the origins that may see it, and nowhere else. A request is never sent
//!   unsigned where it should be signed.
//!
//! # Examples
//!
//! A signed request to the sandbox, a local server that imitates the Send Payments API:
//!
//! ```
//! # #[cfg(all(feature = "client", feature = "sandbox"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_reauth::BoxError> {
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::Layer;
//! use tower_reauth::{AuthLayer, Credentials, client, sandbox::Sandbox};
//!
//! let sandbox = Sandbox::builder().start().await?;
//! let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
//!
//! let auth = AuthLayer::send_payments(sandbox.base_url(), credentials)?;
//! let client = auth.layer(client::https()?);
//!
//! let request = http::Request::post(format!("{}/accounts", sandbox.base_url()))
//!     .header("content-type", "application/json")
//!     .body(Full::<Bytes>::from(r#"{"name": "Ada"}"#))?;
//! let response = client.send(request).await?;
//! assert_eq!(response.status(), 201);
//! assert_eq!(sandbox.counters().auth_requests, 1);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "client", feature = "sandbox")))]
//! # fn main() {}
//! ```
//!
//! # Where to look
//!
//! The [`guide`] explains the words and has a page each for errors, tests, probes, gRPC, many
//! tenants, fleets, and for those who come from a mutex and a date.
//!
//! | for | see |
//! |---|---|
//! | signing requests, what happens on a 401, origins | [`AuthLayer`] |
//! | the type to put into a struct, and how to send | [`Auth`] |
//! | a token without the layer | [`TokenCache`] |
//! | OAuth 2 | [`endpoint::OAuth2`] |
//! | another provider's endpoint | [`endpoint`] |
//! | rotated secrets, vaults, mounted files | [`credentials`] |
//! | a client that has a key instead of a secret | [`assertion`] |
//! | several processes with one client id | [`store`] |
//! | what went wrong and whether to try again | [`Error`], [`AuthError`] |
//! | APIs that refuse a token otherwise than with a 401 | [`refusal`] |
//! | bounds: timeouts, retries | [`RefreshPolicy`] |
//! | streaming bodies | [`replay`] |
//!
//! # Crates in the signatures
//!
//! A type of another crate fits only in the version that this crate uses. So crates that are not
//! yet at 1.0, or are seldom named, are re-exported with their features: `rustls`, `hyper`,
//! `hyper_util`, `jsonwebtoken`, `reqwest`, `reqwest_middleware` and `tonic`. [`SecretString`] and
//! [`ExposeSecret`] of `secrecy` are always there. `http` 1, `http-body` 1, `bytes` 1, `tokio` 1,
//! `tower-service` 0.3 and `tower-layer` 0.3 are those of the whole ecosystem, so name them in your
//! own `Cargo.toml`.
//!
//! # Features
//!
//! Features only add, and none is on by default. Without any there is no HTTP client, no TLS and no
//! crypto.
//!
//! - `client` adds the built-in HTTPS client for the token endpoint, and
//!   `AuthLayer::send_payments`.
//! - `file-store` adds `store::FileStore`, which shares a token between the processes of a machine.
//! - `metrics` reports the cache's counters and times through the `metrics` facade.
//! - `redis` adds `store::RedisStore`, by which processes share a token through Redis or Valkey.
//! - `reqwest` adds `ReqwestService`, which makes a `reqwest::Client` a Tower service.
//! - `reqwest-middleware` makes the layer a middleware of that crate.
//! - `tonic` adds `GrpcChannel`, a channel whose calls are signed, and `GrpcLayer`, which learns of
//!   a refusal in the trailers of a gRPC call. It maps an [`Error`] to a `tonic::Status`.
//! - `seal` adds `store::KeyRing`, which seals the tokens in a store with a key.
//! - `sign` adds `assertion::SignedJwt`, which signs assertions with a key, and
//!   `endpoint::SelfSigned`, for APIs whose token is such a JWT.
//! - `verify` adds `AccessToken::verified_claims`, which checks signature and dates first, and
//!   the crate `jsonwebtoken`, whose types it takes.
//! - `sandbox` adds local servers for tests and demos, one that imitates the Send Payments API, and
//!   one that is an OAuth 2 server.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod assertion;
pub mod cache;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
mod clock;
pub mod credentials;
pub mod endpoint;
mod error;
mod events;
mod fleet;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(doc, doctest))]
pub mod guide;
mod isolate;
mod origin;
mod reader;
mod refresh;
pub mod replay;
mod route;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub mod sandbox;
mod send;
mod sign;
pub mod store;
mod sync;
#[cfg(any(feature = "client", feature = "redis"))]
mod tls;
mod token;

#[cfg(feature = "verify")]
#[cfg_attr(docsrs, doc(cfg(feature = "verify")))]
pub use jsonwebtoken;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use reqwest;
#[cfg(feature = "reqwest-middleware")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest-middleware")))]
pub use reqwest_middleware;
#[cfg(any(feature = "client", feature = "redis"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "client", feature = "redis"))))]
pub use rustls;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use tonic;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use {hyper, hyper_util};

// A secret is supplied and taken in these types, so nobody needs the crate `secrecy` by name.
pub use secrecy::{ExposeSecret, SecretString};

#[doc(inline)]
pub use crate::sign::refusal;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use crate::sign::{GrpcAuth, GrpcBody, GrpcChannel, GrpcChannelFuture, GrpcFuture, GrpcLayer};
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use crate::sign::{ReqwestFuture, ReqwestService};
// They are in public modules as well, and rustdoc would show their names alone here.
#[doc(inline)]
pub use crate::{
    cache::TokenCache,
    credentials::{Credentials, CredentialsSource},
    endpoint::{SendPayments, TokenEndpoint},
};
pub use crate::{
    error::{AuthError, BoxError, ConfigError, Error},
    events::Counters,
    refresh::RefreshPolicy,
    send::{CloneService, InnerService},
    sign::{Auth, AuthLayer, CallerAuthorization, CrossOriginRequests, ResponseFuture},
    token::{AccessToken, ClaimsError},
};

/// The README's programs, compiled.
#[cfg(all(
    doctest,
    feature = "client",
    feature = "reqwest",
    feature = "sandbox",
    feature = "tonic"
))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of the page on fleets, compiled.
#[cfg(all(doctest, feature = "client", feature = "file-store", feature = "seal"))]
#[doc = include_str!("../docs/fleet.md")]
struct Fleets;
