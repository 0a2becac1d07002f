//! One flight: attempts at the token endpoint until there is a token, a failure that lasts, or no time left.

use std::{error::Error, time::SystemTime};

use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    clock::{self, Moment},
    endpoint::DynEndpoint,
    error::{AuthError, Fate, Kind},
    events::{TARGET, Tally},
    isolate::isolate,
    refresh::{RefreshPolicy, backoff},
    token::{AccessToken, IssuedToken, Times, Unsendable, lifetime, schedule},
};

/// All that a flight needs to know.
pub(crate) struct Attempts<'a> {
    pub(crate) endpoint: &'a dyn DynEndpoint,
    pub(crate) policy: &'a RefreshPolicy,
    pub(crate) scheme: &'a str,
    pub(crate) sequence: u64,
    pub(crate) tally: &'a Tally,
    /// A token to fall back upon. Callers are held while this flight asks for another: one attempt is all they wait
    /// for, unless that token is no good any more.
    pub(crate) fallback: Option<AccessToken>,
}

/// How a flight ended.
pub(crate) struct RefreshResult {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// The worst of what became of its attempts.
    pub(crate) fate: Fate,
}

impl Attempts<'_> {
    /// Flies. Transient failures are repeated within the deadline; when it has passed, the last of them is the
    /// flight's.
    pub(crate) async fn run(&self) -> RefreshResult {
        let deadline = clock::later(clock::now(), self.policy.deadline);
        let (mut last, mut fate) = (None, Fate::NotIssued);
        match timeout_at(deadline, self.attempts(deadline, &mut last, &mut fate)).await {
            Ok(result) => RefreshResult { result, fate },
            // An attempt was cut off, or the pause before one.
            Err(_) => RefreshResult {
                result: Err(last.unwrap_or_else(timed_out)),
                fate: fate.max(Fate::Unknown),
            },
        }
    }

    async fn attempts(
        &self,
        deadline: Instant,
        last: &mut Option<AuthError>,
        fate: &mut Fate,
    ) -> Result<AccessToken, AuthError> {
        let mut failures = 0_u32;
        loop {
            let error = match self.attempt().await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            *fate = error.fate().max(*fate);
            isolate(|| {
                tracing::warn!(
                    target: TARGET,
                    sequence = self.sequence,
                    attempt = failures,
                    error = &error as &(dyn Error + 'static),
                    "asking for a token failed",
                );
            });
            let falls_back =
                *fate != Fate::Issued && self.fallback.as_ref().is_some_and(AccessToken::is_usable);
            let pause = backoff::pause(self.policy, failures, error.retry_after(), fastrand::f64());
            // Nobody is kept waiting for an attempt that would come too late.
            if falls_back || !error.is_transient() || clock::later(clock::now(), pause) >= deadline
            {
                return Err(error);
            }
            *last = Some(error);
            sleep(pause).await;
        }
    }

    /// One of them, from the request to the token.
    pub(crate) async fn attempt(&self) -> Result<AccessToken, AuthError> {
        self.tally.token_requests.add();
        isolate(|| {
            tracing::debug!(target: TARGET, sequence = self.sequence, "asking for a token");
        });
        let sent = Sent { at: clock::moment(), wall: clock::wall() };
        let issued = timeout(self.policy.attempt_timeout, self.endpoint.issue())
            .await
            .map_err(|_| timed_out())??;
        let times = self.times(&issued, &sent)?;
        self.adopt(issued.secret.expose_secret(), times)
    }

    fn times(&self, issued: &IssuedToken, sent: &Sent) -> Result<Times, AuthError> {
        let lifetime = lifetime::observed(issued, issued.secret.expose_secret(), sent.wall)
            .map_err(|_| expired())?;
        let schedule = schedule::schedule(lifetime, &self.policy.windows, fastrand::f64());
        if schedule.clamped {
            isolate(|| {
                tracing::warn!(
                    target: TARGET,
                    lifetime_seconds = lifetime.as_secs_f64(),
                    "the expiry margin would take more than a quarter of the token's lifetime, and \
                     was cut to that",
                );
            });
        }
        Ok(Times { sent: sent.at, lifetime, schedule })
    }

    fn adopt(&self, secret: &str, times: Times) -> Result<AccessToken, AuthError> {
        let token = AccessToken::new(self.scheme, secret, self.sequence, times).map_err(|why| {
            AuthError::new(
                Kind::InvalidResponse,
                match why {
                    Unsendable::Empty => {
                        "the token endpoint issued an empty access token; check its address and the client's rights"
                    }
                    Unsendable::Characters => {
                        "the token endpoint issued an access token with characters that a header can't carry; \
                         check its address"
                    }
                },
            )
        })?;
        // It may have had a lifetime, and spent it on the way.
        if token.is_usable() { Ok(token) } else { Err(expired()) }
    }
}

/// When a request for a token was sent, on every clock.
struct Sent {
    at: Moment,
    wall: SystemTime,
}

fn expired() -> AuthError {
    AuthError::new(
        Kind::Expired,
        "the token endpoint issued a token that had expired when it arrived; check its clock",
    )
}

fn timed_out() -> AuthError {
    AuthError::new(
        Kind::Timeout,
        "the token endpoint did not answer in time; check the network, or try again later",
    )
}
