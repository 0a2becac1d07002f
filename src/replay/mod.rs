//! Sends a request again after a 401: which bodies allow that, and what the layer keeps of them.
//!
//! A replay has the method, URI, version, headers, extensions and body of the first attempt. Only
//! the token differs. A request is replayed at most once, and the response to its replay is the
//! caller's, whatever its status is. A 401 says that the request has not been applied (RFC 9110,
//! section 15.5.2), so a replay is safe for methods that are not idempotent, too.
//!
//! | request body | how it is replayed |
//! |---|---|
//! | `Clone`: `Full<Bytes>`, `Empty`, `String` | as it is, without a change of its type |
//! | streaming | with a [`ReplayLayer`] outside of the [`AuthLayer`](crate::AuthLayer) |
//! | `Clone`, with clones that share a source: a channel, a file | with a `ReplayLayer` too |
//! | any | not at all, with [`without_replay`](crate::AuthLayer::without_replay) |
//!
//! No compiler tells the third row from the first. A clone of such a body does not give all the
//! bytes, so its replay would be cut short.
//!
//! # Examples
//!
//! A client for streaming bodies, whose inner service takes a [`ReplayBody`]:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::combinators::UnsyncBoxBody;
//! use tower::{Service, ServiceBuilder, service_fn};
//! use tower_reauth::{
//!     AuthLayer, BoxError,
//!     replay::{ReplayBody, ReplayLayer},
//! };
//!
//! type Upload = UnsyncBoxBody<Bytes, BoxError>;
//!
//! async fn send(request: Request<ReplayBody<Upload>>) -> Result<Response<()>, BoxError> {
//!     # drop(request);
//!     // Sends the request over a connection.
//!     Ok(Response::new(()))
//! }
//!
//! fn client(auth: AuthLayer) -> impl Service<Request<Upload>> {
//!     ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(service_fn(send))
//! }
//! ```

mod body;
mod head;
mod layer;
mod mode;
mod recorder;
mod replayable;

#[doc(hidden)]
pub use self::head::KeptHead;
pub use self::{
    body::{KeptBody, ReplayBody},
    layer::{ReplayLayer, Replayable},
    mode::{Declined, KeptRequest, NoReplay, Replay, ReplayOnce},
    replayable::ReplayableBody,
};
