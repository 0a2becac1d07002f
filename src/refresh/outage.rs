//! [`Outage`]: which of many failures in a row the log is told of as news. Pure.

use http::StatusCode;

use crate::error::{AuthError, Kind};

/// The failures since the last token was issued.
///
/// An outage may last for hours, with a failure for each refresh and for each 401 that could not be
/// mended. The first failure of each kind is news, and the others only repeat it. A kind that was
/// reported is not news again before a token is issued, because a load balancer may answer 502 and
/// 503 in turn.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Refreshes that have failed.
    failures: u64,
    /// The kinds of failure that refreshes have ended with.
    refreshes: Reported,
    /// The kinds of failure that kept a token from being renewed after a 401.
    refusals: Reported,
}

/// The kinds of failure that were reported, up to [`MAX_KINDS`]. Those that come after them are not
/// news.
#[derive(Debug, Default)]
struct Reported(Vec<(Kind, Option<StatusCode>)>);

/// More than an outage shows, and few enough for the log.
const MAX_KINDS: usize = 16;

impl Outage {
    /// Notes a refresh that failed. Returns whether its failure is news.
    pub(crate) fn failed(&mut self, error: &AuthError) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.refreshes.report(error)
    }

    /// Notes a 401 after which the token could not be renewed. Returns whether its cause is news.
    pub(crate) fn not_renewed(&mut self, error: &AuthError) -> bool {
        self.refusals.report(error)
    }

    /// Returns whether a refresh has failed.
    pub(crate) fn has_begun(&self) -> bool {
        self.failures > 0
    }

    /// Ends the outage, if there is one. Returns how many refreshes have failed.
    pub(crate) fn end(&mut self) -> u64 {
        std::mem::take(self).failures
    }
}

impl Reported {
    fn report(&mut self, error: &AuthError) -> bool {
        let kind = (error.kind(), error.status());
        let is_news = self.0.len() < MAX_KINDS && !self.0.contains(&kind);
        if is_news {
            self.0.push(kind);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> AuthError {
        AuthError::responded(Kind::Transient, "x", StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn a_failure_is_news_once_in_an_outage() {
        let mut outage = Outage::default();
        let failures = [502, 503, 502, 503, 503].map(|status| outage.failed(&answered(status)));
        assert_eq!(failures, [true, true, false, false, false]);
        assert!(outage.failed(&AuthError::rejected("x")), "another kind without a status");
        assert!(outage.not_renewed(&answered(503)) && !outage.not_renewed(&answered(503)));
        assert_eq!(outage.end(), 6);
        assert!(!outage.has_begun() && outage.failed(&answered(503)) && outage.has_begun());
    }

    #[test]
    fn what_is_news_is_bounded() {
        let mut outage = Outage::default();
        let news = (500..600).filter(|&status| outage.failed(&answered(status))).count();
        assert_eq!(news, MAX_KINDS);
    }
}
