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

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
mod tests {
    use super::*;
    use crate::{
        fleet::{Fleet, Naming},
        store::{MemoryStore, Name},
        token::{Times, Windows, schedule::schedule},
    };

    fn offer() -> (Arc<Member>, AccessToken) {
        let name = Name::new("payments").expect("allowed");
        let fleet = Fleet::new(Box::new(MemoryStore::new()), Naming::Given(name));
        let lifetime = Duration::from_secs(300);
        let schedule = schedule(lifetime, &Windows::default(), 0.5);
        let times = Times { sent: clock::moment(), lifetime, schedule };
        let token = AccessToken::new("Bearer", "t", 1, times).expect("it can be sent");
        (fleet.member().expect("it has a name"), token)
    }

    /// Puts a question off until a second from now.
    fn put_off_a_look(agenda: &mut Agenda) {
        for _ in 0..MOST_LOOKS {
            assert!(agenda.may_look());
        }
        assert!(!agenda.may_look());
    }

    #[tokio::test(start_paused = true)]
    async fn each_entry_comes_at_its_time_and_none_takes_another_with_it() {
        for (pause, is_offer_first) in [(500_u64, true), (1500, false)] {
            let (mut agenda, (member, token)) = (Agenda::default(), offer());
            let started = clock::now();
            put_off_a_look(&mut agenda);
            agenda.offer_after(Duration::from_millis(pause), member, token);
            let mut times = Vec::new();
            for _ in 0..2 {
                let due = agenda.next().await;
                let passed = clock::now().saturating_duration_since(started);
                times.push((matches!(due, Due::Offer(..)), passed.as_millis()));
            }
            let mut expected = [(true, u128::from(pause)), (false, 1000)];
            if !is_offer_first {
                expected.reverse();
            }
            // Timers are exact to the millisecond.
            for ((is_offer, at), (expected, then)) in times.into_iter().zip(expected) {
                assert_eq!(is_offer, expected);
                assert!(at.abs_diff(then) <= 1, "{at} and not {then}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_takes_the_place_of_the_one_before_and_is_taken_once() {
        let (mut agenda, (member, token)) = (Agenda::default(), offer());
        for _ in 0..2 {
            agenda.offer_after(Duration::from_secs(1), Arc::clone(&member), token.clone());
        }
        assert!(agenda.take_offer().is_some() && agenda.take_offer().is_none());
    }
}
