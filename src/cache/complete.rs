//! What flights bring: a token, or an error.

use std::sync::Arc;

use tokio::time::Instant;

use super::state::{Core, CurrentToken, Outcome, Requirement, State};
use crate::{
    clock,
    endpoint::Rotation,
    error::{AuthError, Fate},
    events::TARGET,
    refresh::{attempts::RefreshResult, gate::Gate},
    token::AccessToken,
};

impl Core {
    /// Takes in a flight's result and tells its waiters. First the state, then the waiters, and only then whoever
    /// else listens: wakers and subscribers are somebody else's code, which may block or panic.
    pub(super) fn land(self: &Arc<Self>, sequence: u64, flown: RefreshResult) {
        let RefreshResult { result, fate } = flown;
        let now = clock::now();
        let mut state = self.lock();
        let flight = state.flight.take_if(|flight| flight.sequence == sequence);
        match &result {
            // A flight that was given up on may land after its successor.
            Ok(token)
                if state
                    .newest
                    .as_ref()
                    .is_none_or(|newest| newest.token.sequence() < sequence) =>
            {
                if let Some(old) =
                    state.newest.replace(CurrentToken::new(token.clone(), &Arc::downgrade(self)))
                    && !old.refused
                {
                    state.cooldown.replaced(now, old.token.times());
                }
                state.gate = None;
                state.panics = 0;
            }
            Ok(_) => {}
            Err(error) if flight.is_some() => self.take_in_failure(&mut state, error, fate, now),
            // Given up on, and told so already.
            Err(_) => return,
        }
        self.publish(&state);
        let standing = state.serves(&Requirement::Usable);
        drop(state);
        if let Some(flight) = flight {
            // Nobody may be waiting any more; the token is kept all the same.
            let _ = flight.waiters.send(Outcome { result: result.clone(), standing });
        }
        self.report(sequence, result);
        self.keep_warm();
    }

    fn take_in_failure(&self, state: &mut State, error: &AuthError, fate: Fate, now: Instant) {
        if let Some(newest) = state.newest.as_mut().filter(|_| self.rotation == Rotation::Exclusive)
        {
            match fate {
                Fate::NotIssued => {}
                Fate::Unknown => {
                    newest.suspect = true;
                    // An answer to a request that is sent from here on tells.
                    newest.hand_over();
                }
                Fate::Issued => newest.refused = true,
            }
        }
        // A runtime that went away says nothing about the endpoint, and one panic is an accident.
        let panicked = error.is_interrupted() && std::thread::panicking();
        state.panics = if panicked { state.panics.saturating_add(1) } else { 0 };
        if !error.is_interrupted() || state.panics > 1 {
            let gate =
                Gate::after(state.gate.as_ref(), error.clone(), now, &self.policy, fastrand::f64());
            state.gate = Some(gate);
        }
    }

    /// The error that the gate holds, for a look that found nothing new.
    pub(super) fn stored_error(&self) -> Option<AuthError> {
        self.lock().gate.as_ref().map(|gate| gate.error.clone())
    }

    /// A look at the credentials found them unchanged: the gate stays as it is.
    pub(super) fn land_unchanged(&self, sequence: u64, error: AuthError) {
        let mut state = self.lock();
        let flight = state.flight.take_if(|flight| flight.sequence == sequence);
        self.publish(&state);
        drop(state);
        if let Some(flight) = flight {
            let _ = flight.waiters.send(Outcome { result: Err(error), standing: None });
        }
    }

    fn report(&self, sequence: u64, result: Result<AccessToken, AuthError>) {
        match result {
            Ok(token) => {
                self.tally.tokens_issued.add();
                let lifetime_seconds = token.lifetime().as_secs();
                self.changes.send_if_modified(|newest| {
                    let newer = newest.as_ref().is_none_or(|newest| newest.sequence() < sequence);
                    if newer {
                        *newest = Some(token);
                    }
                    newer
                });
                tracing::info!(target: TARGET, sequence, lifetime_seconds, "a token was issued");
            }
            Err(error) => {
                self.tally.refreshes_failed.add();
                tracing::warn!(target: TARGET, sequence,
                    error = &error as &(dyn std::error::Error + 'static),
                    "the refresh failed"
                );
            }
        }
    }
}
