//! [`TokenEndpoint`]: turns credentials into a token.

use std::{future::Future, pin::Pin};

use http::Uri;

use crate::{error::AuthError, token::IssuedToken};

/// What a new token does to the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// Asking for a new token kills the one in use, for every process that shares the credentials.
    Exclusive,
    /// The old token lives on until it expires, as in ordinary OAuth 2.
    Overlapping,
}

/// Turns credentials into tokens, one per call.
///
/// The [module](super) shows one written from scratch.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a token endpoint",
    note = "use `SendPayments`, or implement `TokenEndpoint` for a type of yours; the module `endpoint` shows how"
)]
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Asks for one token: one attempt, on the wire once at most.
    ///
    /// # Errors
    ///
    /// [`AuthError::is_transient`] decides whether the refresh tries again.
    ///
    /// # Cancel safety
    ///
    /// Dropped only when an attempt's timeout or the refresh's deadline has passed, or when the last handle of
    /// the cache is gone. A caller's cancellation never reaches it.
    fn issue(&self) -> impl Future<Output = Result<IssuedToken, AuthError>> + Send;

    /// What a new token does to the one in use. The answer must stay the same.
    fn rotation(&self) -> Rotation;

    /// Where tokens are asked for. By default its origin is the one that may see the token, and a `POST` to it is
    /// never signed. `None` if there is no such URI; then every origin has to be
    /// [allowed by name](crate::AuthLayer::allow_origin).
    ///
    /// Defaults to `None`.
    fn uri(&self) -> Option<&Uri> {
        None
    }

    /// Whether the credentials are others than those that were last sent. Asked at most once a second, and only while
    /// the endpoint is left alone because it has refused them; `true` ends that, so that a corrected secret is used at
    /// once. Asks the credentials source only, never the endpoint.
    ///
    /// Defaults to `false`: the endpoint is asked again when the pause after its refusal is over.
    fn credentials_changed(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// [`TokenEndpoint`] without its type, so that a cache's handle has no type parameter.
pub(crate) trait DynEndpoint: Send + Sync + 'static {
    fn issue(&self) -> Pin<Box<dyn Future<Output = Result<IssuedToken, AuthError>> + Send + '_>>;
    fn credentials_changed(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

impl<E: TokenEndpoint> DynEndpoint for E {
    fn issue(&self) -> Pin<Box<dyn Future<Output = Result<IssuedToken, AuthError>> + Send + '_>> {
        Box::pin(TokenEndpoint::issue(self))
    }

    fn credentials_changed(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(TokenEndpoint::credentials_changed(self))
    }
}
