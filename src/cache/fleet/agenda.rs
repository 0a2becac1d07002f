//! [`Agenda`]: what the [listener](super::listener) does at the store after a while.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{clock, fleet::Member, token::AccessToken};

/// The most questions to the store within [`WINDOW`], however often it tells of changes.
const MOST_LOOKS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// The later tasks of the listener at the store. It hears notices meanwhile.
#[derive(Default)]
pub(super) struct Agenda {
    /// The start of a window, and how often the store was asked in it because of what it had told.
    window: Option<(Instant, u32)>,
    /// When to ask it.
    look: Option<Instant>,
    /// A token to publish, and when to try.
    offer: Option<(Instant, Arc<Member>, AccessToken)>,
}

/// An entry of the agenda whose time has come.
pub(super) enum Due {
    /// Ask for the newest value.
    Look,
    /// Publish a token.
    Offer(Arc<Member>, AccessToken),
}

impl Agenda {
    /// Returns whether the store may be asked now. If it was asked often, the question is put off.
    pub(super) fn may_look(&mut self) -> bool {
        let now = clock::now();
        let window = self.window.filter(|(began, _)| now < clock::later(*began, WINDOW));
        let (began, looks) = window.unwrap_or((now, 0));
        let may_look = looks < MOST_LOOKS;
        self.window = Some((began, looks + u32::from(may_look)));
        self.look = (!may_look).then(|| clock::later(began, WINDOW));
        may_look
    }

    /// Enters another try to publish `token`, in place of any other token.
    pub(super) fn offer_after(&mut self, pause: Duration, member: Arc<Member>, token: AccessToken) {
        self.offer = Some((clock::later(clock::now(), pause), member, token));
    }

    /// Takes off the token to publish, whose time need not have come.
    pub(super) fn take_offer(&mut self) -> Option<(Arc<Member>, AccessToken)> {
        self.offer.take().map(|(_, member, token)| (member, token))
    }

    /// Waits for the next entry, and takes it off.
    ///
    /// # Cancel safety
    ///
    /// No entry is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Due {
        let offer = self.offer.as_ref().map(|(at, ..)| *at);
        let look = self.look.filter(|look| offer.is_none_or(|offer| *look <= offer));
        let Some(at) = look.or(offer) else { return pending().await };
        sleep_until(at).await;
        if look.is_none()
            && let Some((member, token)) = self.take_offer()
        {
            return Due::Offer(member, token);
        }
        self.look = None;
        Due::Look
    }
}
