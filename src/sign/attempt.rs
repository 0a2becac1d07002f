//! The parts that a request takes along on its way: [`Unsent`], [`Replayable`] and [`Refused`].

use std::sync::Arc;

use http::{Request, Response};

use super::{handle::ServiceHandle, signer::Signer};
use crate::{
    cache::Requirement,
    error::AuthError,
    events::TARGET,
    isolate::isolate,
    replay::{Declined, Replay},
    token::AccessToken,
};

/// A request that is to be signed and sent.
///
/// The request is boxed because few requests wait, and every future would carry the place for it.
pub(crate) struct Unsent<S, B> {
    pub(crate) request: Box<Request<B>>,
    pub(crate) handle: Arc<ServiceHandle<S>>,
    pub(crate) is_replay: bool,
}

/// The means to send a request again.
pub(crate) struct Replayable<S, K> {
    pub(crate) kept: K,
    pub(crate) handle: Arc<ServiceHandle<S>>,
}

/// A 401, and what it takes to send its request again. Both are kept until there is a newer token.
/// If there will be none, the 401 is the caller's, and its body can still be read.
pub(crate) struct Refused<S, Res, K> {
    pub(crate) response: Res,
    pub(crate) replay: Replayable<S, K>,
    pub(crate) requirement: Requirement,
}

impl<S, ResB, K> Refused<S, Response<ResB>, K> {
    /// Makes the request again, now that there is a newer token. The error is the caller's
    /// response.
    pub(crate) fn restore<B, R>(
        self,
        result: Result<AccessToken, AuthError>,
    ) -> Result<Unsent<S, B>, Response<ResB>>
    where
        R: Replay<B, Kept = K>,
    {
        let Self { response, replay: Replayable { kept, handle }, .. } = self;
        if let Err(error) = result {
            return Err(give_up(response, error, &handle.signer));
        }
        // The 401 is dropped, and its connection with it, before a service is asked whether it is
        // ready.
        match R::restore(kept) {
            Some(request) => Ok(Unsent { request: Box::new(request), handle, is_replay: true }),
            None => Err(decline(response, &handle.signer, true)),
        }
    }
}

/// Returns the 401 as it was answered. If the token is renewed, so that sending again would be of
/// use, it carries the mark that its body can't be.
pub(crate) fn decline<ResB>(
    mut response: Response<ResB>,
    signer: &Signer,
    is_renewed: bool,
) -> Response<ResB> {
    signer.cache.tally().replays_declined.add();
    isolate(|| {
        tracing::debug!(
            target: TARGET,
            "a request was answered 401 and its body can't be sent again",
        );
    });
    if is_renewed {
        response.extensions_mut().insert(Declined);
    }
    response
}

/// Returns the 401 as it was answered, with the reason why there is no replay.
fn give_up<ResB>(
    mut response: Response<ResB>,
    error: AuthError,
    signer: &Signer,
) -> Response<ResB> {
    signer.cache.handle().not_renewed(error.clone());
    response.extensions_mut().insert(error);
    response
}
