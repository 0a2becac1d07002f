//! [`Refused`]: a 401, what it takes to send its request again, and the decision on that.

use std::time::Duration;

use http::Response;

use super::{
    attempt::{Attempt, Replayable, Unsent},
    classify::Classification,
};
use crate::{
    cache::{DoubtFuture, Lease, Refusal, Requirement, Verdict},
    error::AuthError,
    events::TARGET,
    isolate::isolate,
    replay::{Declined, Replay},
    route::Route,
    sign::signer::Signer,
    sync,
    token::AccessToken,
};

/// A 401, and what it takes to send its request again. Both are kept until there is a token. If
/// there will be none, the 401 is the caller's, and its body can still be read.
pub(super) struct Refused<S, Res, K> {
    response: Res,
    pub(super) replay: Replayable<S, K>,
    /// The token that was refused.
    token: AccessToken,
    route: Option<Route>,
    attempt: Box<Attempt>,
    /// The refusal has been judged before.
    is_counted: bool,
    /// The token that the request waits for.
    pub(super) requirement: Requirement,
}

/// The next step after a refusal.
pub(super) enum Next<S, Res, K> {
    /// The 401 is the caller's.
    Return(Res),
    /// The request is sent again after a pause.
    Pause(Box<Refused<S, Res, K>>, Duration),
    /// The request waits for a probe.
    Doubt(Box<Refused<S, Res, K>>, DoubtFuture),
    /// The request waits for a token.
    Renew(Box<Refused<S, Res, K>>),
}

/// Decides what comes after a refusal. The request is no longer in flight.
#[cold]
pub(super) fn after_refusal<S, B, R, ResB>(
    refusal: Classification,
    response: Response<ResB>,
    lease: sync::Arc<Lease>,
    replay: Option<Replayable<S, R::Kept>>,
    route: Option<Route>,
    attempt: Box<Attempt>,
) -> Next<S, Response<ResB>, R::Kept>
where
    R: Replay<B>,
{
    if refusal == Classification::ProofRefused {
        after_refused_proof::<S, B, R, ResB>(response, &lease, replay, route, attempt)
    } else {
        after_401::<S, B, R, ResB>(response, lease, replay, route, attempt)
    }
}

/// Decides what comes after the refusal of a proof: the same token once more, or a newer one if it
/// has been replaced or has expired by then.
fn after_refused_proof<S, B, R, ResB>(
    response: Response<ResB>,
    lease: &Lease,
    replay: Option<Replayable<S, R::Kept>>,
    route: Option<Route>,
    mut attempt: Box<Attempt>,
) -> Next<S, Response<ResB>, R::Kept>
where
    R: Replay<B>,
{
    lease.refuse_proof();
    let Some(replay) = replay.filter(|_| !attempt.proof) else { return Next::Return(response) };
    if !R::pause(&replay.kept) {
        return Next::Return(decline(response, &replay.handle.signer, true));
    }
    let token = lease.token.clone();
    (attempt.proof, attempt.refused) = (true, token.sequence());
    let requirement = Requirement::Usable;
    Next::Renew(Box::new(Refused {
        response,
        replay,
        token,
        route,
        attempt,
        is_counted: false,
        requirement,
    }))
}

/// Decides what comes after a 401, or another refusal of the token. The request is no longer in
/// flight.
fn after_401<S, B, R, ResB>(
    response: Response<ResB>,
    lease: sync::Arc<Lease>,
    replay: Option<Replayable<S, R::Kept>>,
    route: Option<Route>,
    attempt: Box<Attempt>,
) -> Next<S, Response<ResB>, R::Kept>
where
    R: Replay<B>,
{
    let token = lease.token.clone();
    let (replay, declined) = match replay {
        Some(replay) if R::pause(&replay.kept) => (Some(replay), None),
        declined => (None, declined),
    };
    let Some(replay) = replay else {
        let sends = attempt.sends;
        let refusal = Refusal { token: &token, route, sends, resendable: false, is_counted: false };
        // Whatever the verdict is, the 401 is the caller's.
        drop(Lease::refuse(lease, &refusal));
        let Some(Replayable { handle, .. }) = declined else { return Next::Return(response) };
        // If the token is served on all the same, sending again would be in vain.
        let current = handle.signer.cache.current();
        let is_renewed = current.is_none_or(|current| !current.is(&token));
        return Next::Return(decline(response, &handle.signer, is_renewed));
    };
    let requirement = Requirement::Usable;
    Box::new(Refused { response, replay, token, route, attempt, is_counted: false, requirement })
        .judge(Some(lease))
}

impl<S, ResB, K> Refused<S, Response<ResB>, K> {
    /// Asks for a verdict, and gives up the lease for it.
    fn judge(mut self: Box<Self>, lease: Option<sync::Arc<Lease>>) -> Next<S, Response<ResB>, K> {
        let sends = self.attempt.sends;
        let (token, route, is_counted) = (&self.token, self.route, self.is_counted);
        let refusal = Refusal { token, route, sends, resendable: true, is_counted };
        let verdict = match lease {
            Some(lease) => Lease::refuse(lease, &refusal),
            None => self.replay.handle.signer.cache.refused(&refusal),
        };
        self.attempt.refused = self.token.sequence();
        self.is_counted = true;
        match verdict {
            Verdict::Return => Next::Return(self.response),
            Verdict::Again { after, probe } => {
                self.attempt.again(probe);
                Next::Pause(self, after)
            }
            Verdict::ProbeAgain { after } => {
                self.attempt.probes();
                Next::Pause(self, after)
            }
            Verdict::Wait(doubt) => {
                self.attempt.sends.patience.get_or_insert(doubt.until());
                Next::Doubt(self, doubt)
            }
            Verdict::AskStore(answer) => {
                self.is_counted = is_counted;
                Next::Doubt(self, answer)
            }
            Verdict::Renew => self.renew(),
        }
    }

    /// Asks for a verdict again, because the probe went away that the request waited for.
    pub(super) fn judge_again(self: Box<Self>) -> Next<S, Response<ResB>, K> {
        self.judge(None)
    }

    /// Sends the request again with the same token, because a probe was accepted.
    pub(super) fn clear(mut self: Box<Self>) -> Next<S, Response<ResB>, K> {
        self.attempt.sends.again = true;
        Next::Renew(self)
    }

    /// Waits for a newer token.
    pub(super) fn renew(mut self: Box<Self>) -> Next<S, Response<ResB>, K> {
        self.requirement = Requirement::NewerThan(self.token.clone());
        Next::Renew(self)
    }

    /// Makes the request again, unless an error says why there is no token for it. The error that
    /// is returned is the caller's response.
    pub(super) fn restore<B, R>(
        self,
        error: Option<AuthError>,
    ) -> Result<Unsent<S, B>, Response<ResB>>
    where
        R: Replay<B, Kept = K>,
    {
        let Self { response, replay: Replayable { kept, handle }, attempt, .. } = self;
        if let Some(error) = error {
            return Err(give_up(response, error, &handle.signer));
        }
        // The 401 is dropped, and its connection with it, before a service is asked whether it is
        // ready.
        match R::restore(kept) {
            Some(request) => {
                Ok(Unsent { request: Box::new(request), handle, attempt: Some(attempt) })
            }
            None => Err(decline(response, &handle.signer, true)),
        }
    }
}

/// Returns the 401 as it was answered. If the token is renewed, so that sending again would be of
/// use, it carries the mark that its body can't be.
fn decline<ResB>(
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
