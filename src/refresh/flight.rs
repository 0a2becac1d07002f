//! One flight: attempts at the token endpoint until there is a token, a failure that lasts, or no time left.

use std::error::Error;

use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    clock,
    endpoint::{DynEndpoint, IssuedToken},
    error::{AuthError, Kind},
    events::Tally,
    refresh::{RefreshPolicy, backoff, life},
    token::{AccessToken, Unsendable},
};

/// All that a flight needs to know.
pub(crate) struct Order<'a> {
    pub(crate) endpoint: &'a dyn DynEndpoint,
    pub(crate) policy: &'a RefreshPolicy,
    pub(crate) scheme: &'a str,
    pub(crate) sequence: u64,
    pub(crate) tally: &'a Tally,
}

impl Order<'_> {
    /// Flies. Transient failures are repeated within the deadline; when it has passed, the last of them is the
    /// flight's.
    pub(crate) async fn fly(&self) -> Result<AccessToken, AuthError> {
        let deadline = clock::later(clock::now(), self.policy.deadline);
        let mut last = None;
        match timeout_at(deadline, self.attempts(deadline, &mut last)).await {
            Ok(result) => result,
            Err(_) => Err(last.unwrap_or_else(timed_out)),
        }
    }

    async fn attempts(
        &self,
        deadline: Instant,
        last: &mut Option<AuthError>,
    ) -> Result<AccessToken, AuthError> {
        let mut failures = 0_u32;
        loop {
            let error = match self.attempt().await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            tracing::warn!(
                sequence = self.sequence,
                attempt = failures,
                error = &error as &(dyn Error + 'static),
                "asking for a token failed",
            );
            let pause = backoff::pause(self.policy, failures, error.retry_after(), fastrand::f64());
            // Nobody is kept waiting for an attempt that would come too late.
            if !error.is_transient() || clock::later(clock::now(), pause) >= deadline {
                return Err(error);
            }
            *last = Some(error);
            sleep(pause).await;
        }
    }

    async fn attempt(&self) -> Result<AccessToken, AuthError> {
        Tally::add(&self.tally.token_requests);
        tracing::debug!(sequence = self.sequence, "asking for a token");
        let (sent, sent_wall) = (clock::now(), clock::wall());
        let issued =
            timeout(self.policy.attempt_timeout, self.endpoint.issue()).await.map_err(|_| timed_out())??;
        self.adopt(&issued, sent, sent_wall)
    }

    fn adopt(
        &self,
        issued: &IssuedToken,
        sent: Instant,
        sent_wall: std::time::SystemTime,
    ) -> Result<AccessToken, AuthError> {
        let secret = issued.secret.expose_secret();
        let life = life::observed(issued, secret, sent_wall).map_err(|_| expired())?;
        let times = life::times(life, sent);
        // It may have had a life, and spent it on the way.
        if times.unusable_from <= clock::now() {
            return Err(expired());
        }
        AccessToken::new(self.scheme, secret, self.sequence, times).map_err(|why| {
            AuthError::new(
                Kind::InvalidAnswer,
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
        })
    }
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
