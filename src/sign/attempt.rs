//! The parts that a request takes along on its way: [`Unsent`], [`Replayable`], [`Attempt`] and
//! [`Resent`].

use std::sync::Arc;

use http::Request;

use super::handle::ServiceHandle;
use crate::{cache::Probe, events::Tally, refresh::doubt::Sends};

/// A request that is to be signed and sent.
///
/// The request is boxed because few requests wait, and every future would carry the place for it.
pub(crate) struct Unsent<S, B> {
    pub(crate) request: Box<Request<B>>,
    pub(crate) handle: Arc<ServiceHandle<S>>,
    /// The sends before this one. `None` for the first.
    pub(crate) attempt: Option<Box<Attempt>>,
}

/// The means to send a request again.
pub(crate) struct Replayable<S, K> {
    pub(crate) kept: K,
    pub(crate) handle: Arc<ServiceHandle<S>>,
}

/// The history of a request that was refused.
#[derive(Default)]
pub(crate) struct Attempt {
    /// The sequence number of the token that was refused last.
    pub(crate) refused: u64,
    pub(crate) sends: Sends,
    /// It was sent again because its proof was refused.
    pub(crate) proof: bool,
    /// The part of the request in the doubt in progress.
    pub(crate) probe: Option<Probe>,
}

/// A request that is in flight again.
pub(crate) struct Resent<S, K> {
    pub(crate) replay: Option<Replayable<S, K>>,
    pub(crate) attempt: Box<Attempt>,
}

impl Attempt {
    /// Notes that the request is to be sent again with the token that was refused, as a probe if
    /// there is one.
    pub(crate) fn again(&mut self, probe: Option<Probe>) {
        let Some(probe) = probe else {
            self.sends.pauses = self.sends.pauses.saturating_add(1);
            return;
        };
        self.sends.probe = Some(probe.id());
        self.probe = Some(probe);
        self.probes();
    }

    /// Notes that the request is to be sent as a probe.
    pub(crate) fn probes(&mut self) {
        self.sends.again = true;
        self.sends.probes = self.sends.probes.saturating_add(1);
    }

    /// Counts a send with the token `sequence`.
    pub(crate) fn sent(&mut self, sequence: u64, tally: &Tally) {
        if sequence == self.refused {
            tally.same_token_retries.add();
        } else {
            self.sends.replays = self.sends.replays.saturating_add(1);
            tally.replays.add();
        }
    }
}
