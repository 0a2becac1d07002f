//! [`State`]: the newest token, the flight for its successor, and what holds flights back. A value
//! without I/O.
//!
//! Each transition is a function of (state, event, [`Inputs`]) that returns [`Effects`]. It has no
//! lock, no clock, no runtime, and it calls nothing that belongs to somebody else. The transitions
//! lie by event in [`acquire`](super::acquire), [`hold`](super::hold), [`trial`](super::trial),
//! [`complete`](super::complete) and [`invalidate`](super::invalidate). The
//! [core](super::core) describes the whole of it.

use std::time::Duration;

use tokio::time::Instant;

use super::effect::{Effect, Effects, Ended, Start, Trigger};
use crate::{
    clock::{self, Moment},
    endpoint::{self, Rotation},
    error::AuthError,
    refresh::{RefreshPolicy, cooldown::Cooldown, doubt::Doubts, gate::Gate, outage::Outage},
    token::AccessToken,
};

/// The least time between two forced flights that ignore back-off.
const FORCE_EVERY: Duration = Duration::from_secs(1);

/// The current token, the flight for the next one, and what failures and refusals hold back.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) current: Option<CurrentToken>,
    pub(super) flight: Option<Flight>,
    /// The number of the newest flight. Without a fleet it is that of the token that it brings.
    pub(super) last_sequence: u64,
    pub(super) cooldown: Cooldown,
    pub(super) doubts: Doubts,
    pub(super) outage: Outage,
    /// The last drain has timed out.
    pub(super) drain_timed_out: bool,
    /// Flights in a row that have panicked.
    pub(super) panics: u32,
    /// The store does not work.
    pub(super) store_failing: bool,
    /// When it worked again after it had failed last.
    pub(super) store_back: Option<Instant>,
    /// The token for whose refusal the store was asked last, and when.
    pub(super) asked: Option<(u64, Instant)>,
    /// When the last forced flight started.
    pub(super) forced: Option<Instant>,
    /// The last handle is gone.
    pub(super) closed: bool,
    /// Private, because the error in it must not be dropped here: see
    /// [`set_gate`](Self::set_gate).
    gate: Option<Gate>,
    /// The error of the last flight that ended. Private for the same reason.
    last_error: Option<AuthError>,
}

/// The newest token.
#[derive(Debug)]
pub(super) struct CurrentToken {
    pub(super) token: AccessToken,
    /// The flight that brought it; 0 if it was another process'.
    pub(super) flight: u64,
    /// When it came; `None` if its resources have had the time to learn of it.
    pub(super) since: Option<Instant>,
    pub(super) standing: Standing,
    /// A request for its successor was sent, and whether that killed this token is unknown.
    pub(super) suspect: bool,
    /// The doubt whose probe took too long, so that the token is to be renewed.
    pub(super) unproven: Option<u64>,
    /// A refusal while it was suspect has asked for a successor in spite of back-off. That happens
    /// once, or each refusal would cost a request to an endpoint that fails.
    pub(super) hurried: bool,
    /// It was refused while a request for its successor was under way, which may have killed it. It
    /// is served again once a request that tried it was accepted.
    pub(super) withheld: Option<Trials>,
}

/// When requests try a token that is withheld, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trials {
    /// The last one, or the refusal.
    pub(super) last: Instant,
    /// From when on there may be one more.
    pub(super) next: Instant,
}

/// The standing of the newest token, apart from its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing speaks against it.
    Good,
    /// A resource refused it, and a successor is wanted. It may live all the same.
    Refused,
    /// It is known to be dead.
    Dead,
}

/// The flight in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) stage: Stage,
    pub(super) drain: Drain,
    /// When the flight must have ended. After that, its runtime is not driven.
    pub(super) overdue: Instant,
    /// Its hold has timed out, and the endpoint has not responded yet.
    pub(super) hold_timed_out: bool,
    /// That alone made the current token suspect.
    pub(super) suspects: bool,
}

/// How far the wait for requests in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// They are waited for, if any wait is needed.
    Open,
    /// They are not waited for any longer.
    Cut,
    /// The endpoint is asked, as far as this cache knows.
    Over,
}

/// How far a flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The token in use is served.
    Serving,
    /// New requests are held, because the token in use is about to die.
    Holding,
    /// The hold has timed out. One request goes first with the token, which may have died.
    Scouting {
        /// That request is on its way.
        taken: bool,
    },
}

/// The need of a caller.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// A token that can be sent.
    Usable,
    /// A token that is newer than this one, which a resource refused.
    NewerThan(AccessToken),
    /// The result of a flight, whatever the state of the token in use.
    Fresh,
}

/// The configuration that transitions depend on.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) rotation: Rotation,
    pub(crate) policy: RefreshPolicy,
    /// Other processes share the token.
    pub(crate) shared: bool,
}

/// The inputs of a transition beside its event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub(super) rules: &'a Rules,
    pub(super) now: Moment,
    /// A random number in 0..1.
    pub(super) random: f64,
    /// A resource has accepted the current token on a lease of the current generation. A generation
    /// begins when the token is held, or suspected to be dead.
    pub(super) accepted_lately: bool,
}

impl Rules {
    /// Returns whether requests are held while a token is asked for.
    pub(super) fn holds(&self) -> bool {
        self.rotation == Rotation::Exclusive && self.policy.hold
    }

    /// Returns how long a flight may take from its hold on. It is twice the flight's deadline,
    /// because a busy runtime may be late. A flight that takes longer is not driven. In a fleet the
    /// flight may first wait as long for another process.
    pub(super) fn flight_bound(&self) -> Duration {
        let deadline = self.policy.deadline.saturating_mul(if self.shared { 4 } else { 2 });
        self.policy.windows.drain_timeout.saturating_add(deadline)
    }
}

impl State {
    /// Returns the current token unless it has expired, was refused, or is about to be killed by a
    /// flight.
    pub(super) fn servable(&self, now: &Moment) -> Option<&AccessToken> {
        let held = self.flight.is_some_and(|flight| flight.stage != Stage::Serving);
        let current = self.current.as_ref()?;
        let is_good = current.standing == Standing::Good && !held;
        (is_good && current.token.is_usable_at(now)).then_some(&current.token)
    }

    /// Returns the token that meets `requirement` without a flight.
    pub(super) fn serves(&self, requirement: &Requirement, now: &Moment) -> Option<&AccessToken> {
        let token = self.servable(now)?;
        let meets = match requirement {
            Requirement::Usable => true,
            // The endpoint may have issued the refused token again.
            Requirement::NewerThan(refused) => {
                token.sequence() > refused.sequence() && !token.is_sent_as(refused)
            }
            Requirement::Fresh => false,
        };
        meets.then_some(token)
    }

    /// Returns until when readers may be served without asking the state; `None` if they may not
    /// be served.
    pub(super) fn served_until(&self, now: &Moment) -> Option<Instant> {
        let times = self.servable(now)?.times();
        let (due, unusable) =
            (times.at(times.schedule.due, now), times.at(times.schedule.unusable, now));
        Some(match (&self.flight, &self.gate) {
            (Some(_), _) => unusable,
            (None, Some(gate)) => due.max(gate.until).min(unusable),
            (None, None) => due,
        })
    }

    /// Returns the newest token unless it is known to be dead. A token that a resource refused may
    /// live, so requests in flight with it are protected, and it is better than none.
    pub(super) fn alive(&self, now: &Moment) -> Option<&AccessToken> {
        let current = self.current.as_ref()?;
        let is_alive =
            current.standing != Standing::Dead && !current.token.time_left_at(now).is_zero();
        is_alive.then_some(&current.token)
    }

    /// Returns whether the current token may be dead. Nobody is held for the renewal of such a
    /// token.
    pub(super) fn is_suspect(&self, inputs: &Inputs<'_>) -> bool {
        let suspect =
            self.current.as_ref().is_some_and(|it| it.suspect && it.standing != Standing::Dead);
        suspect && !inputs.accepted_lately
    }

    /// Returns whether nothing is worth waiting for before the endpoint is asked.
    pub(super) fn is_drain_over(&self, now: &Moment) -> bool {
        self.alive(now).is_none() || self.flight.is_some_and(|flight| flight.drain == Drain::Cut)
    }

    /// Returns whether the token in use dies by this cache's own request for its successor. During
    /// a drain it does not yet.
    pub(super) fn is_dying(&self, inputs: &Inputs<'_>) -> bool {
        self.flight.is_some_and(|flight| {
            let is_asked = flight.stage == Stage::Holding && flight.drain == Drain::Over;
            let exclusive = inputs.rules.rotation == Rotation::Exclusive;
            exclusive && (is_asked || !inputs.rules.policy.hold)
        })
    }

    /// Returns the token that a resource refused, if some resource had accepted it and it is not
    /// known to be dead. It is better than none.
    pub(super) fn refused_token(&self, now: &Moment) -> Option<&AccessToken> {
        let is_refused = self.current.as_ref().is_some_and(|it| it.standing == Standing::Refused);
        self.alive(now).filter(|token| is_refused && token.is_accepted())
    }

    /// Returns the token that a flight for this reason replaces, and why as the endpoint hears it.
    pub(super) fn previous(&self, trigger: Trigger) -> Option<(endpoint::Trigger, AccessToken)> {
        let current = self.current.as_ref()?;
        let trigger = match (trigger, current.standing) {
            (Trigger::Forced, Standing::Good) => endpoint::Trigger::Forced,
            (_, Standing::Good) => endpoint::Trigger::Due,
            (_, Standing::Refused | Standing::Dead) => endpoint::Trigger::Refused,
        };
        Some((trigger, current.token.clone()))
    }

    /// Returns whether requests are held and the endpoint has not been asked yet, so the token in
    /// use has not died of that.
    pub(super) fn is_draining(&self) -> bool {
        self.flight
            .is_some_and(|flight| flight.stage == Stage::Holding && flight.drain != Drain::Over)
    }

    /// Returns whether this flight holds requests back.
    pub(super) fn is_holding(&self, sequence: u64) -> bool {
        self.flight
            .is_some_and(|flight| flight.sequence == sequence && flight.stage == Stage::Holding)
    }

    /// Returns the flight if it is this one.
    pub(super) fn flight_of(&mut self, sequence: u64) -> Option<&mut Flight> {
        self.flight.as_mut().filter(|flight| flight.sequence == sequence)
    }

    /// Starts a flight. A flight that is overdue is abandoned for it.
    pub(super) fn begin(&mut self, trigger: Trigger, inputs: &Inputs<'_>, effects: &mut Effects) {
        let Inputs { rules, now, .. } = inputs;
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let mut overdue = clock::later(now.at, rules.flight_bound());
        match trigger {
            // It may wait for an idle moment until the token in use expires.
            Trigger::Due => {
                let left = self.current.as_ref().map(|current| current.token.time_left_at(now));
                overdue = clock::later(overdue, left.unwrap_or_default());
            }
            Trigger::Probe => self.gate.iter_mut().for_each(|gate| gate.checked(now.at)),
            Trigger::Forced => self.forced = Some(now.at),
            Trigger::Needed | Trigger::Sibling => {}
        }
        let holds = rules.holds() && self.current.is_some() && !self.is_suspect(inputs);
        let stage = match trigger {
            Trigger::Needed | Trigger::Forced | Trigger::Sibling if holds => Stage::Holding,
            _ => Stage::Serving,
        };
        // Another process may have asked the endpoint by the time that this one hears of it.
        let drain = if trigger == Trigger::Sibling { Drain::Over } else { Drain::Open };
        let floor = self.current.as_ref().map_or(0, |current| current.token.sequence());
        let overtaken = self.flight.replace(Flight {
            sequence,
            stage,
            drain,
            overdue,
            hold_timed_out: false,
            suspects: false,
        });
        effects.ended = overtaken.map(|_| Ended::Abandoned);
        effects.start = Some(Start { sequence, trigger, floor });
        effects.publish = true;
        effects.count(|tally| &tally.refreshes);
    }

    /// Returns the back-off after the last failure.
    pub(super) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Changes the back-off. The error of the old one is dropped by an effect, because the
    /// destructor of its source is a user's code.
    pub(super) fn set_gate(&mut self, gate: Option<Gate>, effects: &mut Effects) {
        if let Some(old) = std::mem::replace(&mut self.gate, gate) {
            effects.then.push(Effect::Discard(old.error));
        }
    }

    /// Returns the error of the last flight that ended.
    pub(super) fn last_error(&self) -> Option<&AuthError> {
        self.last_error.as_ref()
    }

    /// Notes how the last flight ended. The error before it is dropped by an effect.
    pub(super) fn set_last_error(&mut self, error: Option<AuthError>, effects: &mut Effects) {
        if let Some(old) = std::mem::replace(&mut self.last_error, error) {
            effects.then.push(Effect::Discard(old));
        }
    }

    /// Returns the stored error while no flight may start.
    pub(super) fn backing_off(&self, now: &Moment) -> Option<&AuthError> {
        self.gate.as_ref().filter(|gate| gate.is_backing_off(now.at)).map(|gate| &gate.error)
    }

    /// Returns whether a forced flight may start, even during back-off.
    pub(super) fn may_force(&self, now: &Moment) -> bool {
        self.forced.is_none_or(|forced| now.at >= clock::later(forced, FORCE_EVERY))
    }

    /// Returns whether it is time to ask the credentials' source for a corrected secret while the
    /// endpoint is left alone. Refused credentials may be corrected at any time, and a source that
    /// failed may supply some.
    pub(super) fn is_probe_due(&self, now: &Moment) -> bool {
        self.gate
            .as_ref()
            .is_some_and(|gate| gate.is_backing_off(now.at) && gate.may_check_credentials(now.at))
    }

    /// Returns when the next renewal may start, if that is known.
    pub(super) fn next_renewal(&self, now: &Moment) -> Option<Instant> {
        let current = self.current.as_ref().filter(|it| it.standing == Standing::Good);
        let due = current.map(|current| {
            let times = current.token.times();
            times.at(times.schedule.due, now)
        });
        due.into_iter().chain(self.gate.as_ref().map(|gate| gate.until)).max()
    }
}

impl CurrentToken {
    pub(super) fn new(token: AccessToken, flight: u64, since: Option<Instant>) -> Self {
        Self {
            token,
            flight,
            since,
            standing: Standing::Good,
            suspect: false,
            unproven: None,
            hurried: false,
            withheld: None,
        }
    }
}

#[cfg(test)]
#[cfg(not(tower_reauth_loom))]
#[path = "state_tests/mod.rs"]
mod tests;
