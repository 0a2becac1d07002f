//! Choices of which responses refuse a token, for APIs that do not answer 401 when it has expired.
//!
//! By default the [`AuthLayer`](crate::AuthLayer) follows the RFCs: see [`Unauthorized`].
//! [`AuthLayer::refusals`](crate::AuthLayer::refusals) takes another [`Classify`]:
//!
//! | a refusal is | classification | for example |
//! |---|---|---|
//! | a 401 | [`Unauthorized`] | most APIs |
//! | another status | [`statuses`] | Vault (403), Laravel (419) |
//! | a challenge | [`challenge()`] | a 403 with `Bearer error="invalid_token"` |
//! | a code in a JSON body | [`marked`], and a [`RefusalLayer`] | Lark, WeChat, DingTalk, APNs |
//! | one of several | [`Classify::or`] | |
//! | anything else in the head | a [`Classify`] of your own | |
//!
//! A request whose token is refused is sent again, so name only what says that the request was
//! not applied. The default costs nothing for the choice: it has no size, and only the head of the
//! response is read.
//!
//! # Examples
//!
//! Lark answers 200 or 400 with the same code for an expired token:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{BoxError, Service, ServiceBuilder, service_fn};
//! use tower_reauth::{
//!     AuthLayer, ConfigError,
//!     refusal::{self, Classify, RefusalLayer, Unauthorized},
//! };
//!
//! async fn send(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
//!     # drop(request);
//!     // Sends the request over a connection.
//!     Ok(Response::new(Full::default()))
//! }
//!
//! fn client(auth: AuthLayer) -> Result<impl Service<Request<Full<Bytes>>>, ConfigError> {
//!     Ok(ServiceBuilder::new()
//!         .layer(auth.refusals(Unauthorized.or(refusal::marked())))
//!         .layer(RefusalLayer::json("/code", [99991663, 99991664])?)
//!         .service(service_fn(send)))
//! }
//! ```

mod codes;
mod conditions;
mod future;
mod layer;
mod peeked;

pub use self::{
    conditions::{Challenge, Mark, Marked, Statuses, challenge, marked, statuses},
    future::PeekFuture,
    layer::{Peek, RefusalLayer},
    peeked::Peeked,
};
pub use super::classify::{Classification, Classify, Or, Unauthorized};
