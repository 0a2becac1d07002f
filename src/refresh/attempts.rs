//! [`Attempts`]: the attempts of one flight at the token endpoint.
//!
//! They end with a token, with a failure that is not transient, or at the policy's deadline. If
//! callers can go on with the token in use, they end with the first failure.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    clock::{self, Moment},
    credentials,
    endpoint::{DynEndpoint, Trigger},
    error::{AuthError, Fate, Kind},
    events::{TARGET, Tally, log_news},
    isolate::isolate,
    refresh::{RefreshPolicy, backoff},
    token::{AccessToken, Identity, IssuedToken, Times, Unsendable, is_scheme, lifetime, schedule},
};

/// The inputs of a flight.
pub(crate) struct Attempts<'a> {
    pub(crate) endpoint: &'a dyn DynEndpoint,
    pub(crate) policy: &'a RefreshPolicy,
    pub(crate) scheme: &'a str,
    /// The number of the flight.
    pub(crate) sequence: u64,
    /// The number of the token that it brings.
    pub(crate) token_sequence: u64,
    pub(crate) tally: &'a Tally,
    /// The refresh before this one has failed, so that a failed attempt is no news.
    pub(crate) is_failing: bool,
    /// Returns whether callers go on with a token if the flight ends now, instead of waiting for
    /// further attempts. Called after each failure, because an attempt may have killed that token.
    pub(crate) falls_back: Box<dyn Fn() -> bool + Send + Sync + 'a>,
    /// The token that is to be replaced, and why. `None` for the first token.
    pub(crate) previous: Option<(Trigger, AccessToken)>,
    /// The permission to make a further attempt, where another process may ask by then.
    pub(crate) permit: Option<&'a dyn Permit>,
    /// The end of all attempts.
    pub(crate) deadline: Instant,
}

/// The permission to ask the endpoint, which this process may lose to another one.
pub(crate) trait Permit: Send + Sync {
    /// Returns whether the permission is known to be lost.
    fn is_lost(&self) -> bool;

    /// Waits until the permission is known to be lost.
    fn lost(&self) -> BoxFuture<'_, ()>;

    /// Confirms the permission, unless that was done lately. Returns whether this process still has
    /// it.
    fn confirm(&self) -> BoxFuture<'_, bool>;
}

/// How a flight ended.
pub(crate) struct RefreshResult {
    pub(crate) result: Result<AccessToken, AuthError>,
    /// The worst fate of its attempts.
    pub(crate) fate: Fate,
    /// The client that the token was issued to, if the endpoint tells.
    pub(crate) issued_to: Option<Identity>,
}

impl Attempts<'_> {
    /// Makes attempts until one of them ends the flight. Repeats transient failures until the
    /// deadline. Returns the last of them when the deadline has passed.
    pub(crate) async fn run(&self) -> RefreshResult {
        let deadline = self.deadline;
        let (mut last, mut fate) = (None, Fate::NotIssued);
        if clock::now() >= deadline {
            // Earlier attempts of the flight have taken all of its time.
            let result = Err(self.timed_out(self.policy.deadline));
            return RefreshResult { result, fate, issued_to: None };
        }
        match timeout_at(deadline, self.attempts(deadline, &mut last, &mut fate)).await {
            Ok(Ok((token, issued_to))) => RefreshResult { result: Ok(token), fate, issued_to },
            Ok(Err(error)) => RefreshResult { result: Err(error), fate, issued_to: None },
            // The deadline cut off an attempt, whose fate is unknown, or a pause before one.
            Err(_) => RefreshResult {
                result: Err(last.unwrap_or_else(|| self.timed_out(self.policy.deadline))),
                fate: fate.max(Fate::Unknown),
                issued_to: None,
            },
        }
    }

    async fn attempts(
        &self,
        deadline: Instant,
        last: &mut Option<AuthError>,
        fate: &mut Fate,
    ) -> Result<(AccessToken, Option<Identity>), AuthError> {
        let mut failures = 0_u32;
        loop {
            let time = self.policy.attempt_time(failures == 0 && !self.is_failing);
            let error = match self.attempt(time, deadline).await {
                Ok(issued) => return Ok(issued),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            *fate = error.fate().max(*fate);
            isolate(|| {
                log_news!(
                    failures == 1 && !self.is_failing,
                    sequence = self.sequence,
                    attempt = failures,
                    error = &error as &(dyn Error + 'static),
                    "asking for a token failed",
                );
            });
            let falls_back = *fate != Fate::Issued && (self.falls_back)();
            let pause = backoff::pause(self.policy, failures, error.retry_after(), fastrand::f64());
            // Callers don't wait for an attempt that would start after the deadline.
            let is_lost = self.permit.is_some_and(Permit::is_lost);
            if falls_back
                || is_lost
                || !error.is_worth_another_attempt()
                || clock::later(clock::now(), pause) >= deadline
            {
                return Err(error);
            }
            let error = last.insert(error);
            let Some(permit) = self.permit else {
                sleep(pause).await;
                continue;
            };
            // Once the permission is lost, callers have nothing to expect of the pause.
            let is_lost = timeout(pause, permit.lost()).await.is_ok();
            if is_lost || !permit.confirm().await {
                return Err(error.clone());
            }
        }
    }

    /// Asks the endpoint for a token once, and makes an [`AccessToken`] of what it issued. The
    /// attempt takes `time` at most, and ends at `deadline` at the latest.
    pub(crate) async fn attempt(
        &self,
        time: Duration,
        deadline: Instant,
    ) -> Result<(AccessToken, Option<Identity>), AuthError> {
        self.tally.token_requests.add();
        isolate(|| {
            tracing::debug!(target: TARGET, sequence = self.sequence, "asking for a token");
        });
        let sent = Sent { at: clock::moment(), wall: clock::wall() };
        let ends = clock::later(sent.at.at, time);
        let asking = match &self.previous {
            Some((trigger, previous)) => self.endpoint.reissue(*trigger, previous),
            None => self.endpoint.issue(),
        };
        // The credentials source has the same bound, so that it is known who let it pass.
        let issuing = credentials::bounded(ends.min(deadline), asking);
        let issued = timeout_at(ends, issuing)
            .await
            .map_err(|_| self.timed_out(time))?
            .map_err(|error| error.with_retry_after_at_most(self.policy.max_retry_after))?;
        let times = self.times(&issued, &sent)?;
        let scheme = self.scheme_of(&issued)?;
        let token = self.adopt(scheme, issued.secret.expose_secret(), times)?;
        Ok((token.with_extensions(issued.extensions), issued.issued_to))
    }

    fn times(&self, issued: &IssuedToken, sent: &Sent) -> Result<Times, AuthError> {
        let lifetime = lifetime::observed(issued, issued.secret.expose_secret(), sent.wall)
            .map_err(|_| self.expired())?;
        let mut schedule = schedule::schedule(lifetime, &self.policy.windows, fastrand::f64());
        if let Some(hint) = issued.renew_in {
            schedule.due_by(hint, lifetime);
        }
        Ok(Times { sent: sent.at, lifetime, schedule })
    }

    fn scheme_of<'a>(&'a self, issued: &'a IssuedToken) -> Result<&'a str, AuthError> {
        let Some(scheme) = &issued.scheme else { return Ok(self.scheme) };
        if is_scheme(scheme) {
            return Ok(scheme);
        }
        Err(self.said("names an authentication scheme that no header can carry; check its address"))
    }

    fn adopt(&self, scheme: &str, secret: &str, times: Times) -> Result<AccessToken, AuthError> {
        let token = AccessToken::new(scheme, secret, self.token_sequence, times);
        let token = token.map_err(|why| {
            self.said(match why {
                Unsendable::Empty => {
                    "issued an empty access token; check its address and the client's rights"
                }
                Unsendable::Characters => {
                    "issued an access token with characters that a header can't carry; check its \
                     address"
                }
            })
        })?;
        // The lifetime counts from the request. A token may have spent all of it on the way.
        if token.is_usable() { Ok(token) } else { Err(self.expired()) }
    }

    /// Returns the error of a success that brought no usable token.
    fn said(&self, fault: &str) -> AuthError {
        AuthError::new(Kind::InvalidResponse, format!("{} {fault}", self.endpoint.name()))
    }

    fn expired(&self) -> AuthError {
        let fault = "issued a token that had expired when it arrived; check its clock";
        AuthError::new(Kind::Expired, format!("{} {fault}", self.endpoint.name()))
    }

    fn timed_out(&self, after: Duration) -> AuthError {
        AuthError::new(
            Kind::Timeout,
            format!(
                "{} did not answer within {}; check the network, or try again later",
                self.endpoint.name(),
                clock::in_seconds(after),
            ),
        )
    }
}

/// The moment at which a request for a token was sent, by every clock.
struct Sent {
    at: Moment,
    wall: SystemTime,
}
